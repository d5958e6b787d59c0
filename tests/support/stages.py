"""Stages of a run on a single environment that a test has made."""

from __future__ import annotations

from typing import Any

from agentr_lite.actors.base import Actor
from agentr_lite.console.progress import Progress, silent_progress
from agentr_lite.envs.base import Environment
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.environments import RunEnvironment
from agentr_lite.runs.stages.evaluate import EvaluateStage
from agentr_lite.runs.stages.search import SearchStage
from agentr_lite.runs.stages.splice import SpliceStage
from agentr_lite.runs.stages.stage import StageContext
from agentr_lite.runs.stages.train import TrainStage
from agentr_lite.store import Store


def stage_context(
    store: Store,
    run_id: str,
    round_index: int,
    recipe: Recipe,
    env: Environment | None = None,
    actor: Actor | None = None,
    progress: Progress | None = None,
) -> StageContext:
    """What a stage works with; no environment and no actor for training."""
    environments = [] if env is None else [RunEnvironment(env, recipe)]
    return StageContext(
        store, run_id, round_index, recipe, environments, actor, progress or silent_progress()
    )


def search_stage(
    store: Store,
    run_id: str,
    round_index: int,
    recipe: Recipe,
    env: Environment,
    actor: Actor,
    *,
    progress: Progress | None = None,
    **arguments: Any,
) -> dict[str, Any]:
    """Run a search stage; further arguments as ``SearchStage`` takes them."""
    context = stage_context(store, run_id, round_index, recipe, env, actor, progress)
    return SearchStage(context, **arguments).run()


def splice_stage(
    store: Store,
    run_id: str,
    round_index: int,
    recipe: Recipe,
    env: Environment,
    actor: Actor,
    *,
    redo: bool = False,
) -> dict[str, Any]:
    """Run a splice stage."""
    context = stage_context(store, run_id, round_index, recipe, env, actor)
    return SpliceStage(context, redo=redo).run()


def train_stage(
    store: Store, run_id: str, round_index: int, recipe: Recipe, *, redo: bool = False
) -> dict[str, Any]:
    """Run a training stage."""
    return TrainStage(stage_context(store, run_id, round_index, recipe), redo=redo).run()


def eval_stage(
    store: Store,
    run_id: str,
    round_index: int,
    recipe: Recipe,
    env: Environment,
    actor: Actor,
    *,
    progress: Progress | None = None,
    replace: bool = False,
) -> dict[str, Any]:
    """Run an evaluation stage."""
    context = stage_context(store, run_id, round_index, recipe, env, actor, progress)
    return EvaluateStage(context, replace=replace).run()
