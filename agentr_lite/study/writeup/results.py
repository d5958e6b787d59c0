"""The results of a study's runs so far, by environment; read from the store alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentr_lite.core.rounds import START
from agentr_lite.metrics.measures import BEHAVIOUR, OUTCOMES, Rounds
from agentr_lite.metrics.methods import BASE, IMITATION, MethodRun, MethodRuns
from agentr_lite.recipe.settings import Recipe
from agentr_lite.report.model.rounds import load_rounds
from agentr_lite.store import Store
from agentr_lite.store.records import RoundRow
from agentr_lite.store.runs import list_stages
from agentr_lite.study.jobs.cells import Cell
from agentr_lite.study.jobs.model_digests import ModelDigests
from agentr_lite.study.jobs.resolution import resolve_cell
from agentr_lite.study.jobs.run_index import RunIndex
from agentr_lite.study.methods import METHODS


@dataclass(frozen=True, slots=True)
class CellResult(MethodRun):
    """A cell with at least one finished evaluation."""

    cell: Cell


@dataclass(slots=True)
class EnvResults(MethodRuns[CellResult]):
    """The results of one environment.

    The labels are in the study's order; the methods of the ablations follow.
    """

    env: str = ""
    recipe: Recipe = field(default_factory=Recipe)
    """The environment's run recipe without any method's changes."""
    planned: dict[str, int] = field(default_factory=dict)
    """Method to the number of its cells in the study."""
    ablation_of: dict[str, str] = field(default_factory=dict)
    """A method of an ablation to this ablation."""

    @property
    def methods(self) -> list[str]:
        """The study's own methods that have been evaluated after training."""
        own = (method for method in self.labels if method not in self.ablation_of)
        return [method for method in own if self.is_trained(method)]


class ResultsReader:
    """Reads results; each evaluation is read only once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rounds: dict[str, tuple[int, Rounds]] = {}

    def read(
        self, cells: Sequence[Cell], recipes: Mapping[str, Recipe], methods: Sequence[str]
    ) -> list[EnvResults]:
        """The results of all finished evaluations.

        Args:
            cells: all cells of the study.
            recipes: each environment's run recipe.
            methods: the study's own, in the order in which they are shown.
        """
        index, digests = RunIndex(self._store), ModelDigests()
        labels = {method: METHODS[method].label for method in methods}
        by_env = {
            env: EnvResults(labels=dict(labels), env=env, recipe=recipe)
            for env, recipe in recipes.items()
        }
        for cell in cells:
            results = by_env[cell.env]
            results.labels[cell.method] = cell.label
            results.planned[cell.method] = results.planned.get(cell.method, 0) + 1
            if cell.ablation:
                results.ablation_of[cell.method] = cell.ablation
            run = resolve_cell(self._store, index, digests, cell).run
            if run is None:
                continue
            stages = list_stages(self._store, run.id)
            all_rounds = self._load_rounds(run.id, stages)
            # A run that also serves an ablation may have more rounds than the ablation.
            last = cell.recipe.rounds
            rounds = {key: episodes for key, episodes in all_rounds.items() if key[1] <= last}
            if rounds:
                results.runs.append(CellResult(cell.method, cell.seed, run, rounds, stages, cell))
        return list(by_env.values())

    def _load_rounds(self, run_id: str, stages: Sequence[RoundRow]) -> Rounds:
        evaluated = sum(row.stage == "eval" and row.finished for row in stages)
        cached = self._rounds.get(run_id)
        if cached is None or cached[0] != evaluated:
            cached = (evaluated, load_rounds(self._store, run_id))
            self._rounds[run_id] = cached
        return cached[1]


def figures_json(environments: Sequence[EnvResults]) -> list[dict[str, Any]]:
    """Every measure of every method and round, for programs."""
    rows = []
    for results in environments:
        for method in results.labels:
            is_start = method in (BASE, IMITATION)
            for number in [START] if is_start else range(1, results.last_round(method) + 1):
                for measure in (*OUTCOMES, *BEHAVIOUR):
                    value = results.value(measure, method, number)
                    if value is None:
                        continue
                    difference = (
                        None if method == BASE else results.versus_base(measure, method, number)
                    )
                    rows.append(
                        {
                            "env": results.env,
                            "method": method,
                            "round": number,
                            "measure": measure.key,
                            **value.to_json(),
                            "versus_base": difference.to_json() if difference else None,
                        }
                    )
    return rows
