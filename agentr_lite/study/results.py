"""What a study's runs have given so far, environment by environment; from the store alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentr_lite.recipe import Recipe
from agentr_lite.store import Store
from agentr_lite.store.records import RoundRow, RunRow
from agentr_lite.store.runs import list_stages
from agentr_lite.study.cells import Cell
from agentr_lite.study.measures import (
    Measure,
    Rounds,
    difference_of,
    is_graded,
    load_rounds,
    value_of,
)
from agentr_lite.study.methods import BASE
from agentr_lite.study.shared import Runs
from agentr_lite.study.work import Digests, resolve


@dataclass(frozen=True, slots=True)
class CellResult:
    """One cell that has something to show."""

    cell: Cell
    run: RunRow
    rounds: Rounds
    stages: Sequence[RoundRow]

    @property
    def last_round(self) -> int:
        """The last round with a finished greedy evaluation."""
        return max((number for mode, number in self.rounds if mode == "greedy"), default=0)


@dataclass(slots=True)
class EnvResults:
    """All of one environment."""

    env: str
    recipe: Recipe
    """Its run recipe without any method's changes."""
    cells: list[CellResult] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    """Method to label, in the study's order; variants of ablations included."""
    planned: dict[str, int] = field(default_factory=dict)
    """Method to how many cells there are to be."""
    ablation_of: dict[str, str] = field(default_factory=dict)
    """Variant to its ablation."""

    def of(self, method: str) -> list[CellResult]:
        """A method's cells by seed."""
        return sorted((c for c in self.cells if c.cell.method == method), key=lambda c: c.cell.seed)

    def seeds(self, method: str) -> dict[int, Rounds]:
        """Seed to what a method's run played; of ``base`` whatever run has it."""
        if method != BASE:
            return {c.cell.seed: c.rounds for c in self.of(method)}
        found: dict[int, Rounds] = {}
        for one in [*self.of(BASE), *self.cells]:
            if ("greedy", 0) in one.rounds:
                found.setdefault(one.cell.seed, one.rounds)
        return dict(sorted(found.items()))

    @property
    def methods(self) -> list[str]:
        """Those of the study itself that have been evaluated after training."""
        return [
            method
            for method in self.labels
            if method not in self.ablation_of and any(one.last_round > 0 for one in self.of(method))
        ]

    def last_round(self, *methods: str) -> int:
        """The last round that a run of each of these methods has."""
        lasts = [max((c.last_round for c in self.of(method)), default=0) for method in methods]
        return min(lasts, default=0)

    @property
    def graded(self) -> bool:
        """Whether there are rewards between none and all."""
        return is_graded([{c.cell.seed: c.rounds} for c in self.cells])

    def value(self, measure: Measure, method: str, number: int) -> dict[str, Any] | None:
        """A measure of one method's round; see ``value_of``."""
        return value_of(measure, self.seeds(method), number)

    def versus_base(self, measure: Measure, method: str, number: int) -> dict[str, Any] | None:
        """Its difference from the base of the same runs; see ``difference_of``."""
        runs = self.seeds(method)
        return difference_of(measure, runs, number, runs, 0)

    def between(
        self, measure: Measure, method: str, other: str, number: int
    ) -> dict[str, Any] | None:
        """The difference of two methods in one round; see ``difference_of``."""
        return difference_of(measure, self.seeds(method), number, self.seeds(other), number)


class Gatherer:
    """Reads results, each evaluation only once as long as it lives."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rounds: dict[str, tuple[int, Rounds]] = {}

    def gather(self, cells: Sequence[Cell], recipes: Mapping[str, Recipe]) -> list[EnvResults]:
        """Everything that finished evaluations show.

        Args:
            cells: the study's.
            recipes: each environment's run recipe.
        """
        runs, digests = Runs(self._store), Digests()
        found = {env: EnvResults(env, recipe) for env, recipe in recipes.items()}
        for cell in cells:
            results = found[cell.env]
            results.labels[cell.method] = cell.label
            results.planned[cell.method] = results.planned.get(cell.method, 0) + 1
            if cell.ablation:
                results.ablation_of[cell.method] = cell.ablation
            run = resolve(self._store, runs, digests, cell).run
            if run is None:
                continue
            stages = list_stages(self._store, run.id)
            rounds = self._load(run.id, stages)
            if rounds:
                results.cells.append(CellResult(cell, run, rounds, stages))
        return list(found.values())

    def _load(self, run_id: str, stages: Sequence[RoundRow]) -> Rounds:
        through = sum(row.stage == "eval" and row.finished for row in stages)
        known = self._rounds.get(run_id)
        if known is None or known[0] != through:
            known = (through, load_rounds(self._store, run_id))
            self._rounds[run_id] = known
        return known[1]
