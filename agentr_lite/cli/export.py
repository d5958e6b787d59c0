"""``agentr-lite export``: revision data for other trainers."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentr_lite.cli.common import database_path, db_option
from agentr_lite.cli.completion import complete_runs
from agentr_lite.console.files import check_new_file, write_whole
from agentr_lite.core.errors import AgentrError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from agentr_lite.splice.export import Exported, Format, Kind

FORMATS = ("openai", "sharegpt", "agent-r", "per-turn")
KINDS = ("revision", "good", "all")


@click.command()
@click.argument("run", default="latest", shell_complete=complete_runs)
@click.option(
    "--format",
    "layout",
    type=click.Choice(FORMATS),
    default="openai",
    show_default=True,
    help="openai: messages with weight 0 or 1; sharegpt: conversations of from and value, with"
    " loss; agent-r: the layout of the published Agent-R and AgentGym files (one JSON list);"
    " per-turn: a chat for each turn that is trained on, which is its last.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="File to write; - is stdout.",
)
@click.option(
    "--round", "round_index", type=click.IntRange(1), help="Only this round's trajectories."
)
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default="revision",
    show_default=True,
    help="Revision trajectories, good trajectories (those that the recipe trains on), or all.",
)
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@db_option
def export(
    run: str,
    layout: Format,
    output: Path,
    round_index: int | None,
    kind: Kind,
    force: bool,
    db: Path | None,
) -> None:
    """Write the trajectories of RUN (default: the newest run) with a loss flag for each turn.

    Bad steps are context: their flag is off. Rejected revisions are not exported.
    """
    from agentr_lite.console.stdout import data_stream
    from agentr_lite.console.streams import say
    from agentr_lite.recipe.loading import stored_recipe
    from agentr_lite.splice.export import exported, render
    from agentr_lite.store import Store
    from agentr_lite.store.runs import get_run

    to_stdout = str(output) == "-"
    if not to_stdout:
        check_new_file(output, force=force)
    with Store.open_to_read(database_path(db)) as store:
        row = get_run(store, run)
        items = exported(
            store,
            row.id,
            kind=kind,
            choice=stored_recipe(row.recipe).splice,
            round_index=round_index,
        )
        first = next(items, None)
        if first is None:
            raise AgentrError(
                f"{row.id} has no {'' if kind == 'all' else kind + ' '}trajectories to export",
                hint=f"`agentr-lite splice {row.id}` makes them from the run's trees.",
            )
        counter = _Counter(itertools.chain([first], items))
        pieces = render(counter, layout)
        if to_stdout:
            for piece in pieces:
                data_stream().write(piece)
            data_stream().flush()
        else:
            write_whole(output, pieces)
    say(f"{counter.count} conversations of {row.id}" + ("" if to_stdout else f" in {output}"))


class _Counter:
    """Counts the items that are read from it."""

    def __init__(self, items: Iterable[Exported]) -> None:
        self._items = items
        self.count = 0

    def __iter__(self) -> Generator[Exported]:
        for item in self._items:
            self.count += 1
            yield item
