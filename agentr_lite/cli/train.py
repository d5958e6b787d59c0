"""``agentr-lite train``: one round's adapter, alone."""

from __future__ import annotations

from pathlib import Path

import click

from agentr_lite.cli.common import command_line, database_path, db_option, json_option, set_option
from agentr_lite.cli.completion import complete_runs
from agentr_lite.console.streams import emit_json, emit_table, say, warn
from agentr_lite.core.errors import EXIT_NOTHING_TO_LEARN, Interrupted
from agentr_lite.runs.claim import claimed


@click.command()
@click.argument("run", shell_complete=complete_runs)
@click.option(
    "--round", "round_index", type=click.IntRange(1), help="Default: the last spliced round."
)
@click.option("--redo", is_flag=True, help="Train again, from the beginning.")
@set_option("Train with other settings.", metavar="train.KEY=VALUE")
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
    from agentr_lite.metrics.learning import round_diagnosis
    from agentr_lite.runs.rounds import round_to_train
    from agentr_lite.runs.single_stage import train_round
    from agentr_lite.store import Store
    from agentr_lite.store.runs import get_run

    with Store.open(database_path(db), create=False) as store:
        row = get_run(store, run)
        context.with_resource(claimed(store, row.id))
        number = round_to_train(store, row.id, round_index)
        try:
            summary = train_round(store, row, number, overrides, redo=redo)
            why = round_diagnosis(store, row.id, number)
        except KeyboardInterrupt:
            again = command_line("train", row.id, db=db, round_index=number, overrides=overrides)
            raise Interrupted(
                "training interrupted; the last checkpoint is kept", hint=f"Go on with: {again}"
            ) from None
    if as_json:
        diagnosis = {"diagnosis": why.to_json()} if why else {}
        emit_json({"run": row.id, "round": number, "train": summary, **diagnosis})
    elif "skipped" not in summary:
        emit_table([f"round {number}", ""], [[key, value] for key, value in summary.items()])
        say(f"Evaluate it: agentr-lite eval {row.id} --round {number}")
    if why is not None:
        warn(f"nothing to train on: {why.finding}", hint=" ".join(why.advice))
        context.exit(EXIT_NOTHING_TO_LEARN)
