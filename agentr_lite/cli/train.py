"""``agentr-lite train``: one round's adapter, alone."""

from __future__ import annotations

from pathlib import Path

import click

from agentr_lite.cli.common import command_line, database_path, db_option, json_option
from agentr_lite.console.output import Progress, emit_json, emit_table, say, warn
from agentr_lite.core.errors import EXIT_FAILED, Interrupted, UsageError
from agentr_lite.runs.claim import claimed


@click.command()
@click.argument("run")
@click.option("--round", "round_index", type=click.IntRange(1), help="Default: the last spliced.")
@click.option("--redo", is_flag=True, help="Train again, from the beginning.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="train.KEY=VALUE",
    help="Train with other settings.",
)
@db_option
@json_option
@click.pass_context
def train(
    context: click.Context,
    run: str,
    round_index: int | None,
    redo: bool,
    overrides: tuple[str, ...],
    db: Path | None,
    as_json: bool,
) -> None:
    """Train the LoRA adapter of one round of RUN on its revision data.

    A training that was cut goes on from its last checkpoint.
    """
    from agentr_lite.recipe.groups import CHOOSING
    from agentr_lite.runs.session import changed_recipe
    from agentr_lite.runs.stages.train import train_stage
    from agentr_lite.store import Store
    from agentr_lite.store.runs import get_run, list_stages

    with Store.open(database_path(db), create=False) as store:
        row = get_run(store, run)
        context.with_resource(claimed(store, row.id))
        stages = list_stages(store, row.id)
        spliced = [s.round for s in stages if s.stage == "splice" and s.finished]
        number = round_index or max(spliced, default=0)
        if number not in spliced:
            raise UsageError(
                f"round {number or 1} of {row.id} has no revision data yet",
                hint=f"`agentr-lite splice {row.id} --round {number or 1}` makes it.",
            )
        choosing = (f"splice.{key}" for key in CHOOSING)
        recipe = changed_recipe(row, overrides, ("train.", *choosing))
        through = any(s.finished for s in stages if (s.round, s.stage) == (number, "train"))
        try:
            with Progress() as progress:
                # Cut, it goes on from its checkpoint, if that is of the same settings.
                redo = redo or (through and bool(overrides))
                summary = train_stage(store, row.id, number, recipe, progress=progress, redo=redo)
        except KeyboardInterrupt:
            again = command_line("train", row.id, db=db, round_index=number, overrides=overrides)
            raise Interrupted(
                "training interrupted; the last checkpoint is kept", hint=f"Go on with: {again}"
            ) from None
    if as_json:
        emit_json({"run": row.id, "round": number, "train": summary})
    elif "skipped" not in summary:
        emit_table([f"round {number}", ""], [[key, value] for key, value in summary.items()])
        say(f"Evaluate it: agentr-lite eval {row.id} --round {number}")
    if "skipped" in summary:
        warn(f"nothing to train on: {summary['skipped']}")
        context.exit(EXIT_FAILED)
