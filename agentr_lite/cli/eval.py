"""``agentr-lite eval``: evaluate one round of a run, or a model that has not been trained."""

from __future__ import annotations

from contextlib import ExitStack, closing
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
from agentr_lite.console.output import Progress, emit, emit_json, say, terminal_width, warn
from agentr_lite.core.errors import EXIT_SOME_TASKS_FAILED, Interrupted, ModelError, UsageError
from agentr_lite.core.tasks import SPLITS
from agentr_lite.runs.adopted import ADOPTED_ROUND, run_with_adapter
from agentr_lite.runs.choice import Chosen
from agentr_lite.runs.claim import claimed

if TYPE_CHECKING:
    from agentr_lite.recipe.settings import Recipe
    from agentr_lite.store import Store
    from agentr_lite.store.records import EvalMode, RunRow

MODES_OF_ONE: tuple[EvalMode, ...] = ("greedy", "recovery")
"""In these a task is played once: it is won or lost."""


@click.command("eval")
@click.argument("targets", metavar="RUN|RECIPE", nargs=-1, required=True)
@click.option("--round", "round_index", type=click.IntRange(0), help="Default: the last trained.")
@click.option("--split", type=click.Choice(SPLITS), help="Whose tasks. [default: the recipe's]")
@click.option("--tasks", type=click.IntRange(0), help="How many tasks, evenly spaced; 0 = all.")
@click.option("--samples", type=click.IntRange(0), help="Sampled episodes besides the greedy one.")
@click.option("--max-steps", type=click.IntRange(1), help="Longest episode.")
@click.option("--recovery/--no-recovery", default=None, help="Continue the base's failures too.")
@click.option(
    "--adapter",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Evaluate this adapter: a GGUF file, or a directory for MLX.",
)
@click.option(
    "--paired",
    is_flag=True,
    help="The base as well, in turn on the same tasks, the model loaded once.",
)
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
    adapter: Path | None,
    paired: bool,
    force: bool,
    chosen: Chosen,
    db: Path | None,
    as_json: bool,
) -> None:
    """Evaluate a round of RUN on held-out tasks, with 95 % intervals.

    With the name of a recipe instead (`agentr-lite eval textcraft --model m.gguf`), begin a new
    run with the untrained model; with several, on all of them. What was played already is not
    played again.

    With --adapter, the new run's round 1 is an adapter that was trained elsewhere. --paired plays
    the base and the round side by side and lists the tasks that were gained and lost.
    """
    from agentr_lite.runs.session import target_run
    from agentr_lite.runs.sitting import recorded_status
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
        if adapter is None:
            found = target_run(store, targets, chosen, changeable=("eval.", "agent."))
        else:
            if round_index not in (None, ADOPTED_ROUND):
                raise UsageError(f"an adapter from elsewhere is round {ADOPTED_ROUND}, not another")
            found = run_with_adapter(store, targets, chosen, adapter)
        run, resolved = found.run, found.recipe
        context.with_resource(claimed(store, run.id))
        try:
            # A run that was there before keeps the status that its own work gave it.
            with recorded_status(store, run.id, applies=lambda: found.is_new):
                number, found_by_round = _evaluate(
                    store, run, resolved, round_index, paired=paired, force=force
                )
        except KeyboardInterrupt:
            # A new run's recipe holds the overrides already.
            overrides = () if found.is_new else chosen.overrides
            again = command_line(
                "eval", run.id, db=db, round_index=round_index, overrides=overrides
            )
            again += " --paired" if paired else ""
            again += " --force" if force else ""
            raise Interrupted(
                "evaluation interrupted; finished groups of episodes are kept",
                hint=f"Go on with: {again}",
            ) from None
        _show(store, run.id, number, resolved.eval.split, found_by_round, as_json)
    faulty = sum(of["faulty"] for one in found_by_round.values() for of in one.values())
    if faulty:
        warn(f"the environment broke in {faulty} episodes; they are left out of the figures")
        context.exit(EXIT_SOME_TASKS_FAILED)


Figures = dict[int, dict[str, Any]]
"""By round, then by mode."""


def _evaluate(
    store: Store,
    run: RunRow,
    recipe: Recipe,
    round_index: int | None,
    *,
    paired: bool,
    force: bool,
) -> tuple[int, Figures]:
    """The round that was asked for, and figures of it (and, paired, of the base)."""
    from agentr_lite.runs.actors import open_actor
    from agentr_lite.runs.environments import open_environments
    from agentr_lite.runs.session import adapter_path, equip
    from agentr_lite.runs.stages.evaluate import eval_by_turns
    from agentr_lite.runs.stages.train import adapter_in_use
    from agentr_lite.store.runs import list_stages
    from agentr_lite.store.splices import list_adapters

    # A round that found nothing to train on is through, too: it goes on with what was there.
    trained = {s.round for s in list_stages(store, run.id) if s.stage == "train" and s.finished}
    trained |= {row.round for row in list_adapters(store, run.id)}
    number = max(trained, default=0) if round_index is None else round_index
    if number and number not in trained:
        known = ", ".join(map(str, [0, *sorted(trained)]))
        raise UsageError(
            f"run {run.id} has not trained round {number}",
            hint=f"It can evaluate round {known}; `agentr-lite train` trains another.",
        )
    worn = adapter_in_use(store, run.id, number)
    if paired and not worn:
        raise UsageError(
            f"run {run.id} has no adapter to compare the base with",
            hint="Name a trained round with --round, or an adapter with --adapter.",
        )
    with ExitStack() as stack:
        env = stack.enter_context(open_environments(recipe))
        actor = stack.enter_context(closing(open_actor(recipe)))
        equip(store, run, actor, 0 if paired else worn)
        actors = {number: actor}
        if paired:
            if not actor.capabilities.side_by_side:
                raise ModelError(
                    "this model's back end cannot hold the base and an adapter at a time",
                    hint="Leave --paired out, and evaluate --round 0 and the round in turn.",
                )
            beside = actor.beside(adapter_path(store, run, actor, worn))
            actors = {0: actor, number: stack.enter_context(closing(beside))}
        whom = f"round {number}" if number else "the base model"
        say(f"{run.id}: evaluating {'the base model and ' if paired else ''}{whom}")
        progress = stack.enter_context(Progress())
        return number, eval_by_turns(
            store, run.id, actors, recipe, env, progress=progress, replace=force
        )


def _show(
    store: Store, run_id: str, number: int, split: str, found: Figures, as_json: bool
) -> None:
    from dataclasses import replace

    from agentr_lite.report.data import gather
    from agentr_lite.report.paired import both_sides, paired_section, task_pairs
    from agentr_lite.report.tables import run_sections
    from agentr_lite.report.terminal import render_terminal

    paired = len(found) > 1
    pairs = {
        mode: task_pairs(store, run_id, number, mode, split)
        for mode in (MODES_OF_ONE if paired else ())
        if mode in found[number]
    }
    if as_json:
        data: dict[str, Any] = {"run": run_id, "round": number, "split": split}
        data["evals"] = found[number]
        if paired:
            data["base"] = found[0]
            data["pairs"] = {mode: [one.to_json() for one in of] for mode, of in pairs.items()}
        emit_json(data)
        return

    report = gather(store, run_id)
    lines = [e for e in report.evals if e.split == split and e.round in (0, number)]
    sections = run_sections(replace(report, evals=lines, splices=[], training=[], stages=[]))
    head = [f"Run {run_id}"]
    for mode, of in pairs.items():
        section = paired_section(of, number, mode=mode, split=split)
        if section.rows:
            sections.append(section)
        elif of:
            head.append(f"{section.title}: none; {both_sides(of)}.")
    emit(render_terminal(head, sections, width=terminal_width()))
