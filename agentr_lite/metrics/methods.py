"""Runs of several methods and seeds, and what tables and plots ask of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from agentr_lite.core.rounds import BEFORE_IMITATION, START, base_round
from agentr_lite.metrics.estimates import Difference, PooledEstimate
from agentr_lite.metrics.measures import (
    Measure,
    Rounds,
    any_graded,
    in_env,
    main_measure,
    recovery_measure,
)
from agentr_lite.metrics.pooling import difference_of, value_of
from agentr_lite.store.records import RoundRow, RunRow

BASE = "base"
"""The method of the model before any training."""
IMITATION = "imitation"
"""The method of the model after imitation alone, from which other methods may start."""


@dataclass(frozen=True, slots=True)
class MethodRun:
    """One run that has something to show."""

    method: str
    seed: int
    run: RunRow
    rounds: Rounds
    stages: Sequence[RoundRow]

    @property
    def last_round(self) -> int:
        """The last round with a finished greedy evaluation."""
        return max((number for mode, number in self.rounds if mode == "greedy"), default=0)

    @property
    def base_round(self) -> int:
        """The round of the base model."""
        return base_round(imitates=self.run.imitates)

    def reference_round(self, measure: Measure) -> int:
        """The round with which a measure is compared: the base.

        Recovery begins in the failures of round 0, and a base that imitation has replaced is not
        asked to recover from them: there it is round 0 itself.
        """
        return START if measure.mode == "recovery" else self.base_round

    @property
    def envs(self) -> list[str]:
        """What the environments of its episodes call themselves."""
        return sorted({episode.env for played in self.rounds.values() for episode in played})


R = TypeVar("R", bound=MethodRun)


@dataclass(slots=True)
class MethodRuns(Generic[R]):
    """Runs that began with the same model on the same tasks, by method and seed.

    No method has two runs of one seed.
    """

    runs: list[R] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    """Method to what it is called, in the order in which they are shown."""

    def of(self, method: str) -> list[R]:
        """A method's runs by seed."""
        return sorted((run for run in self.runs if run.method == method), key=lambda run: run.seed)

    def label(self, method: str) -> str:
        """What a method is called."""
        return self.labels.get(method, method)

    def seeds(self, method: str) -> dict[int, Rounds]:
        """Seed to what a method's run played.

        For ``base`` and ``imitation``, of whichever run has their episodes, as round 0.
        """
        if method not in (BASE, IMITATION):
            return {run.seed: run.rounds for run in self.of(method)}
        by_seed: dict[int, Rounds] = {}
        for run in [*self.of(method), *self.runs]:
            rounds = _start_of(run, method)
            if ("greedy", START) in rounds:
                by_seed.setdefault(run.seed, rounds)
        return dict(sorted(by_seed.items()))

    @property
    def methods(self) -> list[str]:
        """The methods that have been evaluated after training."""
        return [method for method in self.labels if self.is_trained(method)]

    def is_trained(self, method: str) -> bool:
        """Whether a run of a method has been evaluated after training."""
        return any(run.last_round > START for run in self.of(method))

    def imitates(self, method: str) -> bool:
        """Whether a method's runs start from imitation."""
        return any(run.run.imitates for run in self.of(method))

    def last_round(self, *methods: str) -> int:
        """The last round that a run of each of these methods has."""
        lasts = [max((run.last_round for run in self.of(method)), default=0) for method in methods]
        return min(lasts, default=0)

    @property
    def envs(self) -> list[str]:
        """The environments that every run has; empty where there is only one."""
        shared = set.intersection(*(set(run.envs) for run in self.runs)) if self.runs else set()
        return sorted(shared) if any(len(run.envs) > 1 for run in self.runs) else []

    def in_env(self, env: str) -> MethodRuns[R]:
        """The same runs with the episodes of one environment; their stages stay whole."""
        return MethodRuns(
            [_with_rounds(run, in_env(run.rounds, env)) for run in self.runs], self.labels
        )

    @property
    def graded(self) -> bool:
        """Whether there are rewards between none and all."""
        return any_graded(run.rounds for run in self.runs)

    @property
    def main(self) -> Measure:
        """What the environment is about; see ``main_measure``."""
        return main_measure(self.graded)

    @property
    def recovery(self) -> Measure:
        """How recovery is measured; see ``recovery_measure``."""
        return recovery_measure(self.graded)

    def value(
        self, measure: Measure, method: str, rounds: int | Sequence[int]
    ) -> PooledEstimate | None:
        """A measure of a method's round or rounds; see ``value_of``."""
        return value_of(measure, self.seeds(method), rounds)

    def versus_base(
        self, measure: Measure, method: str, rounds: int | Sequence[int]
    ) -> Difference | None:
        """Its difference from the base of the same runs; see ``difference_of``.

        Recovery after imitation is compared with round 0 (``MethodRun.reference_round``).
        """
        runs = self.seeds(method)
        if method == IMITATION:
            imitating = {run.seed: run.rounds for run in self.runs if run.run.imitates}
            return difference_of(measure, imitating, rounds, imitating, BEFORE_IMITATION)
        number = next((run.reference_round(measure) for run in self.of(method)), START)
        base = number if isinstance(rounds, int) else [number] * len(rounds)
        return difference_of(measure, runs, rounds, runs, base)

    def versus_name(self, measure: Measure, method: str) -> str:
        """With what ``versus_base`` compares."""
        after_imitation = measure.mode == "recovery" and self.imitates(method)
        return IMITATION if after_imitation else BASE

    def between(
        self, measure: Measure, method: str, other: str, rounds: int | Sequence[int]
    ) -> Difference | None:
        """The difference of two methods in the same rounds; see ``difference_of``."""
        return difference_of(measure, self.seeds(method), rounds, self.seeds(other), rounds)


def _start_of(run: MethodRun, method: str) -> Rounds:
    """What a run played before its rounds as a method of that name, as round 0; maybe nothing."""
    if method == IMITATION and not run.run.imitates:
        return {}
    number = START if method == IMITATION else run.base_round
    if number == START:
        return run.rounds
    return {(mode, START): played for (mode, n), played in run.rounds.items() if n == number}


def _with_rounds(run: R, rounds: Rounds) -> R:
    return replace(run, rounds=rounds)
