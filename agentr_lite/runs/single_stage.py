"""A single stage of a round: what ``imitate``, ``search``, ``splice``, ``train`` and ``eval`` do.

The caller holds the run (``claim.claimed``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from agentr_lite.console.progress import Progress
from agentr_lite.console.streams import say, warn
from agentr_lite.core.errors import ModelError, UsageError
from agentr_lite.core.rounds import START, reference_round, round_name
from agentr_lite.recipe.groups import CHOOSING
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.creation import Target
from agentr_lite.runs.environments import open_environments
from agentr_lite.runs.equipment import adapter_in_use, adapter_path, equip
from agentr_lite.runs.executor import opened_model
from agentr_lite.runs.rounds import check_searchable, round_to_evaluate
from agentr_lite.runs.shards import Shard
from agentr_lite.runs.stages.evaluate import EvaluateStage, evaluate_in_turn
from agentr_lite.runs.stages.imitate import ImitateStage
from agentr_lite.runs.stages.search import SearchStage
from agentr_lite.runs.stages.splice import SpliceStage
from agentr_lite.runs.stages.stage import StageContext
from agentr_lite.runs.stages.train import TrainStage
from agentr_lite.runs.stages.waves import Executor
from agentr_lite.runs.status import recorded_status
from agentr_lite.runs.targets import changed_recipe
from agentr_lite.store import Store
from agentr_lite.store.records import RunRow
from agentr_lite.store.runs import list_stages, stage_status
from agentr_lite.store.splices import get_adapter


@contextmanager
def _equipped(
    store: Store,
    run: RunRow,
    number: int,
    recipe: Recipe,
    adapter_round: int | None,
    *,
    searches: bool = True,
    executor: Executor | None = None,
) -> Generator[StageContext]:
    """The context of a stage, with the environments open and the model loaded.

    Args:
        store: the database.
        run: the run.
        number: the stage's round.
        recipe: the run's, as it is used now.
        adapter_round: whose adapter the model wears; None: the base.
        searches: whether trees are searched, and not only episodes played.
        executor: where waves are done; None: in this process.
    """
    with (
        open_environments(recipe) as environments,
        closing(opened_model(recipe, environments, executor, searches=searches)) as actor,
    ):
        equip(store, run, actor, adapter_round)
        with Progress() as progress:
            yield StageContext(store, run.id, number, recipe, environments, actor, progress)


def search_round(
    store: Store,
    target: Target,
    number: int,
    *,
    redo: bool,
    executor: Executor | None = None,
    shard: Shard | None = None,
) -> dict[str, Any]:
    """Search a round, or go on where the search was cut; returns the stage's summary.

    The run's status is left as the search ends, unless the whole loop works on the run: then the
    run keeps the status that the loop gave it.

    Args:
        store: the database.
        target: the run.
        number: the round, from 1.
        redo: throw away the round's trees and search again.
        executor: where waves are done; None: in this process.
        shard: search only this share of the waves, of a run that has nothing else; default: what
            the search was begun as.

    Raises:
        UsageError: the model of this round has not been trained.
        AgentrError: see ``SearchStage``.
    """
    run, recipe = target.run, target.recipe
    with recorded_status(store, run.id, applies=lambda: _has_only(store, target, "search")):
        check_searchable(store, run.id, number)
        shard = shard or begun_shard(store, run.id, number)
        if shard is not None and (number != 1 or not _has_only(store, target, "search")):
            raise UsageError(
                f"run {run.id} is not searched in shards: the other machines do not have its model",
                hint="--shard begins a new run, in its first round.",
            )
        worn = adapter_in_use(store, run.id, number - 1)
        with _equipped(store, run, number, recipe, worn, executor=executor) as context:
            say(f"{run.id}: round {number}, {'base model' if worn is None else 'adapter'}")
            return SearchStage(context, redo=redo, shard=shard).run()


def begun_shard(store: Store, run_id: str, number: int) -> Shard | None:
    """The share that a round's search was begun as; None: it has not begun, or is whole."""
    status = stage_status(store, run_id, number, "search")
    stored = None if status is None else status.summary.get("shard")
    return None if stored is None else Shard.parse(str(stored))


def _has_only(store: Store, target: Target, stage: str) -> bool:
    """Whether a run was begun by this stage's own command, be it now or before a cut.

    The whole loop begins with an evaluation. One that was cut in it is like a run that an
    evaluation began: once the evaluation ends, nothing of it is left undone.
    """
    stages = list_stages(store, target.run.id)
    return target.is_new or all(row.stage == stage for row in stages)


def imitate(store: Store, target: Target, *, redo: bool) -> dict[str, Any]:
    """Learn from demonstrations, or go on from the last checkpoint; returns the stage's summary.

    The status of a run is left as the imitation ends, unless the run has other stages: then the run
    keeps its status.

    Args:
        store: the database.
        target: the run; its recipe may differ from the stored one in how it trains.
        redo: train again from the beginning.

    Raises:
        UsageError: the run was begun without imitation.
        AgentrError: see ``ImitateStage``.
    """
    run, recipe = target.run, target.recipe
    if not run.imitates:
        raise UsageError(
            f"run {run.id} was begun without imitation",
            hint="Name an environment or a recipe instead, and a new run begins.",
        )
    searched = any(row.round > START for row in list_stages(store, run.id))
    with (
        recorded_status(store, run.id, applies=lambda: _has_only(store, target, "imitate")),
        open_environments(recipe) as environments,
        Progress() as progress,
    ):
        context = StageContext(store, run.id, START, recipe, environments, progress=progress)
        stage = ImitateStage(context, redo=redo)
        was_finished = stage.finished() is not None
        summary = stage.run()
    if searched and not was_finished:
        warn(
            f"the rounds of {run.id} started from the adapter that this replaced",
            hint="A new run starts from the new one.",
        )
    return summary


def splice_recipe(run: RunRow, overrides: Sequence[str]) -> Recipe:
    """The run's recipe with other splice settings.

    Raises:
        UsageError: a setting that cannot be changed here.
        RecipeError: a wrong value, or no such key.
    """
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key.removeprefix("splice.") in CHOOSING:
            raise UsageError(
                f"{key} chooses what is trained on; it changes nothing here",
                hint=f"Set it where that is done: agentr-lite train {run.id} --set {override}",
            )
    return changed_recipe(run, overrides, ("splice.",))


def splice_round(
    store: Store,
    run: RunRow,
    recipe: Recipe,
    number: int,
    *,
    redo: bool,
    executor: Executor | None = None,
) -> dict[str, Any]:
    """Splice a round, or go on where splicing was cut; returns the stage's summary.

    Args:
        store: the database.
        run: the run.
        recipe: see ``splice_recipe``.
        number: the round, from 1.
        redo: throw away what the round has and begin again.
        executor: where waves are done; None: in this process.

    Raises:
        UsageError: the round has no trees or is a shard, or was spliced with other settings.
        AgentrError: see ``SpliceStage``.
    """
    if begun_shard(store, run.id, number) is not None:
        raise UsageError(
            f"run {run.id} is a shard: it has only a part of the trees",
            hint="`agentr-lite runs merge FILE... --db ALL.db` joins the shards first.",
        )
    # Asked before the model loads, which may take a while.
    stored = SpliceStage(StageContext(store, run.id, number, recipe), redo=redo).finished()
    if stored is not None:
        say(f"{run.id}: round {number} is spliced already; --redo does it again")
        return stored
    worn = adapter_in_use(store, run.id, number - 1)
    with _equipped(store, run, number, recipe, worn, executor=executor) as context:
        summary = SpliceStage(context, redo=redo).run()
    if get_adapter(store, run.id, number) is not None:
        warn(
            f"the adapter of round {number} was trained on what this replaced",
            hint=f"`agentr-lite train {run.id} --round {number}` trains it again.",
        )
    return summary


def train_round(
    store: Store, run: RunRow, number: int, overrides: Sequence[str], *, redo: bool
) -> dict[str, Any]:
    """Train a round, or go on from its last checkpoint; returns the stage's summary.

    Args:
        store: the database.
        run: the run.
        number: the round, from 1.
        overrides: ``key=value`` of training, or of the choice of data. With any, a finished
            training is done again.
        redo: train again from the beginning.

    Raises:
        UsageError: a setting that cannot be changed here.
        AgentrError: see ``TrainStage``.
    """
    choosing = (f"splice.{key}" for key in CHOOSING)
    recipe = changed_recipe(run, overrides, ("train.", *choosing))
    status = stage_status(store, run.id, number, "train")
    # A training that was cut goes on from its checkpoint, if that has the same settings.
    redo = redo or (status is not None and status.finished and bool(overrides))
    with Progress() as progress:
        context = StageContext(store, run.id, number, recipe, progress=progress)
        return TrainStage(context, redo=redo).run()


def evaluate_round(
    store: Store,
    target: Target,
    round_index: int | None,
    *,
    paired: bool,
    replace: bool,
    executor: Executor | None = None,
) -> tuple[int, dict[int, dict[str, Any]]]:
    """Evaluate a round, or go on where its evaluation was cut.

    The status of a run is left as the evaluation ends, unless the run has other stages: then the
    run keeps its status.

    Args:
        store: the database.
        target: the run.
        round_index: the round; None: the last that was trained.
        paired: evaluate the base as well, in turn on the same tasks, with the model loaded once.
            After imitation, it is round 0 with which rounds from 1 are paired.
        replace: throw away finished episodes that were played with other settings.
        executor: where groups of episodes are played; None: in this process.

    Returns:
        The round, and by round (the base as well if ``paired``) the figures by mode.

    Raises:
        UsageError: the round has not been trained; or ``paired``, and there is no adapter.
        ModelError: ``paired``, and the back end cannot hold two models.
        AgentrError: see ``EvaluateStage``.
    """
    run, recipe = target.run, target.recipe
    with recorded_status(store, run.id, applies=lambda: _has_only(store, target, "eval")):
        number = round_to_evaluate(store, run.id, round_index)
        worn = adapter_in_use(store, run.id, number)
        reference = reference_round(number, imitates=recipe.imitates)
        if paired and (worn is None or reference is None):
            raise UsageError(
                f"run {run.id} has no adapter to compare the base with",
                hint="Name a trained round with --round, or an adapter with --adapter.",
            )
        with ExitStack() as stack:
            first, wearing = number, worn
            if paired and reference is not None:
                first, wearing = reference, adapter_in_use(store, run.id, reference)
            context = stack.enter_context(
                _equipped(store, run, first, recipe, wearing, searches=False, executor=executor)
            )
            contexts = [context]
            if first != number and worn is not None:
                contexts.append(_beside(stack, context, run, number, worn))
            names = [round_name(each.round, imitates=recipe.imitates) for each in contexts]
            models = ["the base model" if name == "base" else name for name in names]
            say(f"{run.id}: evaluating {' and '.join(models)}")
            stages = [EvaluateStage(each, replace=replace) for each in contexts]
            return number, evaluate_in_turn(stages)


def _beside(
    stack: ExitStack, base: StageContext, run: RunRow, number: int, adapter_round: int
) -> StageContext:
    """The context of a round's evaluation over the weights that the base has loaded."""
    actor = base.actor
    if actor is None or not actor.capabilities.side_by_side:
        raise ModelError(
            "this model's back end cannot hold the base and an adapter at a time",
            hint="Leave --paired out, and evaluate --round 0 and the round in turn.",
        )
    beside = actor.beside(adapter_path(base.store, run, actor, adapter_round))
    return dataclasses.replace(base, round=number, actor=stack.enter_context(closing(beside)))
