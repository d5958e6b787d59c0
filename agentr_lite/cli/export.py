"""``agentr-lite export``: revision data for other trainers."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import click

from agentr_lite.cli.common import database_path, db_option
from agentr_lite.cli.completion import complete_runs
from agentr_lite.console.files import check_new_file, write_whole
from agentr_lite.core.errors import AgentrError, UsageError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from agentr_lite.core.preferences import PreferenceKind
    from agentr_lite.recipe.groups import SpliceSettings
    from agentr_lite.splice.export import Format
    from agentr_lite.store import Store

T = TypeVar("T")

FORMATS = ("openai", "sharegpt", "agent-r", "per-turn")
"""Of conversations."""
PAIRS = "dpo"
"""The format of pairs of a better and a worse continuation."""
KINDS = ("revision", "good", "all")
PAIR_KINDS = ("episode", "step", "revision", "all")


@click.command()
@click.argument("run", default="latest", shell_complete=complete_runs)
@click.option(
    "--format",
    "layout",
    type=click.Choice((*FORMATS, PAIRS)),
    default="openai",
    show_default=True,
    help="openai: messages with weight 0 or 1; sharegpt: conversations of from and value, with"
    " loss; agent-r: the layout of the published Agent-R and AgentGym files (one JSON list);"
    " per-turn: a chat for each turn that is trained on, which is its last; dpo: pairs of"
    " continuations with prompt, chosen and rejected, as TRL reads them.",
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
    type=click.Choice(tuple(dict.fromkeys((*KINDS, *PAIR_KINDS)))),
    help="Revision trajectories, good trajectories (those that the recipe trains on), or all"
    " [default: revision]. With dpo, which pairs: episode, step, revision or all [default: all].",
)
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@db_option
def export(
    run: str,
    layout: str,
    output: Path,
    round_index: int | None,
    kind: str | None,
    force: bool,
    db: Path | None,
) -> None:
    """Write the trajectories of RUN (default: the newest run) with a loss flag for each turn.

    Bad steps are context: their flag is off. Rejected revisions are not exported. With --format
    dpo, write the pairs of a better and a worse continuation that the recipe's splice.preferences
    looked for.
    """
    from agentr_lite.console.stdout import data_stream
    from agentr_lite.console.streams import say
    from agentr_lite.recipe.loading import stored_recipe
    from agentr_lite.store import Store
    from agentr_lite.store.runs import get_run

    kind = _checked_kind(layout, kind)
    to_stdout = str(output) == "-"
    if not to_stdout:
        check_new_file(output, force=force)
    with Store.open_to_read(database_path(db)) as store:
        row = get_run(store, run)
        choice = stored_recipe(row.recipe).splice
        counter = _Counter()
        if layout == PAIRS:
            pieces = _pairs(store, row.id, kind, choice, round_index, counter)
        else:
            pieces = _conversations(store, row.id, layout, kind, choice, round_index, counter)
        if to_stdout:
            for piece in pieces:
                data_stream().write(piece)
            data_stream().flush()
        else:
            write_whole(output, pieces)
    unit = "pairs" if layout == PAIRS else "conversations"
    say(f"{counter.count} {unit} of {row.id}" + ("" if to_stdout else f" in {output}"))


def _checked_kind(layout: str, kind: str | None) -> str:
    """What to export; the default where none is named.

    Raises:
        UsageError: the format holds no such thing.
    """
    if kind is None:
        return "all" if layout == PAIRS else "revision"
    if kind not in (PAIR_KINDS if layout == PAIRS else KINDS):
        fitting = ", ".join(PAIR_KINDS if layout == PAIRS else KINDS)
        hint = f"With --format {layout}, --kind is one of {fitting}."
        if kind in PAIR_KINDS:
            hint += f" Pairs need --format {PAIRS}."
        raise UsageError(f"--format {layout} holds nothing of the kind '{kind}'", hint=hint)
    return kind


def _conversations(
    store: Store,
    run_id: str,
    layout: str,
    kind: str,
    choice: SpliceSettings,
    round_index: int | None,
    counter: _Counter,
) -> Generator[str]:
    """The file of trajectories.

    Raises:
        AgentrError: there are none.
    """
    from agentr_lite.splice.export import Kind, exported, render

    items = exported(store, run_id, kind=cast("Kind", kind), choice=choice, round_index=round_index)
    first = next(items, None)
    if first is None:
        raise AgentrError(
            f"{run_id} has no {'' if kind == 'all' else kind + ' '}trajectories to export",
            hint=f"`agentr-lite splice {run_id}` makes them from the run's trees.",
        )
    counted = counter.counted(itertools.chain([first], items))
    return render(counted, cast("Format", layout))


def _pairs(
    store: Store,
    run_id: str,
    kind: str,
    choice: SpliceSettings,
    round_index: int | None,
    counter: _Counter,
) -> Generator[str]:
    """The file of pairs.

    Raises:
        AgentrError: there are none.
    """
    from agentr_lite.core.preferences import PREFERENCE_KINDS
    from agentr_lite.splice.export import exported_pairs, render_pairs

    kinds = PREFERENCE_KINDS if kind == "all" else (cast("PreferenceKind", kind),)
    items = exported_pairs(store, run_id, kinds=kinds, round_index=round_index)
    first = next(items, None)
    if first is None:
        missing = [each for each in kinds if each not in choice.preferences]
        wanted = [each for each in PREFERENCE_KINDS if each in (*choice.preferences, *missing)]
        hint = "Its trees gave none; splice.preference_margin and splice.beta say what counts."
        if missing:
            hint = (
                f"`agentr-lite splice {run_id} --redo --set splice.preferences="
                f"[{','.join(wanted)}]` looks for them in the run's trees."
            )
        of_kind = "" if kind == "all" else f"{kind} "
        raise AgentrError(f"{run_id} has no {of_kind}pairs to export", hint=hint)
    return render_pairs(counter.counted(itertools.chain([first], items)))


class _Counter:
    """Counts the items that go by."""

    def __init__(self) -> None:
        self.count = 0

    def counted(self, items: Iterable[T]) -> Generator[T]:
        for item in items:
            self.count += 1
            yield item
