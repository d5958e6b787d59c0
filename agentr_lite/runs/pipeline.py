"""The whole loop: evaluate the base, then search, splice, train and evaluate, round by round.

With imitation, the base is evaluated, then learns from demonstrations and is evaluated again; the
rounds start from there (``core.rounds``).

Each stage reads the store and writes the store, and is skipped where it has finished: running the
pipeline again on the same run *is* resuming it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from agentr_lite.actors.base import LoadedModel
from agentr_lite.console.progress import Progress, silent_progress
from agentr_lite.core.rounds import BEFORE_IMITATION, START
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.dead_end import stop_at_dead_end
from agentr_lite.runs.environments import open_environments
from agentr_lite.runs.equipment import adapter_in_use, equip
from agentr_lite.runs.executor import opened_model
from agentr_lite.runs.general import usable_general
from agentr_lite.runs.stages.evaluate import EvaluateStage
from agentr_lite.runs.stages.imitate import ImitateMoreStage, ImitateStage
from agentr_lite.runs.stages.search import SearchStage
from agentr_lite.runs.stages.splice import SpliceStage
from agentr_lite.runs.stages.stage import Stage, StageContext
from agentr_lite.runs.stages.train import TrainStage
from agentr_lite.runs.stages.waves import Executor
from agentr_lite.runs.status import recorded_status
from agentr_lite.runs.time_left import TimeLeft
from agentr_lite.runs.weights import training_weights
from agentr_lite.store import Store, runs
from agentr_lite.store.records import Stage as StageName

ROUND: tuple[type[Stage], ...] = (SearchStage, SpliceStage, TrainStage, EvaluateStage)
"""The stages of a round of self-training, in the order of the work."""

STAGES: Mapping[str, type[Stage]] = {
    ImitateStage.name: ImitateStage,
    **{stage.name: stage for stage in ROUND},
}
"""All stages by name."""


IMITATING_ROUND: tuple[type[Stage], ...] = (ImitateMoreStage, EvaluateStage)
"""The stages of a round that learns from further demonstrations."""


def planned_stages(
    rounds: int, *, imitates: bool = False, searches: bool = True
) -> list[tuple[int, type[Stage]]]:
    """The whole loop as (round, stage), in the order of the work.

    Args:
        rounds: rounds of self-training, after round 0.
        imitates: whether round 0 is what imitation makes of the base, which is round -1 then.
        searches: False: the rounds learn from further demonstrations.
    """
    plan: list[tuple[int, type[Stage]]] = []
    if imitates:
        plan += [(BEFORE_IMITATION, EvaluateStage), (START, ImitateStage)]
    plan.append((START, EvaluateStage))
    stages = ROUND if searches else IMITATING_ROUND
    plan += [(number, stage) for number in range(1, rounds + 1) for stage in stages]
    return plan


@dataclass(slots=True)
class PipelineResult:
    """What happened, stage by stage."""

    stages: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    """(round, name of the stage, summary) in the order of the work."""

    @property
    def failures(self) -> Mapping[str, int]:
        """What the environment or the model broke, over all stages: ``searches``, ``pairs`` of
        the splicing and ``episodes`` of the evaluation; those without a failure are left out."""
        failed: Counter[str] = Counter()
        for _, name, summary in self.stages:
            stage = STAGES[name]
            failed[stage.failure_unit] += stage.count_failures(summary)
        return dict(+failed)

    @property
    def failed_tasks(self) -> int:
        """The sum of ``failures``."""
        return sum(self.failures.values())

    @property
    def all_failed(self) -> bool:
        """Whether no task was searched or evaluated to its end."""
        counted = [
            (STAGES[name].count_tasks(summary), STAGES[name].count_failures(summary))
            for _, name, summary in self.stages
        ]
        played = [(tasks, failed) for tasks, failed in counted if tasks]
        return bool(played) and all(tasks == failed for tasks, failed in played)


def run_pipeline(
    store: Store,
    run_id: str,
    recipe: Recipe,
    *,
    progress: Progress | None = None,
    before: Callable[[int, StageName], object] = lambda number, stage: None,
    on_stage: Callable[[int, str, dict[str, Any]], None] = lambda number, stage, summary: None,
    executor: Executor | None = None,
) -> PipelineResult:
    """Bring a run to its end, from wherever it is.

    Args:
        store: the database.
        run_id: an existing run.
        recipe: its resolved recipe.
        progress: narration; none by default.
        before: called before each stage with (round, stage). A stage that it records as finished
            is not done again.
        on_stage: called after each stage with (round, stage, summary).
        executor: where waves of search, splicing and evaluation are done; None: in this process.
            Training is always done here.

    Returns:
        What each stage gave. The run's status is ``finished``.

    Raises:
        NothingToLearn: no round has given anything to train on; see ``stop_at_dead_end``.
        AgentrError: the run cannot go on; its status says so.
        KeyboardInterrupt: passed on; what was committed is kept, the status is ``interrupted``.
    """
    progress = progress or silent_progress()
    result = PipelineResult()
    runs.set_run_status(store, run_id, "running")
    with recorded_status(store, run_id):
        if recipe.rounds or recipe.imitates:
            # Better to fail now than after hours of search.
            training_weights(recipe)
            # A run that has stopped at its first round stops there again, without loading a model.
            stop_at_dead_end(store, run_id, 1)
            usable_general(recipe)
        with (
            open_environments(recipe) as environments,
            closing(opened_model(recipe, environments, executor)) as actor,
        ):
            adapter = _Adapter(store, run_id, actor)
            plan = planned_stages(recipe.rounds, imitates=recipe.imitates, searches=recipe.searches)
            left = TimeLeft(store, run_id)
            for place, (number, kind) in enumerate(plan):
                later = [stage.name for _, stage in plan[place + 1 :]]
                # The model is known to the store once the adapter is in place.
                adapter.put_on(kind.model_round(number))
                progress.expect(left.of([kind.name]), left.of(later))
                before(number, kind.name)
                context = StageContext(store, run_id, number, recipe, environments, actor, progress)
                summary = kind(context).run()
                result.stages.append((number, kind.name, summary))
                on_stage(number, kind.name, summary)
                if kind is TrainStage:
                    stop_at_dead_end(store, run_id, number)
    return result


class _Adapter:
    """The adapter that the run's model wears, changed only where the next stage needs another."""

    def __init__(self, store: Store, run_id: str, actor: LoadedModel) -> None:
        self._store = store
        self._run_id = run_id
        self._actor = actor
        self._worn: int | None = None
        self._is_checked = False

    def put_on(self, round_index: int | None) -> None:
        """Wear what is in use in a round; None: whatever it is.

        Raises:
            ModelError: the model is not the run's, or the adapter is unusable.
        """
        if round_index is None:
            return
        wanted = adapter_in_use(self._store, self._run_id, round_index)
        if wanted != self._worn or not self._is_checked:
            equip(self._store, runs.get_run(self._store, self._run_id), self._actor, wanted)
            self._worn, self._is_checked = wanted, True
