"""``agentr-lite report``: tables of what runs gave, and an HTML page to share."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from agentr_lite.cli.common import database_path, db_option, json_option
from agentr_lite.cli.completion import complete_runs
from agentr_lite.console.files import check_new_file, write_whole
from agentr_lite.console.stdout import data_stream
from agentr_lite.console.streams import emit, emit_json, say, terminal_width
from agentr_lite.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentr_lite.store import Store

Sources = list[tuple["Store", str]]
"""Open databases with full run ids."""


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1, shell_complete=complete_runs)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="Write one HTML file that needs no network: tables, plots, trees, splices; - is stdout.",
)
@click.option("--md", "markdown", is_flag=True, help="Print Markdown.")
@click.option(
    "--task",
    "tasks",
    multiple=True,
    metavar="NAME",
    help="With --html: show the trees and splices of this task; may be repeated."
    "  [default: a few instructive tasks]",
)
@click.option(
    "--trees",
    type=click.IntRange(0),
    metavar="N",
    help="With --html: number of trees to show for each run.  [default: 6; 3 of several runs]",
)
@click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="TAG",
    help="All runs with this tag, the oldest first; several: with all.",
)
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@db_option
@json_option
def report(
    runs: tuple[str, ...],
    html: Path | None,
    markdown: bool,
    tasks: tuple[str, ...],
    trees: int | None,
    tags: tuple[str, ...],
    force: bool,
    db: Path | None,
    as_json: bool,
) -> None:
    """Show the results of one or more runs: success by round with 95 % intervals, paired
    differences from the base, recovery, loops, revision data and cost.

    RUN is a run's id, a unique beginning of it, or `latest` (the default); FILE:RUN is a run
    of another database. --tag names all runs with a tag (`agentr-lite runs tag`) instead.
    Several runs are compared first; then the tables of each follow.
    """
    from agentr_lite.report import render_comparison, render_run

    _check_options(html, markdown, as_json, tasks, trees, force)
    if runs and tags:
        raise UsageError("RUN and --tag exclude each other", hint="Give one of them.")
    with ExitStack() as stack:
        sources = _open(stack, _tagged(tags, db) if tags else runs or ("latest",), db)
        if html is not None:
            _write_page(sources, html, tasks, trees)
            return
        if as_json:
            reports = [json.loads(render_run(store, run, "json")) for store, run in sources]
            emit_json(reports if len(reports) > 1 else reports[0])
            return
        form: Literal["markdown", "terminal"] = "markdown" if markdown else "terminal"
        width = terminal_width()
        texts = [render_run(store, run, form, width=width) for store, run in sources]
        if len(sources) > 1:
            texts.insert(0, render_comparison(sources, form, width=width))
    emit("\n\n".join(text.rstrip("\n") for text in texts))


def _check_options(
    html: Path | None,
    markdown: bool,
    as_json: bool,
    tasks: Sequence[str],
    trees: int | None,
    force: bool,
) -> None:
    if sum((html is not None, markdown, as_json)) > 1:
        given = [
            name
            for name, on in (("--html", html is not None), ("--md", markdown), ("--json", as_json))
            if on
        ]
        raise UsageError(f"{' and '.join(given)} exclude each other", hint="Give one of them.")
    if html is None and (tasks or trees is not None or force):
        option = "--task" if tasks else "--trees" if trees is not None else "--force"
        raise UsageError(f"{option} goes with --html only", hint="Add --html FILE.")
    if tasks and trees is not None:
        raise UsageError("--task and --trees exclude each other", hint="Give one of them.")
    if html is not None and str(html) != "-":
        check_new_file(html, force=force)


def _tagged(tags: Sequence[str], db: Path | None) -> list[str]:
    """Ids of the runs with all of these tags, the oldest first.

    Raises:
        UsageError: there are none.
    """
    from agentr_lite.store import Store
    from agentr_lite.store.labels import none_tagged, runs_tagged

    with Store.open_to_read(database_path(db)) as store:
        found = runs_tagged(store, tags)
        if not found:
            message, hint = none_tagged(store, tags)
            raise UsageError(message, hint=hint)
    return found


def _open(stack: ExitStack, runs: Sequence[str], db: Path | None) -> Sources:
    """Every run with its database, each database opened once."""
    from agentr_lite.store import Store
    from agentr_lite.store.runs import get_run

    stores: dict[Path, Store] = {}
    sources: Sources = []
    for named in runs:
        # A path may hold a colon, a run's id does not.
        other, _, run = named.rpartition(":")
        path = Path(other) if other else database_path(db)
        key = path.resolve()
        if key not in stores:
            stores[key] = stack.enter_context(Store.open_to_read(path))
        source = (stores[key], get_run(stores[key], run).id)
        if source in sources:
            raise UsageError(f"run {source[1]} is named twice", hint="Name each run once.")
        sources.append(source)
    return sources


def _write_page(sources: Sources, target: Path, tasks: Sequence[str], trees: int | None) -> None:
    from agentr_lite.core.suggestions import did_you_mean
    from agentr_lite.report.model.chosen import task_names
    from agentr_lite.report.render.page import render_page

    known = {name for store, run in sources for name in task_names(store, run)}
    for task in tasks:
        if task not in known:
            raise UsageError(
                f"there is no tree of a task '{task}'{did_you_mean(task, sorted(known))}",
                hint=f"`agentr-lite trees {sources[0][1]}` lists a run's trees.",
            )
    page = render_page(sources, tasks=tasks, trees=trees)
    if str(target) == "-":
        data_stream().write(page)
        data_stream().flush()
        return
    write_whole(target, [page])
    say(f"Wrote {target} ({len(page.encode()) / 1000:,.0f} kB). Open it in a browser.")
