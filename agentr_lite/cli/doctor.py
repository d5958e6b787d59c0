"""``agentr-lite doctor``: checks this machine and installation, and tunes the engine to it."""

from __future__ import annotations

from pathlib import Path

import click

from agentr_lite.cli.common import database_path, db_option, json_option
from agentr_lite.cli.completion import complete_models
from agentr_lite.console.streams import emit_json, emit_table, say
from agentr_lite.console.text import Styled
from agentr_lite.core.errors import EXIT_FAILED, EXIT_STORE, UsageError
from agentr_lite.runs.installation import OF_DATABASE, Status

_COLOURS: dict[Status, str] = {"ok": "green", "warning": "yellow", "failed": "red"}
_GLYPHS: dict[Status, str] = {"ok": "✓", "warning": "!", "failed": "✗"}


@click.command()
@click.option("--tune", is_flag=True, help="Measure and store the best batch shapes for a model.")
@click.option("--untune", is_flag=True, help="Delete the stored batch shapes of a model.")
@click.option(
    "--model",
    help="The GGUF model for --tune or --untune.  [default: starter]",
    shell_complete=complete_models,
)
@db_option
@json_option
@click.pass_context
def doctor(
    context: click.Context,
    tune: bool,
    untune: bool,
    model: str | None,
    db: Path | None,
    as_json: bool,
) -> None:
    """Check Python, packages, processor, memory, disk, the starter model and the database.

    Ends with exit code 1 if something that a run needs does not work, and with 4 if that is only
    the database. All of the database is read: each page, reference, text and JSON value, run by
    run. What is damaged is listed, and which runs can be saved with `agentr-lite runs export`.

    With --tune, try batch widths, micro-batch sizes and flash attention on a model (a minute or
    so; close other programs). Every later command uses the best on this machine. Results may
    differ from untuned ones where two answers are nearly equally likely.
    """
    if tune or untune:
        from agentr_lite.cli.tune import tune_model, untune_model

        if tune and untune:
            raise UsageError("--tune and --untune exclude each other")
        (tune_model if tune else untune_model)(model or "starter", as_json)
        return
    if model is not None:
        raise UsageError("--model needs --tune or --untune")
    from agentr_lite.runs.installation import check_installation

    findings = check_installation(database_path(db))
    is_sound = all(finding.status != "failed" for finding in findings)
    if as_json:
        emit_json({"ok": is_sound, "checks": findings})
    else:
        emit_table(
            ["", "check", "finding"],
            [
                (
                    Styled(_GLYPHS[finding.status], fg=_COLOURS[finding.status]),
                    finding.check,
                    finding.detail,
                )
                for finding in findings
            ],
            align=["left", "left", "left"],
        )
        for finding in findings:
            if finding.hint:
                say(f"{finding.check}: {finding.hint}")
    if not is_sound:
        failed = [finding.check for finding in findings if finding.status == "failed"]
        only_database = all(check.startswith(OF_DATABASE) for check in failed)
        context.exit(EXIT_STORE if only_database else EXIT_FAILED)
