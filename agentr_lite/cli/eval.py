"""``agentr-lite eval``: evaluate one round of a run, or a model that has not been trained."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentr_lite.cli.claim import claimed
from agentr_lite.cli.common import (
    Chosen,
    command_line,
    database_path,
    db_option,
    json_option,
    recipe_options,
)
from agentr_lite.envs.base import SPLITS
from agentr_lite.errors import EXIT_SOME_TASKS_FAILED, Interrupted, UsageError
from agentr_lite.output import Progress, emit, emit_json, say, terminal_width, warn

if TYPE_CHECKING:
    from agentr_lite.recipe import Recipe
    from agentr_lite.store import Store
    from agentr_lite.store.records import RunRow


@click.command("eval")
@click.argument("targets", metavar="RUN|RECIPE", nargs=-1, required=True)
@click.option("--round", "round_index", type=click.IntRange(0), help="Default: the last trained.")
@click.option("--split", type=click.Choice(SPLITS), help="Whose tasks. [default: the recipe's]")
@click.option("--tasks", type=click.IntRange(0), help="How many tasks, evenly spaced; 0 = all.")
@click.option("--samples", type=click.IntRange(0), help="Sampled episodes besides the greedy one.")
@click.option("--max-steps", type=click.IntRange(1), help="Longest episode.")
@click.option("--recovery/--no-recovery", default=None, help="Continue the base's failures too.")
@click.option("--force", is_flag=True, help="Replace episodes played with other settings.")
@recipe_options
@db_option
@json_option
@click.pass_context
def evaluate(
    context: click.Context,
    targets: tuple[str, ...],
    round_index: int | None,
    split: str | None,
    tasks: int | None,
    samples: int | None,
    max_steps: int | None,
    recovery: bool | None,
    force: bool,
    chosen: Chosen,
    db: Path | None,
    as_json: bool,
) -> None:
    """Evaluate a round of RUN on held-out tasks, with 95 % intervals.

    With the name of a recipe instead (`agentr-lite eval textcraft --model m.gguf`), begin a new
    run with the untrained model; with several, on all of them. What was played already is not
    played again.
    """
    from agentr_lite.cli.session import target_run
    from agentr_lite.sitting import recorded_status
    from agentr_lite.store import Store

    settings = {
        "split": split,
        "tasks": tasks,
        "samples": samples,
        "max_steps": max_steps,
        "recovery": recovery,
    }
    given = (f"eval.{key}={value}" for key, value in settings.items() if value is not None)
    chosen = chosen.with_overrides(*given)
    with Store.open(database_path(db)) as store:
        found = target_run(store, targets, chosen, changeable=("eval.", "agent."))
        run, resolved = found.run, found.recipe
        context.with_resource(claimed(store, run.id))
        try:
            # A run that was there before keeps the status that its own work gave it.
            with recorded_status(store, run.id, applies=lambda: found.is_new):
                number, figures = _evaluate(store, run, resolved, round_index, force)
        except KeyboardInterrupt:
            # A new run's recipe holds the overrides already.
            overrides = () if found.is_new else chosen.overrides
            again = command_line(
                "eval", run.id, db=db, round_index=round_index, overrides=overrides
            )
            raise Interrupted(
                "evaluation interrupted; finished groups of episodes are kept",
                hint=f"Go on with: {again}",
            ) from None
        _show(store, run.id, number, resolved.eval.split, figures, as_json)
    faulty = sum(of["faulty"] for of in figures.values())
    if faulty:
        warn(f"the environment broke in {faulty} episodes; they are left out of the figures")
        context.exit(EXIT_SOME_TASKS_FAILED)


def _evaluate(
    store: Store, run: RunRow, recipe: Recipe, round_index: int | None, force: bool
) -> tuple[int, dict[str, Any]]:
    from agentr_lite.actors.registry import open_actor
    from agentr_lite.cli.session import equip
    from agentr_lite.evaluate import eval_stage
    from agentr_lite.parts import open_environments
    from agentr_lite.store.runs import list_stages
    from agentr_lite.train.stage import adapter_in_use

    # A round that found nothing to train on is through, too: it goes on with what was there.
    trained = [s.round for s in list_stages(store, run.id) if s.stage == "train" and s.finished]
    number = max(trained, default=0) if round_index is None else round_index
    if number and number not in trained:
        known = ", ".join(map(str, [0, *sorted(trained)]))
        raise UsageError(
            f"run {run.id} has not trained round {number}",
            hint=f"It can evaluate round {known}; `agentr-lite train` trains another.",
        )
    with (
        open_environments(recipe) as env,
        closing(open_actor(recipe)) as actor,
    ):
        equip(store, run, actor, adapter_in_use(store, run.id, number))
        say(f"{run.id}: evaluating {'the base model' if not number else f'round {number}'}")
        with Progress() as progress:
            figures = eval_stage(
                store, run.id, number, recipe, env, actor, progress=progress, replace=force
            )
            return number, figures


def _show(
    store: Store, run_id: str, number: int, split: str, figures: dict[str, Any], as_json: bool
) -> None:
    if as_json:
        emit_json({"run": run_id, "round": number, "split": split, "evals": figures})
        return
    from dataclasses import replace

    from agentr_lite.report.data import gather
    from agentr_lite.report.tables import run_sections
    from agentr_lite.report.terminal import render_terminal

    report = gather(store, run_id)
    lines = [e for e in report.evals if e.split == split and e.round in (0, number)]
    sections = run_sections(replace(report, evals=lines, splices=[], training=[], stages=[]))
    emit(render_terminal([f"Run {run_id}"], sections, width=terminal_width()))
