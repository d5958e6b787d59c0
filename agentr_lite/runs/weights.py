"""The weights that a run trains: an MLX or Hugging Face directory, given or made from the GGUF."""

from __future__ import annotations

from pathlib import Path

from agentr_lite.actors.registry import check_trainable, resolve_model
from agentr_lite.console.progress import Progress
from agentr_lite.core.errors import ModelError
from agentr_lite.recipe.settings import Recipe


def training_weights(recipe: Recipe) -> Path:
    """The directory of the model's weights for training, which may still have to be made.

    Without such a directory, ``prepared_weights`` makes one from the GGUF file. Whether that is
    possible is checked here already.

    Raises:
        ModelError: no weights are known for the recipe's model, they are not there, or the model
            could not load the adapter that training makes.
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

    # Adapters are also written for llama.cpp: better to fail now than after hours of training.
    check_adaptable(path)
    return path


def prepared_weights(recipe: Recipe, progress: Progress) -> Path:
    """``training_weights``, made from the GGUF file where there is no other source.

    Raises:
        ModelError: see ``training_weights``; or the weights do not compute the same as the file.
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
