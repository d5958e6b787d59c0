"""Runs of several methods and seeds, as tables and plots ask of them; from the store alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from agentr_lite.metrics.measures import (
    Measure,
    Rounds,
    difference_of,
    in_env,
    is_graded,
    main_measure,
    recovery_measure,
    value_of,
)
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
        return sorted({one.env for played in self.rounds.values() for one in played})


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
        return sorted((one for one in self.runs if one.method == method), key=lambda one: one.seed)

    def label(self, method: str) -> str:
        """What a method is called."""
        return self.labels.get(method, method)

    def seeds(self, method: str) -> dict[int, Rounds]:
        """Seed to what a method's run played; of ``base`` whatever run has it."""
        if method != BASE:
            return {one.seed: one.rounds for one in self.of(method)}
        found: dict[int, Rounds] = {}
        for one in [*self.of(BASE), *self.runs]:
            if ("greedy", 0) in one.rounds:
                found.setdefault(one.seed, one.rounds)
        return dict(sorted(found.items()))

    @property
    def methods(self) -> list[str]:
        """Those that have been evaluated after training."""
        return [method for method in self.labels if self.is_trained(method)]

    def is_trained(self, method: str) -> bool:
        """Whether a run of a method has been evaluated after training."""
        return any(one.last_round > 0 for one in self.of(method))

    def last_round(self, *methods: str) -> int:
        """The last round that a run of each of these methods has."""
        lasts = [max((one.last_round for one in self.of(method)), default=0) for method in methods]
        return min(lasts, default=0)

    @property
    def envs(self) -> list[str]:
        """The environments that every run has; none where there is one only."""
        everyones = set.intersection(*(set(one.envs) for one in self.runs)) if self.runs else set()
        return sorted(everyones) if any(len(one.envs) > 1 for one in self.runs) else []

    def in_env(self, env: str) -> MethodRuns[R]:
        """The same of one of several environments; costs and splices stay those of all."""
        return MethodRuns(
            [_with_rounds(one, in_env(one.rounds, env)) for one in self.runs], self.labels
        )

    @property
    def graded(self) -> bool:
        """Whether there are rewards between none and all."""
        return is_graded(one.rounds for one in self.runs)

    @property
    def main(self) -> Measure:
        """What the environment is about."""
        return main_measure(self.graded)

    @property
    def recovery(self) -> Measure:
        """What is told of going on from the base's failures."""
        return recovery_measure(self.graded)

    def value(
        self, measure: Measure, method: str, rounds: int | Sequence[int]
    ) -> dict[str, Any] | None:
        """A measure of a method's round or rounds; see ``value_of``."""
        return value_of(measure, self.seeds(method), rounds)

    def versus_base(
        self, measure: Measure, method: str, rounds: int | Sequence[int]
    ) -> dict[str, Any] | None:
        """Its difference from the base of the same runs; see ``difference_of``."""
        runs = self.seeds(method)
        base = 0 if isinstance(rounds, int) else [0] * len(rounds)
        return difference_of(measure, runs, rounds, runs, base)

    def between(
        self, measure: Measure, method: str, other: str, rounds: int | Sequence[int]
    ) -> dict[str, Any] | None:
        """The difference of two methods in the same rounds; see ``difference_of``."""
        return difference_of(measure, self.seeds(method), rounds, self.seeds(other), rounds)


def _with_rounds(one: R, rounds: Rounds) -> R:
    return replace(one, rounds=rounds)
