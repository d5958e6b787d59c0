"""``agentr-lite imitate``: the adapter of round 0, from demonstrations."""

from __future__ import annotations

from pathlib import Path

import click

from agentr_lite.cli.common import (
    command_line,
    database_path,
    db_option,
    json_option,
    recipe_options,
    targets_argument,
)
from agentr_lite.console.streams import emit_json, emit_table, say
from agentr_lite.core.errors import Interrupted
from agentr_lite.core.rounds import START
from agentr_lite.runs.choice import Chosen
from agentr_lite.runs.claim import claimed

DEFAULT_TASKS = 100
"""How many demonstrations a new run learns from where its recipe has no imitation."""


@click.command()
@targets_argument
@click.option(
    "--tasks",
    type=click.IntRange(1),
    help=f"From how many training tasks to learn.  [default: the recipe's, or {DEFAULT_TASKS}]",
)
@click.option("--redo", is_flag=True, help="Train again, from the beginning.")
@recipe_options
@db_option
@json_option
@click.pass_context
def imitate(
    context: click.Context,
    targets: tuple[str, ...],
    tasks: int | None,
    redo: bool,
    chosen: Chosen,
    db: Path | None,
    as_json: bool,
) -> None:
    """Train the model on demonstrations, before any round.

    With an environment or a recipe, begin a new run; its rounds start from this adapter. With a
    run that has imitation, go on with a training that was cut. Demonstrations that the environment
    can make itself are made.
    """
    from agentr_lite.runs import single_stage
    from agentr_lite.runs.creation import checked_target, target_run
    from agentr_lite.runs.refused import opened_for_work, removed_if_refused
    from agentr_lite.runs.targets import recipe_for
    from agentr_lite.store.runs import stage_status

    if tasks is not None:
        chosen = chosen.with_overrides(f"imitation.tasks={tasks}")
    recipe = recipe_for(targets, chosen)
    if recipe is not None and not recipe.imitates:
        chosen = chosen.with_overrides(f"imitation.tasks={DEFAULT_TASKS}")
    path = database_path(db)
    checked = checked_target(targets, chosen, path, work="imitation")
    if checked is not None:
        checked.permitted()
    with opened_for_work(path, create=checked is not None) as store:
        target = target_run(
            store, targets, checked, chosen.overrides, changeable=("imitation.", "train.")
        )
        run_id = target.run.id
        context.with_resource(claimed(store, run_id))
        status = stage_status(store, run_id, START, "imitate")
        # A training that was cut goes on from its checkpoint, if that has the same settings.
        redo = redo or (status is not None and status.finished and bool(chosen.overrides))
        try:
            with removed_if_refused(store, run_id, is_new=target.is_new):
                summary = single_stage.imitate(store, target, redo=redo)
        except KeyboardInterrupt:
            overrides = () if target.is_new else chosen.overrides
            again = command_line("imitate", run_id, db=db, overrides=overrides)
            raise Interrupted(
                "imitation interrupted; the last checkpoint is kept", hint=f"Go on with: {again}"
            ) from None
    if as_json:
        emit_json({"run": run_id, "round": START, "imitate": summary})
        return
    emit_table(["imitation", ""], [[key, value] for key, value in summary.items()])
    say(f"Evaluate it: agentr-lite eval {run_id} --paired")
    say(f"Go on: agentr-lite search {run_id}")
