"""``agentr-lite run``: the whole loop on one environment."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentr_lite.cli.common import database_path, db_option, json_option, recipe_options
from agentr_lite.errors import EXIT_SOME_TASKS_FAILED, Interrupted, UsageError
from agentr_lite.output import Progress, clean, emit, say, terminal_width, warn

if TYPE_CHECKING:
    from agentr_lite.cli.session import Target
    from agentr_lite.pipeline import PipelineResult
    from agentr_lite.recipe import Recipe
    from agentr_lite.store import Store


@click.command()
@click.argument("target", metavar="ENV|RECIPE", required=False)
@click.option("--resume", metavar="RUN", help="Go on with a run that was cut (`latest` works).")
@click.option("--plan", "plan_only", is_flag=True, help="Print the plan and stop.")
@recipe_options
@db_option
@json_option
@click.pass_context
def run(
    context: click.Context,
    target: str | None,
    resume: str | None,
    plan_only: bool,
    recipe: str | None,
    overrides: tuple[str, ...],
    model: str | None,
    seed: int | None,
    db: Path | None,
    as_json: bool,
) -> None:
    """Evaluate the base model, then search, splice, train and evaluate, round by round.

    `agentr-lite run textcraft` needs nothing else: it plays the bundled environment with the
    bundled model. The table at the end is on stdout, all narration on stderr.
    """
    result_options = [*overrides]
    result_options += [f"model={model}"] if model is not None else []
    result_options += [f"seed={seed}"] if seed is not None else []
    if (target is None and recipe is None) == (resume is None):
        raise UsageError(
            "name what to run or what to resume",
            hint="`agentr-lite run textcraft`, or `agentr-lite run --resume latest`.",
        )
    if resume is not None and (result_options or recipe):
        raise UsageError(
            "a run's settings are fixed; --resume takes no --recipe, --set, --model or --seed",
            hint="Begin a new run with them instead.",
        )
    if plan_only:
        _print_plan(_planned(target, recipe, tuple(result_options)))
        return
    from agentr_lite.store import Store

    with Store.open(database_path(db)) as store:
        found = _target(store, target, resume, recipe, tuple(result_options))
        if found.is_new:
            _print_plan(found.recipe)
        again = ["agentr-lite", "run", "--resume", found.run.id]
        again += ["--db", str(db)] if db is not None else []
        try:
            result = _work(store, found)
        except KeyboardInterrupt:
            raise Interrupted(
                f"run {found.run.id} interrupted; what was finished is kept",
                hint=f"Go on with: {shlex.join(again)}",
            ) from None
        _show(store, found.run.id, as_json)
    failed = result.failed_tasks
    if failed:
        warn(f"{failed} tasks failed", hint=f"`agentr-lite trees {found.run.id}` says why.")
        context.exit(EXIT_SOME_TASKS_FAILED)


def _target(
    store: Store,
    target: str | None,
    resume: str | None,
    recipe: str | None,
    overrides: tuple[str, ...],
) -> Target:
    from agentr_lite.cli.session import target_run

    if resume is not None:
        return target_run(store, resume)
    name = target if target is not None else str(recipe)
    found = target_run(store, name, recipe=recipe, overrides=overrides)
    if not found.is_new:
        raise UsageError(
            f"'{name}' is an existing run", hint=f"`agentr-lite run --resume {name}` goes on."
        )
    return found


def _planned(target: str | None, recipe: str | None, overrides: tuple[str, ...]) -> Recipe:
    from agentr_lite.recipe import load_recipe

    return load_recipe(recipe or str(target), overrides)


def _work(store: Store, found: Target) -> PipelineResult:
    from agentr_lite.actors.registry import open_actor
    from agentr_lite.cli.session import equip
    from agentr_lite.pipeline import run_pipeline
    from agentr_lite.store.runs import get_run

    run_id, recipe = found.run.id, found.recipe
    say(f"run {run_id} · database {clean(str(store.path))}")
    with Progress() as progress:
        return run_pipeline(
            store,
            run_id,
            recipe,
            open_actor=lambda: open_actor(recipe),
            equip=lambda actor, number: equip(store, get_run(store, run_id), actor, number),
            progress=progress,
            on_stage=_narrate,
        )


def _narrate(number: int, stage: str, summary: dict[str, Any]) -> None:
    """One line after a stage that people wait for."""
    if stage == "eval" and (greedy := summary.get("greedy")):
        success = greedy.get("success") or {}
        name = "base" if number == 0 else f"round {number}"
        if success:
            say(
                f"{name}: {success['mean']:.1%} success"
                f" [{success['low']:.1%}, {success['high']:.1%}]"
            )
    elif stage == "train" and "skipped" in summary:
        warn(f"round {number}: nothing to train on ({summary['skipped']})")


def _print_plan(recipe: Recipe) -> None:
    search, evaluation = recipe.search, recipe.eval
    tasks = f"{search.tasks} tasks" if search.tasks else "all training tasks"
    held_out = f"{evaluation.tasks}" if evaluation.tasks else "all"
    say(f"plan: {recipe.name} · {recipe.env} · model {clean(recipe.model)} · seed {recipe.seed}")
    say(f"  base     evaluate on {held_out} {evaluation.split} tasks")
    for number in range(1, recipe.rounds + 1):
        say(
            f"  round {number}  search {tasks} (k={search.simulations}, width {search.width},"
            f" depth {search.depth}) → splice (alpha {recipe.alpha(number):g},"
            f" critic {recipe.splice.critic}, verify {recipe.splice.verify})"
            f" → train LoRA r={recipe.train.rank} → evaluate"
        )


def _show(store: Store, run_id: str, as_json: bool) -> None:
    from agentr_lite.report import render_run

    if as_json:
        emit(render_run(store, run_id, "json"))
        return
    emit(render_run(store, run_id, "terminal", width=terminal_width()))
    say(f"database: {clean(str(store.path))}")
    say(
        f"next: agentr-lite tui {run_id}"
        f" · agentr-lite export {run_id} --format openai -o data.jsonl"
    )
