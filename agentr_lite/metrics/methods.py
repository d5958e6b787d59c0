"""Runs of several methods and seeds, and what tables and plots ask of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

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
        """Seed to what a method's run played; for ``base``, of whichever run has its episodes."""
        if method != BASE:
            return {run.seed: run.rounds for run in self.of(method)}
        by_seed: dict[int, Rounds] = {}
        for run in [*self.of(BASE), *self.runs]:
            if ("greedy", 0) in run.rounds:
                by_seed.setdefault(run.seed, run.rounds)
        return dict(sorted(by_seed.items()))

    @property
    def methods(self) -> list[str]:
        """The methods that have been evaluated after training."""
        return [method for method in self.labels if self.is_trained(method)]

    def is_trained(self, method: str) -> bool:
        """Whether a run of a method has been evaluated after training."""
        return any(run.last_round > 0 for run in self.of(method))

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
        """Its difference from the base of the same runs; see ``difference_of``."""
        runs = self.seeds(method)
        base = 0 if isinstance(rounds, int) else [0] * len(rounds)
        return difference_of(measure, runs, rounds, runs, base)

    def between(
        self, measure: Measure, method: str, other: str, rounds: int | Sequence[int]
    ) -> Difference | None:
        """The difference of two methods in the same rounds; see ``difference_of``."""
        return difference_of(measure, self.seeds(method), rounds, self.seeds(other), rounds)


def _with_rounds(run: R, rounds: Rounds) -> R:
    return replace(run, rounds=rounds)
