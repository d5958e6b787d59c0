"""``agentr-lite eval``: evaluate one round of a run, or a model that has not been trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentr_lite.cli.common import (
    command_line,
    database_path,
    db_option,
    json_option,
    recipe_options,
)
from agentr_lite.cli.completion import complete_targets
from agentr_lite.cli.workers import worker_options
from agentr_lite.console.streams import emit, emit_json, terminal_width, warn
from agentr_lite.core.errors import EXIT_FAILED, EXIT_SOME_TASKS_FAILED, Interrupted, UsageError
from agentr_lite.core.rounds import BEFORE_IMITATION, reference_round
from agentr_lite.core.tasks import SPLITS
from agentr_lite.runs.adopted import ADOPTED_ROUND, run_with_adapter
from agentr_lite.runs.choice import Chosen
from agentr_lite.runs.claim import claimed
from agentr_lite.scale.choice import WorkerChoice

if TYPE_CHECKING:
    from agentr_lite.store import Store
    from agentr_lite.store.records import EvalMode

PAIRED_MODES: tuple[EvalMode, ...] = ("greedy", "recovery")
"""Modes that play a task once, so that a round solves it or does not."""


@click.command("eval")
@click.argument(
    "targets",
    metavar="RUN|RECIPE",
    nargs=-1,
    required=True,
    shell_complete=complete_targets,
)
@click.option(
    "--round",
    "round_index",
    type=click.IntRange(BEFORE_IMITATION),
    help="Default: the last trained round. After imitation, round 0, the base is round -1.",
)
@click.option(
    "--split", type=click.Choice(SPLITS), help="The split to play.  [default: the recipe's]"
)
@click.option("--tasks", type=click.IntRange(0), help="Number of tasks, evenly spaced; 0 = all.")
@click.option("--samples", type=click.IntRange(0), help="Sampled episodes besides the greedy one.")
@click.option("--max-steps", type=click.IntRange(1), help="Longest episode.")
@click.option("--recovery/--no-recovery", default=None, help="Also continue the base's failures.")
@click.option(
    "--adapter",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Evaluate this adapter: a GGUF file, or a directory for MLX.",
)
@click.option(
    "--paired",
    is_flag=True,
    help="Also evaluate the base on the same tasks, in turn, loading the model once.",
)
@click.option("--force", is_flag=True, help="Replace episodes played with other settings.")
@worker_options
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
    adapter: Path | None,
    paired: bool,
    force: bool,
    where: WorkerChoice,
    chosen: Chosen,
    db: Path | None,
    as_json: bool,
) -> None:
    """Evaluate a round of RUN on held-out tasks, with 95 % intervals.

    With the name of a recipe instead (`agentr-lite eval textcraft --model m.gguf`), begin a new
    run with the untrained model; several names make one run on all of them. Episodes that are
    stored are not played again.

    With --adapter, round 1 of the new run is an adapter that was trained elsewhere. --paired
    evaluates the base and the round in turn and lists the tasks that were gained and lost.
    """
    from agentr_lite.runs.creation import checked_target, target_run
    from agentr_lite.runs.refused import opened_for_work, removed_if_refused
    from agentr_lite.runs.single_stage import evaluate_round
    from agentr_lite.scale.executor import opened_executor

    settings = {
        "split": split,
        "tasks": tasks,
        "samples": samples,
        "max_steps": max_steps,
        "recovery": recovery,
    }
    given = (f"eval.{key}={value}" for key, value in settings.items() if value is not None)
    chosen = chosen.with_overrides(*given)
    if adapter is not None and round_index not in (None, ADOPTED_ROUND):
        raise UsageError(f"an adapter from elsewhere is round {ADOPTED_ROUND}, not another")
    path = database_path(db)
    checked = checked_target(targets, chosen, path, work="eval", adapter=adapter)
    if checked is not None:
        checked.permitted()
    with opened_for_work(path, create=checked is not None) as store:
        if adapter is None:
            changeable = ("eval.", "agent.")
            target = target_run(store, targets, checked, chosen.overrides, changeable=changeable)
        else:
            target = run_with_adapter(store, targets, checked, adapter)
        run_id = target.run.id
        context.with_resource(claimed(store, run_id))
        try:
            with (
                removed_if_refused(store, run_id, is_new=target.is_new),
                opened_executor(where) as executor,
            ):
                number, figures = evaluate_round(
                    store, target, round_index, paired=paired, replace=force, executor=executor
                )
        except KeyboardInterrupt:
            # A new run's recipe holds the overrides already.
            overrides = () if target.is_new else chosen.overrides
            again = command_line(
                "eval", run_id, db=db, round_index=round_index, overrides=overrides, where=where
            )
            again += " --paired" if paired else ""
            again += " --force" if force else ""
            raise Interrupted(
                "evaluation interrupted; finished groups of episodes are kept",
                hint=f"Go on with: {again}",
            ) from None
        _show(store, run_id, number, target.recipe.eval.split, figures, as_json)
        first = _first_fault(store, run_id, figures)
    faulty = sum(of_mode["faulty"] for by_mode in figures.values() for of_mode in by_mode.values())
    if faulty:
        warn(
            f"the environment broke in {faulty} episodes; they are left out of the figures",
            hint=f"The first of them: {first}",
        )
        played = sum(
            of_mode["episodes"] for by_mode in figures.values() for of_mode in by_mode.values()
        )
        context.exit(EXIT_FAILED if faulty == played else EXIT_SOME_TASKS_FAILED)


def _first_fault(store: Store, run_id: str, figures: Figures) -> str:
    """The error of the first episode that the environment broke; empty without any."""
    from agentr_lite.metrics.episodes import is_faulty
    from agentr_lite.store.evals import list_eval_items, list_evals

    return next(
        (
            item.error or ""
            for row in list_evals(store, run_id)
            if row.round in figures
            for item in list_eval_items(store, row.id, last_step_only=True)
            if is_faulty(item)
        ),
        "",
    )


Figures = dict[int, dict[str, Any]]
"""By round, then by mode."""


def _show(
    store: Store, run_id: str, number: int, split: str, figures: Figures, as_json: bool
) -> None:
    from dataclasses import replace

    from agentr_lite.report.model.pairs import task_pairs
    from agentr_lite.report.model.run import gather
    from agentr_lite.report.render.terminal import render_terminal
    from agentr_lite.report.tables.pairs import both_sides, paired_section
    from agentr_lite.report.tables.run import run_sections

    paired = len(figures) > 1
    pairs = {
        mode: task_pairs(store, run_id, number, mode, split)
        for mode in (PAIRED_MODES if paired else ())
        if mode in figures[number]
    }
    if as_json:
        data: dict[str, Any] = {"run": run_id, "round": number, "split": split}
        data["evals"] = figures[number]
        if paired:
            data["base"] = figures[min(figures)]
            data["pairs"] = {
                mode: [pair.to_json() for pair in of_mode] for mode, of_mode in pairs.items()
            }
        emit_json(data)
        return

    report = gather(store, run_id)
    shown = (number, reference_round(number, imitates=report.run.imitates))
    lines = [line for line in report.evals if line.split == split and line.round in shown]
    sections = run_sections(
        replace(report, evals=lines, splices=[], training=[], learning=[], stages=[])
    )
    head = [f"Run {run_id}"]
    for mode, of_mode in pairs.items():
        section = paired_section(
            of_mode, number, mode=mode, split=split, imitates=report.run.imitates
        )
        if section.rows:
            sections.append(section)
        elif of_mode:
            head.append(f"{section.title}: none; {both_sides(of_mode)}.")
    emit(render_terminal(head, sections, width=terminal_width()))
