"""What a study's runs have given so far, environment by environment; from the store alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agentr_lite.metrics.measures import Rounds
from agentr_lite.metrics.methods import MethodRun, MethodRuns
from agentr_lite.recipe.settings import Recipe
from agentr_lite.report.model.rounds import load_rounds
from agentr_lite.store import Store
from agentr_lite.store.records import RoundRow
from agentr_lite.store.runs import list_stages
from agentr_lite.study.jobs.cells import Cell
from agentr_lite.study.jobs.sharing import Runs
from agentr_lite.study.jobs.work import Digests, resolve
from agentr_lite.study.methods import METHODS


@dataclass(frozen=True, slots=True)
class CellResult(MethodRun):
    """One cell that has something to show."""

    cell: Cell


@dataclass(slots=True)
class EnvResults(MethodRuns[CellResult]):
    """All of one environment; the labels are in the study's order, with the ablations' variants."""

    env: str = ""
    recipe: Recipe = field(default_factory=Recipe)
    """Its run recipe without any method's changes."""
    planned: dict[str, int] = field(default_factory=dict)
    """Method to how many cells there are to be."""
    ablation_of: dict[str, str] = field(default_factory=dict)
    """Variant to its ablation."""

    @property
    def methods(self) -> list[str]:
        """Those of the study itself that have been evaluated after training."""
        own = (method for method in self.labels if method not in self.ablation_of)
        return [method for method in own if self.is_trained(method)]


class Gatherer:
    """Reads results, each evaluation only once as long as it lives."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rounds: dict[str, tuple[int, Rounds]] = {}

    def gather(
        self, cells: Sequence[Cell], recipes: Mapping[str, Recipe], methods: Sequence[str]
    ) -> list[EnvResults]:
        """Everything that finished evaluations show.

        Args:
            cells: the study's.
            recipes: each environment's run recipe.
            methods: the study's, in the order in which they are shown; not that of the work.
        """
        runs, digests = Runs(self._store), Digests()
        labels = {method: METHODS[method].label for method in methods}
        found = {
            env: EnvResults(labels=dict(labels), env=env, recipe=recipe)
            for env, recipe in recipes.items()
        }
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
            played_rounds = self._load(run.id, stages)
            # The study's own naive run may answer for an ablation, and goes on for more rounds.
            last = cell.recipe.rounds
            rounds = {key: played for key, played in played_rounds.items() if key[1] <= last}
            if rounds:
                played = CellResult(cell.method, cell.seed, run, rounds, stages, cell)
                results.runs.append(played)
        return list(found.values())

    def _load(self, run_id: str, stages: Sequence[RoundRow]) -> Rounds:
        through = sum(row.stage == "eval" and row.finished for row in stages)
        known = self._rounds.get(run_id)
        if known is None or known[0] != through:
            known = (through, load_rounds(self._store, run_id))
            self._rounds[run_id] = known
        return known[1]
