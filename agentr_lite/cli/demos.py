"""``agentr-lite demos``: list, show, export and delete demonstrations."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentr_lite.cli.common import (
    db_from_command_line,
    db_option,
    group_database,
    json_option,
    may_be_new,
)
from agentr_lite.cli.completion import complete_environments
from agentr_lite.cli.demos_collect import import_demos, make_demos
from agentr_lite.cli.export import FORMATS
from agentr_lite.core.errors import AgentrError, UsageError
from agentr_lite.core.openings import Opening

if TYPE_CHECKING:
    from agentr_lite.splice.export import Exported, Format
    from agentr_lite.store.records import DemonstrationRow


def _choice_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--env``, ``--source`` and ``--task``: which demonstrations."""
    for option in (
        click.option("--task", help="Only of the task of this name."),
        click.option(
            "--source",
            help="Only of this source; `import` and `model` stand for all files and all models.",
        ),
        click.option(
            "--env",
            help="Only of this environment, as `agentr-lite demos` lists it.",
            shell_complete=complete_environments,
        ),
    ):
        function = option(function)
    return function


@click.group(invoke_without_command=True)
@db_option
@json_option
@click.pass_context
def demos(context: click.Context, db: Path | None, as_json: bool) -> None:
    """Collect demonstrations, from which a model learns by imitation.

    A demonstration is an episode that solves a training task. It is stored only after it has earned
    its reward in the environment. Tasks of the dev and test splits are never demonstrated.
    """
    context.obj = db if db_from_command_line(context) else None
    if context.invoked_subcommand is None:
        context.invoke(list_demos, db=db, as_json=as_json)


demos.add_command(make_demos)
demos.add_command(import_demos)


@demos.command("list")
@_choice_options
@click.option("--each", is_flag=True, help="A line for each demonstration.")
@db_option
@json_option
@click.pass_context
def list_demos(
    context: click.Context,
    db: Path | None,
    env: str | None = None,
    source: str | None = None,
    task: str | None = None,
    each: bool = False,
    as_json: bool = False,
) -> None:
    """List demonstrations by environment and source."""
    from agentr_lite.console.streams import emit_json, emit_table, say

    path = group_database(context, db)
    rows = _stored(context, path, env, source, task)
    if not rows and not as_json:
        say(f"No demonstrations in {path}. `agentr-lite demos make ENV` makes some.")
        return
    if each or task is not None:
        if as_json:
            emit_json([_facts(row) for row in rows])
            return
        emit_table(
            ["id", "environment", "task", "level", "source", "reward", "steps"],
            [list(_facts(row).values()) for row in rows],
            keep=["id", "task", "reward"],
            hide=["level", "environment"],
        )
        return
    groups = _groups(rows)
    if as_json:
        emit_json(groups)
        return
    emit_table(
        ["environment", "source", "demonstrations", "tasks", "steps", "newest"],
        [[*list(group.values())[:-1], group["newest"][:16].replace("T", " ")] for group in groups],
    )


def _facts(row: DemonstrationRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "env": row.task.env,
        "task": row.task.name,
        "level": row.task.level,
        "source": row.source,
        "reward": row.reward,
        "steps": len(row.steps),
    }


def _groups(rows: Iterable[DemonstrationRow]) -> list[dict[str, Any]]:
    members: dict[tuple[str, str], list[DemonstrationRow]] = {}
    for row in rows:
        members.setdefault((row.task.env, row.source), []).append(row)
    return [
        {
            "env": env,
            "source": source,
            "demonstrations": len(group),
            "tasks": len({row.task.id for row in group}),
            "steps": round(sum(len(row.steps) for row in group) / len(group), 1),
            "newest": max(row.created_utc for row in group),
        }
        for (env, source), group in sorted(members.items())
    ]


@demos.command("show")
@click.argument("number", metavar="ID", type=int)
@db_option
@json_option
@click.pass_context
def show_demo(context: click.Context, number: int, db: Path | None, as_json: bool) -> None:
    """Show the demonstration with this ID, turn by turn."""
    from agentr_lite.console.streams import emit, emit_json, say
    from agentr_lite.console.text import clean
    from agentr_lite.store import Store
    from agentr_lite.store.demonstrations import get_demonstration

    path, row = group_database(context, db), None
    if not may_be_new(context, path):
        with Store.open_to_read(path) as store, suppress(KeyError):
            row = get_demonstration(store, number)
    if row is None:
        raise UsageError(
            f"there is no demonstration {number}", hint="`agentr-lite demos list --each` lists all."
        )
    if as_json:
        emit_json(row)
        return
    say(f"Task {row.task.name} of {row.task.env}, from {row.source}, reward {row.reward:g}")
    emit(clean(row.opening))
    for step in row.steps:
        emit("\n" + clean(step.text) + "\n\n" + clean(step.observation))


@demos.command("export")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="File to write; - is stdout.",
)
@click.option(
    "--format",
    "layout",
    type=click.Choice(FORMATS),
    default="openai",
    show_default=True,
    help="See `agentr-lite export`.",
)
@_choice_options
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@db_option
@click.pass_context
def export_demos(
    context: click.Context,
    output: Path,
    layout: Format,
    env: str | None,
    source: str | None,
    task: str | None,
    force: bool,
    db: Path | None,
) -> None:
    """Write demonstrations for other trainers."""
    from agentr_lite.console.files import check_new_file, write_whole
    from agentr_lite.console.stdout import data_stream
    from agentr_lite.console.streams import say
    from agentr_lite.splice.export import render

    to_stdout = str(output) == "-"
    if not to_stdout:
        check_new_file(output, force=force)
    rows = _stored(context, group_database(context, db), env, source, task)
    if not rows:
        raise AgentrError("there are no such demonstrations", hint="`agentr-lite demos` lists all.")
    pieces = render(map(_exported, rows), layout)
    if to_stdout:
        for piece in pieces:
            data_stream().write(piece)
        data_stream().flush()
    else:
        write_whole(output, pieces)
    say(f"{len(rows)} demonstrations" + ("" if to_stdout else f" in {output}"))


def _exported(row: DemonstrationRow) -> Exported:
    from agentr_lite.agent.conversation import conversation
    from agentr_lite.splice.export import Exported

    # No turn follows the last observation.
    messages = conversation(Opening(row.instructions, row.opening), row.steps)[:-1]
    loss = [message["role"] == "assistant" for message in messages]
    return Exported(f"{row.task.env}/{row.task.name}/demonstration/{row.id}", messages, loss)


@demos.command("delete")
@_choice_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@db_option
@json_option
@click.pass_context
def delete_demos(
    context: click.Context,
    env: str | None,
    source: str | None,
    task: str | None,
    yes: bool,
    db: Path | None,
    as_json: bool,
) -> None:
    """Delete the chosen demonstrations, or all of them."""
    from agentr_lite.console.streams import emit_json, say
    from agentr_lite.store import Store
    from agentr_lite.store.demonstrations import delete_demonstrations

    path = group_database(context, db)
    count = len(_stored(context, path, env, source, task))
    if not count:
        raise UsageError("there are no such demonstrations", hint="`agentr-lite demos` lists all.")
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"deleting {count} demonstrations needs a yes", hint="Add --yes.")
        if not click.confirm(f"Delete {count} demonstrations from {path}?", err=True):
            say("Nothing was deleted.")
            return
    with Store.open(path, create=False) as store:
        deleted = delete_demonstrations(store, env, source, task=task)
    if as_json:
        emit_json({"deleted": deleted})
    say(f"Deleted {deleted} demonstrations.")


def _stored(
    context: click.Context,
    path: Path,
    env: str | None = None,
    source: str | None = None,
    task: str | None = None,
) -> list[DemonstrationRow]:
    """The chosen demonstrations; none where there is no database yet."""
    from agentr_lite.store import Store
    from agentr_lite.store.demonstrations import list_demonstrations

    if may_be_new(context, path):
        return []
    with Store.open_to_read(path) as store:
        return list_demonstrations(store, env, source, task=task)
