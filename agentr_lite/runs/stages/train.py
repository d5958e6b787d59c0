"""The training stage: one round's adapter from the round's data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from agentr_lite.recipe.groups import TrainSettings
from agentr_lite.runs.equipment import start_adapter
from agentr_lite.runs.stages.training import TrainingStage
from agentr_lite.store import evals, splices
from agentr_lite.train.dataset import build_dataset

_WANTED = {
    "sft": "no revision or good trajectory",
    "dpo": "no pair of a better and a worse continuation",
    "sft+dpo": "no revision, good trajectory or pair of a better and a worse continuation",
}
"""What an objective learns from, and did not find."""


class TrainStage(TrainingStage):
    """Builds the round's data set and trains its adapter.

    ``skipped`` in the summary says why where there was nothing to learn from. The round then has
    no adapter, and the previous one stays in use.
    """

    name = "train"
    _objective: Literal["sft", "dpo", "sft+dpo"] = "sft"
    """What is minimised with what was found."""

    @property
    def settings(self) -> TrainSettings:
        return replace(self.recipe.train, objective=self._objective)

    def work(self) -> dict[str, Any]:
        dataset = build_dataset(
            self.store,
            self.run_id,
            self.round,
            self.recipe,
            self.general.examples,
            refused=len(self.general.refused),
        )
        summary: dict[str, Any] = {"dataset_id": dataset.id, **dataset.counts}
        objective = self.recipe.train.objective
        if objective == "sft+dpo":
            # What was not found adds nothing to the sum.
            objective = "sft" if not dataset.pairs else objective if dataset.train else "dpo"
        if self.recipe.train.objective != "sft":
            summary["objective"] = objective
        self._objective = objective
        if dataset.train or dataset.pairs:
            return {**summary, **self.train(dataset)}
        with self.store.atomic():
            # An adapter of an earlier training no longer belongs to this round; it is what the
            # round's evaluation was played with.
            if splices.delete_adapter(self.store, self.run_id, self.round):
                evals.delete_evals(self.store, self.run_id, self.round)
        wanted = _WANTED[self.recipe.train.objective]
        return {**summary, "skipped": f"{wanted} was found in this round's trees"}

    def start_adapter(self) -> Path | None:
        """The previous round's adapter with ``train.start: previous``, else that of imitation."""
        return start_adapter(self.store, self.run_id, self.recipe, self.round)
