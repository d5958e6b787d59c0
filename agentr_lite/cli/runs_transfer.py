"""``agentr-lite runs export`` and ``runs merge``: copy runs between databases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentr_lite.cli.common import db_option, group_database, json_option
from agentr_lite.cli.completion import complete_runs
from agentr_lite.core.errors import EXIT_SOME_TASKS_FAILED

if TYPE_CHECKING:
    from agentr_lite.runs.transfer import Transferred


@click.command("export")
@click.argument("runs", metavar="[RUN]...", nargs=-1, shell_complete=complete_runs)
@click.option(
    "-o",
    "--to",
    "target",
    required=True,
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="Database to copy into; it is made where there is none.",
)
@db_option
@json_option
@click.pass_context
def export_runs(
    context: click.Context, runs: tuple[str, ...], target: Path, db: Path | None, as_json: bool
) -> None:
    """Copy each RUN into another database, with its trees, data, evaluations and adapters.

    Without a RUN, copy all sound runs and the demonstrations: this saves what can be saved of a
    damaged database. Runs that are damaged are left out and named, and the exit code is 5.

    The demonstrations that a run learned from are copied with it. A run that is there already with
    the same content is left as it is. Where the other database holds something else under the same
    name, nothing is copied.
    """
    from agentr_lite.runs.transfer import transfer

    source = group_database(context, db)
    _show(context, [(source, transfer(source, target.expanduser(), runs))], target, as_json)


@click.command("merge")
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, readable=False),
)
@db_option
@json_option
@click.pass_context
def merge_runs(
    context: click.Context, files: tuple[Path, ...], db: Path | None, as_json: bool
) -> None:
    """Copy all sound runs of other databases, and their demonstrations, into this one.

    It is `runs export` in the other direction, with the same rules. Runs that were searched with
    --shard become one run as soon as all of them are there. Shards of one search that differ in the
    model, in versions or in what they searched are refused, and then nothing is copied.
    """
    from agentr_lite.console.streams import say
    from agentr_lite.scale.joining import merge

    target = group_database(context, db)
    merged = merge(files, target)
    for run in merged.joined:
        say(f"All shards of {run} are there; they are one run now.")
    for shard, missing in merged.waiting.items():
        say(f"{shard} waits for shard {', '.join(missing)}.")
    more = {"joined": list(merged.joined), "waiting": dict(merged.waiting)}
    _show(context, list(merged.transfers), target, as_json, more)


def _show(
    context: click.Context,
    done: list[tuple[Path, Transferred]],
    target: Path,
    as_json: bool,
    more: Mapping[str, Any] | None = None,
) -> None:
    from agentr_lite.console.streams import emit_json, say, warn

    if as_json:
        emit_json(
            {
                "to": str(target),
                "copied": [run for _, each in done for run in each.copied],
                "known": [run for _, each in done for run in each.known],
                "left_out": [run for _, each in done for run in each.left_out],
                "demonstrations": sum(each.demonstrations for _, each in done),
                "missing_files": [file for _, each in done for file in each.missing],
                **(more or {}),
            }
        )
    for source, each in done:
        known = f"; {len(each.known)} were there already" if each.known else ""
        shown = f" and {each.demonstrations} demonstrations" if each.demonstrations else ""
        say(f"Copied {len(each.copied)} runs{shown} from {source} to {target}{known}.")
        for file in each.missing:
            warn(f"the adapter {file} is not there, so it was not copied")
        for run in each.left_out:
            warn(
                f"run {run} is damaged and was left out",
                hint=f"`agentr-lite doctor -d {source}` says what is damaged.",
            )
    if any(each.left_out for _, each in done):
        context.exit(EXIT_SOME_TASKS_FAILED)
