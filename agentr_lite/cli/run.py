"""``agentr-lite run``: the whole loop, on one environment or on several."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentr_lite.cli.common import database_path, db_option, json_option, recipe_options
from agentr_lite.console.progress import Progress
from agentr_lite.console.streams import emit, emit_json, say, terminal_width, warn
from agentr_lite.console.text import clean
from agentr_lite.core.errors import (
    EXIT_FAILED,
    EXIT_SOME_TASKS_FAILED,
    AgentrError,
    Interrupted,
    StoreError,
    UsageError,
    from_os_error,
)
from agentr_lite.runs.choice import Chosen
from agentr_lite.runs.claim import claimed

if TYPE_CHECKING:
    from agentr_lite.recipe.settings import Recipe
    from agentr_lite.runs.creation import Target
    from agentr_lite.runs.pipeline import PipelineResult
    from agentr_lite.store import Store


@click.command()
@click.argument("targets", metavar="[ENV|RECIPE]", nargs=-1)
@click.option("--resume", metavar="RUN", help="Go on with an interrupted run (`latest` works).")
@click.option("--plan", "plan_only", is_flag=True, help="Print the plan and stop.")
@recipe_options
@db_option
@json_option
@click.pass_context
def run(
    context: click.Context,
    targets: tuple[str, ...],
    resume: str | None,
    plan_only: bool,
    chosen: Chosen,
    db: Path | None,
    as_json: bool,
) -> None:
    """Evaluate the base model, then search, splice, train and evaluate, round by round.

    `agentr-lite run textcraft` needs nothing else: it plays a bundled environment with the
    bundled model. With several environments, one model learns all of them. The table at the end is
    on stdout, all narration on stderr.
    """
    if (not targets and chosen.recipe is None) == (resume is None):
        raise UsageError(
            "name what to run or what to resume",
            hint="`agentr-lite run textcraft`, or `agentr-lite run --resume latest`.",
        )
    if resume is not None and (chosen or plan_only):
        raise UsageError(
            "a run's settings are fixed: --resume takes no --recipe, --set, --model, --seed or"
            " --plan",
            hint="Begin a new run with them instead.",
        )
    from agentr_lite.runs.targets import recipe_for, unknown_target

    name = " ".join(targets)
    recipe = recipe_for(targets, chosen) if resume is None else None
    if plan_only:
        _show_plan(recipe or unknown_target(name), as_json)
        return
    from agentr_lite.runs.creation import loop_run, resumed_run
    from agentr_lite.store import Store

    with Store.open(database_path(db)) as store:
        target = loop_run(store, recipe, name) if resume is None else resumed_run(store, resume)
        run_id = target.run.id
        context.with_resource(claimed(store, run_id))
        if target.is_new:
            for line in _plan(target.recipe):
                say(line)
        place = ["--db", str(db)] if db is not None else []
        again = shlex.join(["agentr-lite", "run", "--resume", run_id, *place])
        try:
            result = _run_loop(store, target)
        except KeyboardInterrupt:
            raise Interrupted(
                f"run {run_id} interrupted; what was finished is kept",
                hint=f"Go on with: {again}",
            ) from None
        except BrokenPipeError:
            raise
        except OSError as error:
            failure = from_os_error(error)
            failure.hint = f"{failure.hint} Then go on with: {again}".strip()
            raise failure from error
        except AgentrError as error:
            if _has_begun(store, run_id, error):
                error.hint = f"{error.hint} Then go on with: {again}".strip()
            raise
        _show(store, run_id, as_json, shlex.join(place))
    if result.failed_tasks:
        by_kind = ", ".join(f"{count} {unit}" for unit, count in result.failures.items())
        warn(
            f"{result.failed_tasks} tasks failed ({by_kind})",
            hint=f"`agentr-lite trees {run_id}` says why.",
        )
        context.exit(EXIT_FAILED if result.all_failed else EXIT_SOME_TASKS_FAILED)


def _has_begun(store: Store, run_id: str, error: AgentrError) -> bool:
    """Whether there is something to go on with."""
    from agentr_lite.store.runs import list_stages

    # A database that fails is not asked again; it failed in the middle of the work.
    return isinstance(error, StoreError) or bool(list_stages(store, run_id))


def _run_loop(store: Store, target: Target) -> PipelineResult:
    from agentr_lite.runs.pipeline import run_pipeline

    say(f"run {target.run.id} · database {store.path}")
    with Progress() as progress:
        return run_pipeline(
            store, target.run.id, target.recipe, progress=progress, on_stage=_narrate
        )


def _narrate(number: int, stage: str, summary: dict[str, Any]) -> None:
    """A line on what an evaluation gave, and on a training that had no data."""
    from agentr_lite.metrics.evaluation import EvalFigures

    if stage == "eval" and (greedy := summary.get("greedy")):
        figures = EvalFigures.from_json(greedy)
        success, reward = figures.success, figures.reward
        name = "base" if number == 0 else f"round {number}"
        if success:
            # A mean reward of one task alone has no interval.
            also = f", mean reward {reward.value:.3f}" if reward and figures.graded else ""
            say(
                f"{name}: {success.value:.1%} success [{success.low:.1%}, {success.high:.1%}]{also}"
            )
    elif stage == "train" and "skipped" in summary:
        warn(f"round {number}: nothing to train on ({summary['skipped']})")


def _plan(recipe: Recipe) -> list[str]:
    by_environment = recipe.by_environment()
    several = len(by_environment) > 1
    lines = [
        f"plan: {recipe.name} · {recipe.env_label} · model {recipe.model} · seed {recipe.seed}"
    ]
    for each in by_environment:
        tasks = f"{each.eval.tasks}" if each.eval.tasks else "all"
        where = f" of {each.env_label}" if several else ""
        lines.append(f"  base     evaluate on {tasks} {each.eval.split} tasks{where}")
    for number in range(1, recipe.rounds + 1):
        for each in by_environment:
            where = f"{each.env_label}: " if several else ""
            lines.append(f"  round {number}  {where}{_round_plan(each, number)}")
    return lines


def _round_plan(recipe: Recipe, number: int) -> str:
    search = recipe.search
    tasks = f"{search.tasks} tasks" if search.tasks else "all training tasks"
    return (
        f"search {tasks} (k={search.simulations}, width {search.width}, depth {search.depth})"
        f" → splice (alpha {recipe.alpha(number):g}, critic {recipe.splice.critic},"
        f" verify {recipe.splice.verify}) → train LoRA r={recipe.train.rank} → evaluate"
    )


def _show_plan(recipe: Recipe, as_json: bool) -> None:
    if as_json:
        emit_json({"plan": recipe.to_dict()})
        return
    for line in _plan(recipe):
        emit(clean(line, keep=""))


def _show(store: Store, run_id: str, as_json: bool, place: str) -> None:
    from agentr_lite.report import render_run

    if as_json:
        emit(render_run(store, run_id, "json"))
        return
    emit(render_run(store, run_id, "terminal", width=terminal_width()))
    place = f" {place}" if place else ""
    say(f"database: {store.path}")
    say(f"next: agentr-lite tui {run_id}{place} · agentr-lite report {run_id}{place}")
