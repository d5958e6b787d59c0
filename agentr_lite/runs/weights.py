"""The weights that a run trains: an MLX or Hugging Face directory, given or made from the GGUF."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agentr_lite.actors.registry import STARTER, check_trainable, resolve_model
from agentr_lite.console.progress import Progress
from agentr_lite.core.errors import ModelError
from agentr_lite.recipe.settings import Recipe

if TYPE_CHECKING:
    from agentr_lite.actors.chat.files import FileTemplate


def training_weights(recipe: Recipe) -> Path:
    """The directory of the model's weights for training, which may still have to be made.

    Without such a directory, ``prepared_weights`` makes one from the GGUF file. Whether that is
    possible is checked here already.

    Raises:
        ModelError: see ``check_training_weights``.
    """
    check_training_weights(recipe)
    given = given_weights(recipe)
    if given is not None:
        return given
    from agentr_lite.convert.cached import copy_of

    return copy_of(resolve_model(recipe.model).gguf)


def check_training_weights(recipe: Recipe) -> None:
    """Refuse a model that cannot be trained; weights are neither loaded nor made.

    Raises:
        ModelError: no weights are known for the recipe's model, they are not there, or the model
            could not load the adapter that training makes.
    """
    check_trainable(recipe.model)
    path = given_weights(recipe)
    if path is None:
        from agentr_lite.convert.gguf_to_hf import check_convertible

        check_convertible(resolve_model(recipe.model).gguf)
        return
    if not (path / "config.json").is_file():
        raise ModelError(
            f"{path} is not a model directory (it has no config.json)",
            hint="train_model needs an MLX or Hugging Face directory with safetensors.",
        )
    if not any(path.glob("model*.safetensors")):
        raise ModelError(
            f"{path} holds no weights (model*.safetensors)",
            hint="train_model needs an MLX or Hugging Face directory with safetensors.",
        )
    from agentr_lite.convert.lora_to_gguf import check_adaptable

    # Adapters are also written for llama.cpp: better to fail now than after hours of training.
    check_adaptable(path)


def training_template(recipe: Recipe) -> FileTemplate:
    """The chat template that training uses, read from the model's files.

    Raises:
        ModelError: there is no usable template.
    """
    from agentr_lite.actors.chat.files import directory_template, gguf_template

    override, thinking = template_override(recipe), recipe.agent.thinking > 0
    path = given_weights(recipe)
    if path is not None:
        return directory_template(path, override, thinking=thinking)
    return gguf_template(resolve_model(recipe.model).gguf, override, thinking=thinking)


def template_override(recipe: Recipe) -> Path | None:
    """The recipe's own chat template; None: the model's."""
    template = recipe.agent.chat_template
    return Path(template).expanduser() if template else None


def has_bundled_template(recipe: Recipe) -> bool:
    """Whether the bundled model plays and trains, with its own chat template as it is."""
    is_bundled = recipe.model == STARTER and not recipe.train_model
    return is_bundled and not recipe.agent.chat_template and not recipe.agent.thinking


def given_weights(recipe: Recipe) -> Path | None:
    """The directory to train; None: the weights are taken from the GGUF file.

    Raises:
        ModelError: the model is not known.
    """
    if recipe.train_model:
        return Path(recipe.train_model).expanduser()
    return resolve_model(recipe.model).train_dir


def prepared_weights(recipe: Recipe, progress: Progress) -> Path:
    """``training_weights``, made from the GGUF file where there is no other source.

    Raises:
        ModelError: see ``training_weights``; or the weights do not compute the same as the file.
    """
    path = training_weights(recipe)
    if given_weights(recipe) is not None:
        return path
    files = resolve_model(recipe.model)
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
