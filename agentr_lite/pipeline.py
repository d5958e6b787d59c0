"""The whole loop: evaluate the base, then search, splice, train and evaluate, round by round.

Each stage reads the store and writes the store, and is skipped where it has finished: running the
pipeline again on the same run *is* resuming it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agentr_lite.actors.base import Actor
from agentr_lite.envs.base import Environment
from agentr_lite.envs.registry import make_env
from agentr_lite.errors import AgentrError, StoreError
from agentr_lite.evaluate import eval_stage
from agentr_lite.output import Progress, silent_progress
from agentr_lite.recipe import Recipe
from agentr_lite.search.stage import search_stage
from agentr_lite.splice.stage import splice_stage
from agentr_lite.store import Store, runs
from agentr_lite.train.stage import adapter_in_use, train_stage, training_weights

OpenActor = Callable[[], Actor]
Equip = Callable[[Actor, int], None]


@dataclass(slots=True)
class PipelineResult:
    """What happened, stage by stage."""

    stages: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    """(round, stage, summary) in the order of the work."""

    @property
    def failed_tasks(self) -> int:
        """Tasks that the environment or the model broke, over all stages."""
        failed = 0
        for _, stage, summary in self.stages:
            if stage == "search":
                failed += int(summary.get("failed") or 0)
            elif stage == "eval":
                failed += sum(int(mode.get("faulty") or 0) for mode in summary.values())
        return failed


def run_pipeline(
    store: Store,
    run_id: str,
    recipe: Recipe,
    *,
    open_actor: OpenActor,
    equip: Equip,
    progress: Progress | None = None,
    on_stage: Callable[[int, str, dict[str, Any]], None] | None = None,
) -> PipelineResult:
    """Bring a run to its end, from wherever it is.

    Args:
        store: the database.
        run_id: an existing run.
        recipe: its resolved recipe.
        open_actor: loads the model.
        equip: checks the model and puts the adapter of a round on (0 = the base).
        progress: narration; none by default.
        on_stage: called after each stage with (round, stage, summary).

    Returns:
        What each stage gave. The run's status is ``finished``.

    Raises:
        AgentrError: the run cannot go on; its status says so.
        KeyboardInterrupt: passed on; what was committed is kept, the status is ``interrupted``.
    """
    progress = progress or silent_progress()
    result = PipelineResult()

    def done(number: int, stage: str, summary: dict[str, Any]) -> None:
        result.stages.append((number, stage, summary))
        if on_stage is not None:
            on_stage(number, stage, summary)

    runs.set_run_status(store, run_id, "running")
    env: Environment | None = None
    actor: Actor | None = None
    try:
        if recipe.rounds:
            # Asked before hours of search are spent.
            training_weights(recipe)
        env = make_env(recipe.env, recipe.env_options)
        actor = open_actor()
        equip(actor, 0)
        done(0, "eval", dict(eval_stage(store, run_id, 0, recipe, env, actor, progress=progress)))
        for number in range(1, recipe.rounds + 1):
            _round(store, run_id, number, recipe, env, actor, equip, progress, done)
    except (KeyboardInterrupt, BrokenPipeError):
        # The latter: whoever read the narration has gone.
        runs.set_run_status(store, run_id, "interrupted")
        raise
    except Exception as error:
        _record_failure(store, run_id, error)
        raise
    finally:
        if actor is not None:
            actor.close()
        if env is not None:
            env.close()
    runs.set_run_status(store, run_id, "finished")
    return result


def _round(
    store: Store,
    run_id: str,
    number: int,
    recipe: Recipe,
    env: Environment,
    actor: Actor,
    equip: Equip,
    progress: Progress,
    done: Callable[[int, str, dict[str, Any]], None],
) -> None:
    equip(actor, adapter_in_use(store, run_id, number - 1))
    found = search_stage(store, run_id, number, recipe, env, actor, progress=progress)
    done(number, "search", dict(found))
    made = splice_stage(store, run_id, number, recipe, env, actor, progress=progress)
    done(number, "splice", dict(made))
    done(number, "train", train_stage(store, run_id, number, recipe, progress=progress))
    equip(actor, adapter_in_use(store, run_id, number))
    scores = eval_stage(store, run_id, number, recipe, env, actor, progress=progress)
    done(number, "eval", dict(scores))


def _record_failure(store: Store, run_id: str, error: Exception) -> None:
    # A database that cannot be written cannot record why, either.
    if isinstance(error, StoreError):
        return
    known = isinstance(error, AgentrError)
    message = str(error) if known else f"{type(error).__name__}: {error}"
    runs.set_run_status(store, run_id, "failed", error=message)
