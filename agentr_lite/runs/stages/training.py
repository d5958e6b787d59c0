"""What the two stages that train have in common: the training itself, its losses, the adapter."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentr_lite.core.config import artifacts_dir
from agentr_lite.core.seeds import stream_seed
from agentr_lite.recipe.groups import TrainSettings
from agentr_lite.runs.actors import actor_settings
from agentr_lite.runs.general import GeneralData, usable_general
from agentr_lite.runs.stages.stage import Stage, StageContext
from agentr_lite.runs.weights import prepared_weights, training_weights
from agentr_lite.store import evals, runs, splices
from agentr_lite.train.dataset import Dataset
from agentr_lite.train.dpo import PairFigures

if TYPE_CHECKING:
    from agentr_lite.train.lora import TrainResult


class TrainingStage(Stage):
    """A stage that makes an adapter, from its last checkpoint if there is one.

    ``redo`` trains again from the beginning.

    Attributes:
        general: the general data, once the stage is prepared.
    """

    def __init__(self, context: StageContext, *, redo: bool = False) -> None:
        super().__init__(context, redo=redo)
        self.general = GeneralData(None, {}, {})

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
        self.general = usable_general(self.recipe)

    @property
    def settings(self) -> TrainSettings:
        """How this stage trains."""
        return self.recipe.train

    def start_adapter(self) -> Path | None:
        """The adapter directory from which the training starts; None: the base model."""
        return None

    def train(self, dataset: Dataset) -> dict[str, Any]:
        """Train on a data set and record the adapter; returns the figures of the training."""
        from agentr_lite.train.hosts import training_hosts
        from agentr_lite.train.launch import train_together
        from agentr_lite.train.lora import train_lora

        training = train_together if training_hosts(self.settings).count > 1 else train_lora
        result = training(
            prepared_weights(self.recipe, self.progress),
            dataset.train,
            dataset.valid,
            self.settings,
            seed=stream_seed(self.recipe.seed, "train", self.round),
            out_dir=artifacts_dir(self.store.path, self.run_id) / f"round-{self.round}",
            start_adapter=self.start_adapter(),
            chat_template=actor_settings(self.recipe).chat_template,
            history=self.recipe.agent.history,
            thinking=self.recipe.agent.thinking > 0,
            on_report=_ProgressReport(self),
            resume=not self.redo,
            pairs=dataset.pairs,
            valid_pairs=dataset.valid_pairs,
        )
        series = [("train_loss", step, loss) for step, loss in result.train_losses]
        series += [("valid_loss", step, loss) for step, loss in result.valid_losses]
        # With DPO alone, its loss is the training's.
        mixed = self.settings.objective == "sft+dpo"
        series += _pair_series("", result.pair_figures, with_loss=mixed)
        series += _pair_series("valid_", result.valid_pair_figures, with_loss=mixed)
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
            # Of the adapter that was kept: with train.patience 0, that is the last one.
            "valid_loss": dict(result.valid_losses).get(result.best_step),
            **_pair_summary(result),
        }
        self._save_adapter(dataset.id, result.adapter_dir, result.gguf_path, summary)
        return summary

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
        if "skipped" in summary:
            return ""
        warning = summary.get("warning")
        return f"{summary['steps']} steps" + (f"; warning: {warning}" if warning else "")


def _pair_series(
    prefix: str, figures: Sequence[PairFigures], *, with_loss: bool
) -> list[tuple[str, int, float]]:
    """The figures of pairs as the points of series."""
    names = {
        "margin": "margin",
        "pair_accuracy": "accuracy",
        "chosen_change": "chosen",
        "rejected_change": "rejected",
        **({"dpo_loss": "loss"} if with_loss else {}),
    }
    return [
        (f"{prefix}{name}", row.step, getattr(row, attribute))
        for row in figures
        for name, attribute in names.items()
    ]


def _pair_summary(result: TrainResult) -> dict[str, Any]:
    """What a training on pairs gave; empty of one without.

    The figures are those of the kept adapter on the held-out pairs, or, where none are held out,
    those of the last step.
    """
    if not result.pair_figures:
        return {}
    held_out = [row for row in result.valid_pair_figures if row.step <= result.best_step]
    last = (held_out or result.pair_figures)[-1]
    summary: dict[str, Any] = {
        "dropped_pairs": result.dropped_pairs.total,
        "tied_pairs": result.dropped_pairs.ties,
        "dpo_loss": last.loss,
        "margin": last.margin,
        "pair_accuracy": last.accuracy,
        "chosen_change": last.chosen,
        "rejected_change": last.rejected,
    }
    return {**summary, "warning": result.warning} if result.warning else summary


class _ProgressReport:
    """Shows what ``train_lora`` reports."""

    def __init__(self, stage: TrainingStage) -> None:
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
