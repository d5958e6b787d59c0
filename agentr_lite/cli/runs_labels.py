"""``agentr-lite runs name``, ``note`` and ``tag``: what people call their runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentr_lite.cli.common import db_option, group_database, json_option
from agentr_lite.cli.completion import complete_runs
from agentr_lite.console.streams import emit, emit_json, say
from agentr_lite.console.text import UNSAFE, clean
from agentr_lite.core.errors import UsageError

if TYPE_CHECKING:
    from agentr_lite.store import Store
    from agentr_lite.store.labels import RunLabels

_LONGEST_NAME = 60
"""Characters of a name; it stands in tables and plots."""
_LONGEST_TAG = 30


@click.command("name")
@click.argument("run", shell_complete=complete_runs)
@click.argument("text")
@db_option
@json_option
@click.pass_context
def name_run(context: click.Context, run: str, text: str, db: Path | None, as_json: bool) -> None:
    """Give RUN the name TEXT, for lists, reports and comparisons; "" removes it.

    A run can then be called by its name wherever its id is asked for.
    """
    from agentr_lite.store.labels import runs_named, set_name
    from agentr_lite.store.runs import list_runs

    name = _one_line(text, "a name", _LONGEST_NAME)

    def change(store: Store, run_id: str) -> None:
        ids = [row.id for row in list_runs(store)]
        if name == "latest" or any(name and known.startswith(name) for known in ids):
            raise UsageError(f"'{name}' means a run already", hint="Choose another name.")
        others = [other for other in runs_named(store, name) if name and other != run_id]
        if others:
            raise UsageError(
                f"run {others[0]} has this name already",
                hint=f'`agentr-lite runs name {others[0]} ""` takes it away.',
            )
        set_name(store, run_id, name)

    _change(context, run, db, as_json, change)


@click.command("note")
@click.argument("run", shell_complete=complete_runs)
@click.argument("text", required=False)
@db_option
@json_option
@click.pass_context
def note_run(
    context: click.Context, run: str, text: str | None, db: Path | None, as_json: bool
) -> None:
    """Write the note TEXT on RUN; without TEXT, print its note. "" removes it."""
    from agentr_lite.store import Store
    from agentr_lite.store.labels import labels_of, set_note
    from agentr_lite.store.runs import get_run

    if text is None:
        with Store.open_to_read(group_database(context, db)) as store:
            run_id = get_run(store, run).id
            labels = labels_of(store, run_id)
        if as_json:
            _show_json(run_id, labels)
        elif labels.note:
            emit(clean(labels.note))
        else:
            say(f"Run {run_id} has no note.")
        return
    note = text.strip()
    _change(context, run, db, as_json, lambda store, run_id: set_note(store, run_id, note))


@click.command("tag")
@click.argument("run", shell_complete=complete_runs)
@click.argument("tags", nargs=-1, required=True, metavar="TAG...")
@click.option("--remove", is_flag=True, help="Take the tags away.")
@db_option
@json_option
@click.pass_context
def tag_run(
    context: click.Context,
    run: str,
    tags: tuple[str, ...],
    remove: bool,
    db: Path | None,
    as_json: bool,
) -> None:
    """Tag RUN; `agentr-lite runs --tag TAG` lists the runs with a tag."""
    from agentr_lite.store.labels import add_tags, remove_tags

    words = [_one_line(tag, "a tag", _LONGEST_TAG) for tag in tags]
    if not all(words):
        raise UsageError("a tag must not be empty")
    act = remove_tags if remove else add_tags
    _change(context, run, db, as_json, lambda store, run_id: act(store, run_id, words))


def _change(
    context: click.Context,
    run: str,
    db: Path | None,
    as_json: bool,
    change: Callable[[Store, str], None],
) -> None:
    from agentr_lite.store import Store
    from agentr_lite.store.labels import labels_of
    from agentr_lite.store.runs import get_run

    with Store.open(group_database(context, db), create=False) as store, store.atomic():
        run_id = get_run(store, run).id
        change(store, run_id)
        labels = labels_of(store, run_id)
    if as_json:
        _show_json(run_id, labels)


def _show_json(run_id: str, labels: RunLabels) -> None:
    emit_json({"run": run_id, "name": labels.name, "note": labels.note, "tags": labels.tags})


def _one_line(text: str, what: str, longest: int) -> str:
    """The text without blanks around it.

    Raises:
        UsageError: it has more than one line, or is too long.
    """
    text = text.strip()
    if UNSAFE.search(text):
        raise UsageError(f"{what} is one line of text without control characters")
    if len(text) > longest:
        raise UsageError(f"{what} has at most {longest} characters, not {len(text)}")
    return text
