"""What all stages of a run have in common: finished or not, begun, paid for, counted, shown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from agentr_lite.actors.base import Actor, LoadedModel
from agentr_lite.console.progress import Progress, silent_progress
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.environments import RunEnvironment, is_for_several
from agentr_lite.runs.stages.live import LivePublisher
from agentr_lite.runs.stages.record import StageRecord
from agentr_lite.runs.stages.waves import Waves
from agentr_lite.store import Store, runs, trees
from agentr_lite.store.live import clear_live
from agentr_lite.store.records import RoundRow
from agentr_lite.store.records import Stage as StageName


@dataclass(frozen=True, slots=True)
class StageContext:
    """What a stage works with."""

    store: Store
    run_id: str
    round: int
    """See ``core.rounds``: 0 is what self-training starts from."""
    recipe: Recipe
    """The run's, resolved."""
    environments: Sequence[RunEnvironment] = ()
    """Open; empty for training, which plays nothing."""
    actor: LoadedModel | None = None
    """Loaded here, or elsewhere (``Waves``), with the adapter of the stage in place; None for
    training."""
    progress: Progress = field(default_factory=silent_progress)
    """Narration; none by default."""


class Stage(ABC):
    """One stage of one round of a run.

    ``run`` is the same for all stages: a finished stage returns its stored summary; otherwise the
    stage is begun, works from wherever an earlier process was cut, and is finished. Running a
    stage again *is* resuming it.

    Attributes:
        context: what the stage works with.
        redo: whether to delete what the stage has and begin again.
        record: the stage's row, once it has begun.
    """

    name: ClassVar[StageName]
    """As the store calls the stage."""
    failure_unit: ClassVar[str] = ""
    """What ``count_failures`` counts, in the plural."""

    record: StageRecord

    def __init__(self, context: StageContext, *, redo: bool = False) -> None:
        self.context = context
        self.store = context.store
        self.run_id = context.run_id
        self.round = context.round
        self.recipe = context.recipe
        self.progress = context.progress
        self.redo = redo

    @classmethod
    def model_round(cls, number: int) -> int | None:
        """Whose adapter the model wears in this stage of round ``number``.

        Returns:
            A round (``adapter_in_use`` finds its adapter); None where the stage does not use the
            loaded model.
        """
        return number - 1

    @classmethod
    def count_failures(cls, summary: Mapping[str, Any]) -> int:
        """How many ``failure_unit`` of a summary the environment or the model broke."""
        return 0

    @classmethod
    def count_tasks(cls, summary: Mapping[str, Any]) -> int:
        """Of how many tasks ``count_failures`` counts the failed ones; 0: it counts none."""
        return 0

    def run(self) -> dict[str, Any]:
        """Bring the stage to its end.

        Returns:
            Its summary; JSON types.

        Raises:
            AgentrError: the stage cannot go on. What was committed is kept.
        """
        stored = self.finished()
        if stored is not None:
            return stored
        self.begin()
        return self.finish(self.work())

    def finished(self) -> dict[str, Any] | None:
        """The stored summary where nothing is left to do; None where there is work."""
        status = self.status()
        if status is None or not status.finished or self.redo:
            return None
        return dict(status.summary)

    def begin(self) -> None:
        """Check what the stage needs and record that it has begun.

        Raises:
            AgentrError: something is missing. The store is then as it was.
        """
        self.prepare()
        self.record = self.new_record()
        # Together: what was made from deleted rows must not pass as finished.
        with self.store.atomic():
            self.record.begin()
            self.clear()
        self.progress.watch(
            LivePublisher(self.store, self.run_id, self.round, self.name, self.context.actor)
        )

    def prepare(self) -> None:  # noqa: B027 - optional hook
        """Read and check what the stage needs; called before anything is written."""

    def new_record(self) -> StageRecord:
        """The stage's row."""
        return StageRecord(self.store, self.run_id, self.round, self.name, self.context.actor)

    def clear(self) -> None:  # noqa: B027 - optional hook
        """Delete what the stage does not go on from; part of the transaction that begins it."""

    @abstractmethod
    def work(self) -> dict[str, Any]:
        """Do what is missing, committed group by group; returns the stage's summary."""

    def finish(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Record that the stage is finished; returns its summary."""
        self.progress.watch(None)
        with self.store.atomic():
            clear_live(self.store, self.run_id)
            self.record.finish(summary)
        headline = self.headline(summary)
        if headline:
            self.progress.finish(headline)
        return summary

    def headline(self, summary: Mapping[str, Any]) -> str:
        """The summary in a few words, for the progress line; empty: there is none."""
        return ""

    def status(self) -> RoundRow | None:
        """The stage's row as it is stored now; None where the stage has not begun."""
        return runs.stage_status(self.store, self.run_id, self.round, self.name)

    @property
    def environments(self) -> Sequence[RunEnvironment]:
        """The run's environments."""
        return self.context.environments

    @property
    def several(self) -> bool:
        """Whether the run is on several environments."""
        return is_for_several(self.recipe)

    @property
    def actor(self) -> Actor:
        """The model that is loaded in this process.

        Raises:
            ValueError: the context has none.
        """
        if not isinstance(self.context.actor, Actor):
            raise ValueError(f"the stage {self.name} needs an actor")
        return self.context.actor

    @property
    def model(self) -> LoadedModel:
        """The model, wherever it is loaded.

        Raises:
            ValueError: the context has none.
        """
        if self.context.actor is None:
            raise ValueError(f"the stage {self.name} needs a model")
        return self.context.actor

    @property
    def waves(self) -> Waves | None:
        """The model that is loaded elsewhere; None: it is loaded here."""
        return self.context.actor if isinstance(self.context.actor, Waves) else None

    def show_progress(self, unit: str, total: int, *, present: int = 0) -> None:
        """Begin the progress line.

        Args:
            unit: what is counted.
            total: how many there are.
            present: how many were there already.
        """
        self.progress.start(f"round {self.round} {self.name}, {unit}", total, initial=present)

    def with_environments(self, count: Callable[[str | None], dict[str, Any]]) -> dict[str, Any]:
        """Counts over all trees of the round and, with several environments, ``by_env``.

        Args:
            count: gives the counts of one environment's trees, by name, or of all (None).
        """
        counts = count(None)
        if self.several:
            rows = trees.list_trees(self.store, self.run_id, round_index=self.round)
            names = sorted({row.task.env for row in rows})
            counts["by_env"] = {name: count(name) for name in names}
        return counts
