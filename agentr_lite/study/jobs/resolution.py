"""Resolves a cell: its complete recipe, and the run that is there for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from agentr_lite.metrics.learning import round_diagnosis
from agentr_lite.recipe.settings import Recipe
from agentr_lite.store import Store
from agentr_lite.store.records import RunRow
from agentr_lite.store.runs import stage_status
from agentr_lite.store.splices import list_adapters, list_dataset_items, list_datasets
from agentr_lite.study.jobs.cells import Cell
from agentr_lite.study.jobs.model_digests import ModelDigests
from agentr_lite.study.jobs.run_index import RunIndex
from agentr_lite.study.jobs.stage_inputs import plain_settings
from agentr_lite.study.methods import NAIVE


@dataclass(frozen=True, slots=True)
class Resolution:
    """A cell's recipe and run, as far as they are known."""

    recipe: Recipe | None
    """None: not known yet, or never."""
    run: RunRow | None = None
    """The run, finished or to be resumed, if there is one."""
    reason: str = ""
    """Why there is no recipe."""
    possible: bool = True
    """False: no other cell of the study can change that."""

    @property
    def finished(self) -> bool:
        """Whether the cell needs no more work."""
        return self.run is not None and self.run.status == "finished"


def resolve_cell(store: Store, index: RunIndex, digests: ModelDigests, cell: Cell) -> Resolution:
    """Resolve a cell with what the database has now.

    Args:
        store: the database.
        index: its runs.
        digests: of models.
        cell: the cell.
    """
    recipe = cell.recipe
    digest = digests.digest(recipe)
    if cell.equal_to:
        reference = _trained_run(store, index, _with_verify(recipe, "replay"), digest)
        if reference is None:
            needed = f"round 1 of {cell.env}/{cell.equal_to}/{cell.seed}"
            return Resolution(None, reason=f"needs {needed}")
        examples = agent_examples(store, reference.id, 1)
        if not examples:
            reason = f"{cell.equal_to} found nothing to learn from"
            return Resolution(None, reason=reason, possible=False)
        # If the study's own naive run has no more examples, it is also this cell's run.
        naive = _trained_run(store, index, _with_verify(recipe, "off"), digest)
        if naive is not None and agent_examples(store, naive.id, 1) <= examples:
            row = stage_status(store, naive.id, recipe.rounds, "eval")
            if row is None or not row.finished:
                needed = f"round {recipe.rounds} of {cell.env}/{NAIVE}/{cell.seed}"
                return Resolution(None, reason=f"needs {needed}")
            return Resolution(recipe, replace(naive, status="finished"))
        recipe = replace(recipe, train=replace(recipe.train, max_examples=examples))
    if cell.counted is not None:
        last = recipe.rounds
        reference = _trained_run(store, index, cell.counted, digest, number=last)
        if reference is None:
            owner = f"{cell.env}/{cell.counted.name.removeprefix(f'{cell.env}-')}/{cell.seed}"
            return Resolution(None, reason=f"needs round {last} of {owner}")
        examples_by_round = [
            agent_examples(store, reference.id, number) for number in range(1, last + 1)
        ]
        further = new_examples(examples_by_round, accumulate=recipe.train.accumulate)
        if not any(further):
            return Resolution(None, reason="there is nothing to count", possible=False)
        recipe = replace(recipe, imitation=replace(recipe.imitation, further=further))
    run = index.find(recipe, digest)
    if run is not None and run.status == "failed" and not list_adapters(store, run.id):
        diagnosis = round_diagnosis(store, run.id, 1)
        if diagnosis is not None:
            # It would stop there again, whatever the other cells do.
            reason = f"found nothing to learn: {diagnosis.finding}"
            return Resolution(None, run, reason=reason, possible=False)
    return Resolution(recipe, run)


def agent_examples(store: Store, run_id: str, round_index: int) -> int:
    """How many of a round's training examples are the agent's own; 0 without a training set."""
    sets = list_datasets(store, run_id, round_index=round_index)
    if not sets:
        return 0
    items = list_dataset_items(store, sets[-1].id)
    return sum(item.kind != "general" for item in items)


def new_examples(by_round: Sequence[int], *, accumulate: bool) -> tuple[int, ...]:
    """How many examples each round trains on that no round before it had.

    Args:
        by_round: how many each round trains on, from round 1.
        accumulate: whether these are the examples of all rounds so far.
    """
    if not accumulate:
        return tuple(by_round)
    # A limit may have taken some of the earlier ones away.
    return tuple(max(0, now - before) for before, now in pairwise([0, *by_round]))


def _with_verify(recipe: Recipe, verify: Literal["replay", "off"]) -> Recipe:
    return replace(recipe, splice=replace(recipe.splice, verify=verify))


def _trained_run(
    store: Store, index: RunIndex, recipe: Recipe, digest: str | None, *, number: int = 1
) -> RunRow | None:
    """A run of the recipe, with any number of rounds, that has trained in a round."""
    for run, settings in index.runs(recipe.env_label):
        equal = {**settings, "rounds": recipe.rounds} == plain_settings(recipe)
        if equal and (digest is None or run.model_sha256 == digest):
            row = stage_status(store, run.id, number, "train")
            if row is not None and row.finished:
                return run
    return None
