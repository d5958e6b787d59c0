"""``agentr-lite report``: tables of what runs gave."""

from __future__ import annotations

import json
from pathlib import Path

import click

from agentr_lite.cli.common import database_path, db_option, json_option
from agentr_lite.errors import UsageError
from agentr_lite.output import emit, emit_json, terminal_width


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option("--md", "markdown", is_flag=True, help="Print Markdown.")
@db_option
@json_option
def report(runs: tuple[str, ...], markdown: bool, db: Path | None, as_json: bool) -> None:
    """Show what one or more runs gave: success by round with 95 % intervals, paired
    differences from the base, recovery, loops, revision data, and what it cost.

    RUN is a run's id, a unique beginning of it, or `latest` (the default).
    """
    from agentr_lite.report import render_run
    from agentr_lite.store import Store

    if markdown and as_json:
        raise UsageError("--md and --json exclude each other", hint="Give one of them.")
    wanted = runs or ("latest",)
    with Store.open(database_path(db), create=False, read_only=True) as store:
        if as_json:
            found = [json.loads(render_run(store, run, "json")) for run in wanted]
            emit_json(found if len(found) > 1 else found[0])
            return
        texts = [
            render_run(store, run, "markdown" if markdown else "terminal", width=terminal_width())
            for run in wanted
        ]
    emit("\n\n".join(text.rstrip("\n") for text in texts))
