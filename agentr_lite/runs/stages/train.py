"""The training stage: one round's adapter from one round's data."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from agentr_lite.actors.registry import check_trainable, resolve_model
from agentr_lite.console.output import Progress, silent_progress
from agentr_lite.core.config import artifacts_dir
from agentr_lite.core.errors import ModelError
from agentr_lite.core.seeds import stream_seed
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.actors import actor_settings
from agentr_lite.runs.sitting import Sitting
from agentr_lite.store import Store, evals, runs, splices
from agentr_lite.train.dataset import Dataset, build_dataset
from agentr_lite.train.general import load_general


def training_weights(recipe: Recipe) -> Path:
    """The MLX/HF directory of the model's weights for training; perhaps still to be made.

    Of a GGUF file without such a directory the weights can be taken, which ``prepared_weights``
    does; whether that is possible is known here already.

    Raises:
        ModelError: none is known for the recipe's model, it is not there, or the model could not
            load what training makes.
    """
    check_trainable(recipe.model)
    if recipe.train_model:
        path = Path(recipe.train_model).expanduser()
    else:
        files = resolve_model(recipe.model)
        if files.train_dir is None:
            from agentr_lite.convert.cached import copy_of
            from agentr_lite.convert.gguf_to_hf import check_convertible

            check_convertible(files.gguf)
            return copy_of(files.gguf)
        path = files.train_dir
    if not (path / "config.json").is_file():
        raise ModelError(
            f"{path} is not a model directory (it has no config.json)",
            hint="train_model needs an MLX or Hugging Face directory with safetensors.",
        )
    from agentr_lite.convert.lora_to_gguf import check_adaptable

    # Adapters are written for llama.cpp as well: that one cannot be is not to be found after hours.
    check_adaptable(path)
    return path


def prepared_weights(recipe: Recipe, progress: Progress) -> Path:
    """``training_weights``, taken out of the GGUF file where there is nothing else.

    Raises:
        ModelError: see ``training_weights``; or what was taken does not compute the same.
    """
    path = training_weights(recipe)
    if recipe.train_model:
        return path
    files = resolve_model(recipe.model)
    if files.train_dir is not None:
        return path
    from agentr_lite.convert.cached import has_copy, make_copy

    if has_copy(files.gguf):
        return path
    shown = 0

    def report(done: int, total: int) -> None:
        nonlocal shown
        if not shown:
            progress.start(f"weights for training out of {files.gguf.name}, MB", total >> 20)
        progress.advance((done >> 20) - (shown >> 20))
        shown = done

    made = make_copy(files.gguf, on_progress=report)
    progress.finish(f"same tokens and logits as the file; kept in {made}")
    return made


def train_stage(
    store: Store,
    run_id: str,
    round_index: int,
    recipe: Recipe,
    *,
    progress: Progress | None = None,
    redo: bool = False,
) -> dict[str, Any]:
    """Build the round's data set and train its adapter, going on from a checkpoint if there is one.

    Args:
        store: the database; holds the round's trees and revisions.
        run_id: the run.
        round_index: from 1.
        recipe: the run's settings.
        progress: narration; none by default.
        redo: train again even if the stage has finished.

    Returns:
        The stage's summary. ``skipped`` says why where there was nothing to learn from; the round
        then has no adapter of its own, and the last one stays in use.

    Raises:
        ModelError: no training weights, or they are unfit.
        RecipeError: the general data cannot be read.
    """
    earlier = runs.stage_status(store, run_id, round_index, "train")
    if earlier is not None and earlier.finished and not redo:
        return dict(earlier.summary)
    training_weights(recipe)
    general = load_general(recipe.train.general)
    sitting = Sitting(store, run_id, round_index, "train")
    sitting.begin()
    dataset = build_dataset(store, run_id, round_index, recipe, general)
    summary: dict[str, Any] = {"dataset_id": dataset.id, **dataset.counts}
    if not dataset.train:
        summary["skipped"] = "no revision or good trajectory was found in this round's trees"
        with store.atomic():
            # One of an earlier training is no longer this round's, and was what was evaluated.
            if splices.delete_adapter(store, run_id, round_index):
                evals.delete_evals(store, run_id, round_index)
    else:
        with_data = _train(store, run_id, round_index, recipe, dataset, progress, redo)
        summary.update(with_data)
    sitting.finish(summary)
    return summary


def adapter_in_use(store: Store, run_id: str, round_index: int) -> int:
    """The last round up to ``round_index`` that has an adapter; 0 = the base model."""
    rounds = [row.round for row in splices.list_adapters(store, run_id)]
    return max((number for number in rounds if number <= round_index), default=0)


def _train(
    store: Store,
    run_id: str,
    round_index: int,
    recipe: Recipe,
    dataset: Dataset,
    progress: Progress | None,
    redo: bool,
) -> dict[str, Any]:
    from agentr_lite.train.lora import train_lora

    progress = progress or silent_progress()
    weights = prepared_weights(recipe, progress)
    out_dir = artifacts_dir(store.path, run_id) / f"round-{round_index}"
    previous = adapter_in_use(store, run_id, round_index - 1)
    start: Path | None = None
    if recipe.train.start == "previous" and previous:
        row = splices.get_adapter(store, run_id, previous)
        start = Path(row.mlx_dir) if row is not None else None
    shown = 0
    loss = ""

    def report(row: dict[str, Any]) -> None:
        nonlocal shown, loss
        if row["event"] == "start":
            shown = row["step"]
            progress.start(f"round {round_index} train, steps", row["steps"], initial=shown)
        elif row["event"] == "valid":
            loss = f"validation loss {row['valid_loss']:.3f}"
        elif row["event"] == "step":
            progress.advance(row["step"] - shown, loss)
            shown = row["step"]

    result = train_lora(
        weights,
        dataset.train,
        dataset.valid,
        recipe.train,
        seed=stream_seed(recipe.seed, "train", round_index),
        out_dir=out_dir,
        start_adapter=start,
        chat_template=actor_settings(recipe).chat_template,
        on_report=report,
        resume=not redo,
    )
    series = [("train_loss", step, loss) for step, loss in result.train_losses]
    series += [("valid_loss", step, loss) for step, loss in result.valid_losses]
    runs.add_metrics(store, run_id, round_index, series)
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
    digest = hashlib.sha256(result.gguf_path.read_bytes()).hexdigest()
    earlier = splices.get_adapter(store, run_id, round_index)
    if earlier is not None and earlier.gguf_sha256 != digest:
        evals.delete_evals(store, run_id, round_index)
    splices.save_adapter(
        store,
        run_id=run_id,
        round_index=round_index,
        dataset_id=dataset.id,
        mlx_dir=str(result.adapter_dir),
        gguf_path=str(result.gguf_path),
        gguf_sha256=digest,
        summary=summary,
    )
    progress.finish(f"{result.steps} steps")
    return summary
