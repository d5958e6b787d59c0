"""The whole loop: evaluate the base, then search, splice, train and evaluate, round by round.

Each stage reads the store and writes the store, and is skipped where it has finished: running the
pipeline again on the same run *is* resuming it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from agentr_lite.actors.base import Actor
from agentr_lite.console.progress import Progress, silent_progress
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.environments import Environments, open_environments
from agentr_lite.runs.sitting import recorded_status
from agentr_lite.runs.stages.evaluate import eval_stage
from agentr_lite.runs.stages.search import search_stage
from agentr_lite.runs.stages.splice import environment_faults, splice_stage
from agentr_lite.runs.stages.train import adapter_in_use, train_stage, training_weights
from agentr_lite.store import Store, runs
from agentr_lite.store.records import Stage

OpenActor = Callable[[], Actor]
Equip = Callable[[Actor, int], None]


@dataclass(slots=True)
class PipelineResult:
    """What happened, stage by stage."""

    stages: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    """(round, stage, summary) in the order of the work."""

    @property
    def failures(self) -> Mapping[str, int]:
        """What the environment or the model broke, over all stages: ``searches``, ``pairs`` of
        the splicing and ``episodes`` of the evaluation; those without a failure are left out."""
        failed: Counter[str] = Counter()
        for _, stage, summary in self.stages:
            if stage == "search":
                failed["searches"] += int(summary.get("failed") or 0)
            elif stage == "splice":
                failed["pairs"] += environment_faults(summary)
            elif stage == "eval":
                failed["episodes"] += sum(int(of.get("faulty") or 0) for of in summary.values())
        return dict(+failed)

    @property
    def failed_tasks(self) -> int:
        """The sum of ``failures``."""
        return sum(self.failures.values())


def run_pipeline(
    store: Store,
    run_id: str,
    recipe: Recipe,
    *,
    open_actor: OpenActor,
    equip: Equip,
    progress: Progress | None = None,
    before: Callable[[int, Stage], object] = lambda number, stage: None,
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
        before: called before each stage with (round, stage); what it puts on record as finished
            is not done again.
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
    with recorded_status(store, run_id):
        if recipe.rounds:
            # Asked before hours of search are spent.
            training_weights(recipe)
        with (
            open_environments(recipe) as env,
            closing(open_actor()) as actor,
        ):
            equip(actor, 0)
            before(0, "eval")
            base = eval_stage(store, run_id, 0, recipe, env, actor, progress=progress)
            done(0, "eval", dict(base))
            for number in range(1, recipe.rounds + 1):
                _round(store, run_id, number, recipe, env, actor, equip, progress, before, done)
    return result


def _round(
    store: Store,
    run_id: str,
    number: int,
    recipe: Recipe,
    env: Environments,
    actor: Actor,
    equip: Equip,
    progress: Progress,
    before: Callable[[int, Stage], object],
    done: Callable[[int, str, dict[str, Any]], None],
) -> None:
    equip(actor, adapter_in_use(store, run_id, number - 1))
    before(number, "search")
    found = search_stage(store, run_id, number, recipe, env, actor, progress=progress)
    done(number, "search", dict(found))
    before(number, "splice")
    made = splice_stage(store, run_id, number, recipe, env, actor, progress=progress)
    done(number, "splice", dict(made))
    before(number, "train")
    done(number, "train", train_stage(store, run_id, number, recipe, progress=progress))
    equip(actor, adapter_in_use(store, run_id, number))
    before(number, "eval")
    scores = eval_stage(store, run_id, number, recipe, env, actor, progress=progress)
    done(number, "eval", dict(scores))
