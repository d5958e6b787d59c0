"""The training stage: one round's adapter from the round's data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentr_lite.core.config import artifacts_dir
from agentr_lite.core.seeds import stream_seed
from agentr_lite.runs.actors import actor_settings
from agentr_lite.runs.equipment import adapter_in_use
from agentr_lite.runs.general import GeneralData, usable_general
from agentr_lite.runs.stages.stage import Stage, StageContext
from agentr_lite.runs.weights import prepared_weights, training_weights
from agentr_lite.store import evals, runs, splices
from agentr_lite.train.dataset import Dataset, build_dataset


class TrainStage(Stage):
    """Builds the round's data set and trains its adapter, from the last checkpoint if there is one.

    ``skipped`` in the summary says why where there was nothing to learn from. The round then has
    no adapter, and the previous one stays in use. ``redo`` trains again from the beginning.
    """

    name = "train"

    def __init__(self, context: StageContext, *, redo: bool = False) -> None:
        super().__init__(context, redo=redo)
        self._general = GeneralData(None, {}, {})

    @classmethod
    def model_round(cls, number: int) -> None:
        """Training loads its own weights."""

    def prepare(self) -> None:
        """Check the weights and read the general data.

        Raises:
            ModelError: there are no training weights, or they are unfit.
            RecipeError: the general data cannot be read, or none of it can be used.
        """
        training_weights(self.recipe)
        self._general = usable_general(self.recipe)

    def work(self) -> dict[str, Any]:
        dataset = build_dataset(
            self.store,
            self.run_id,
            self.round,
            self.recipe,
            self._general.examples,
            refused=len(self._general.refused),
        )
        summary: dict[str, Any] = {"dataset_id": dataset.id, **dataset.counts}
        if dataset.train:
            return {**summary, **self._train(dataset)}
        with self.store.atomic():
            # An adapter of an earlier training no longer belongs to this round; it is what the
            # round's evaluation was played with.
            if splices.delete_adapter(self.store, self.run_id, self.round):
                evals.delete_evals(self.store, self.run_id, self.round)
        reason = "no revision or good trajectory was found in this round's trees"
        return {**summary, "skipped": reason}

    def _train(self, dataset: Dataset) -> dict[str, Any]:
        from agentr_lite.train.lora import train_lora

        result = train_lora(
            prepared_weights(self.recipe, self.progress),
            dataset.train,
            dataset.valid,
            self.recipe.train,
            seed=stream_seed(self.recipe.seed, "train", self.round),
            out_dir=artifacts_dir(self.store.path, self.run_id) / f"round-{self.round}",
            start_adapter=self._start_adapter(),
            chat_template=actor_settings(self.recipe).chat_template,
            history=self.recipe.agent.history,
            thinking=self.recipe.agent.thinking > 0,
            on_report=_ProgressReport(self),
            resume=not self.redo,
        )
        series = [("train_loss", step, loss) for step, loss in result.train_losses]
        series += [("valid_loss", step, loss) for step, loss in result.valid_losses]
        runs.add_metrics(self.store, self.run_id, self.round, series)
        summary = {
            "examples": len(dataset.train),
            "valid_examples": len(dataset.valid),
            "steps": result.steps,
            "best_step": result.best_step,
            "stopped_early": result.stopped_early,
            "tokens": result.tokens,
            "seconds": round(result.seconds, 2),
            "dropped": result.dropped,
            "train_loss": result.train_losses[-1][1] if result.train_losses else None,
            "valid_loss_first": result.valid_losses[0][1] if result.valid_losses else None,
            "valid_loss": min((loss for _, loss in result.valid_losses), default=None),
        }
        self._save_adapter(dataset.id, result.adapter_dir, result.gguf_path, summary)
        return summary

    def _start_adapter(self) -> Path | None:
        """The previous adapter, where training goes on from it."""
        if self.recipe.train.start != "previous":
            return None
        previous = adapter_in_use(self.store, self.run_id, self.round - 1)
        row = splices.get_adapter(self.store, self.run_id, previous) if previous else None
        return Path(row.mlx_dir) if row is not None else None

    def _save_adapter(
        self, dataset_id: int, mlx_dir: Path, gguf_path: Path, summary: Mapping[str, Any]
    ) -> None:
        digest = hashlib.sha256(gguf_path.read_bytes()).hexdigest()
        earlier = splices.get_adapter(self.store, self.run_id, self.round)
        if earlier is not None and earlier.gguf_sha256 != digest:
            evals.delete_evals(self.store, self.run_id, self.round)
        splices.save_adapter(
            self.store,
            run_id=self.run_id,
            round_index=self.round,
            dataset_id=dataset_id,
            mlx_dir=str(mlx_dir),
            gguf_path=str(gguf_path),
            gguf_sha256=digest,
            summary=summary,
        )

    def headline(self, summary: Mapping[str, Any]) -> str:
        return "" if "skipped" in summary else f"{summary['steps']} steps"


class _ProgressReport:
    """Shows what ``train_lora`` reports."""

    def __init__(self, stage: TrainStage) -> None:
        self._stage = stage
        self._shown = 0
        self._note = ""

    def __call__(self, row: Mapping[str, Any]) -> None:
        if row["event"] == "start":
            self._shown = row["step"]
            self._stage.show_progress("steps", row["steps"], present=self._shown)
        elif row["event"] == "valid":
            self._note = f"validation loss {row['valid_loss']:.3f}"
        elif row["event"] == "step":
            self._stage.progress.advance(row["step"] - self._shown, self._note)
            self._shown = row["step"]
