"""The general data of a run, without the chats that the model's chat template refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agentr_lite.core.errors import RecipeError
from agentr_lite.recipe.groups import STARTER_GENERAL
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.weights import has_bundled_template, training_template
from agentr_lite.train.batches import TrainExample
from agentr_lite.train.general import general_path, load_general, refused_chats

_NAMED = 3
"""How many refused lines a message names."""

_checked: dict[tuple[object, ...], dict[int, str]] = {}
"""Refused lines by file and template: each stage of a run asks for them again."""


@dataclass(frozen=True, slots=True)
class GeneralData:
    """General chats to train on."""

    path: Path | None
    """None: the recipe has none."""
    examples: Mapping[int, TrainExample]
    """Line number, from 1, to chat."""
    refused: Mapping[int, str]
    """Line number to the reason, of chats that were left out."""

    @property
    def first_refused(self) -> str:
        """File, line and reason of the first chats that were left out."""
        lines = list(self.refused)[:_NAMED]
        more = len(self.refused) - len(lines)
        named = [f"{self.path}:{line}: {self.refused[line]}" for line in lines]
        return "; ".join([*named, *([f"and {more} more"] if more else [])])


def usable_general(recipe: Recipe) -> GeneralData:
    """Read the general data and leave out what the chat template refuses.

    Raises:
        RecipeError: the file cannot be read, a line is malformed, or the template refuses every
            chat; names file and line.
        ModelError: the weights for training have no usable template.
    """
    spec = recipe.train.general
    if not spec:
        return GeneralData(None, {}, {})
    path = general_path(spec)
    examples = load_general(spec)
    # The bundled model's template takes the bundled chats; a test renders them all.
    is_bundled = spec == STARTER_GENERAL and has_bundled_template(recipe)
    refused = {} if is_bundled else _refused(recipe, path, examples)
    usable = {line: chat for line, chat in examples.items() if line not in refused}
    data = GeneralData(path, usable, refused)
    if refused and not usable:
        raise RecipeError(
            f"the chat template refuses every chat of the general data {path}",
            hint=data.first_refused,
        )
    return data


def _refused(recipe: Recipe, path: Path, examples: Mapping[int, TrainExample]) -> dict[int, str]:
    stat = path.stat()
    file = (str(path.resolve()), stat.st_mtime_ns, stat.st_size)
    key = (file, recipe.model, recipe.train_model, recipe.agent)
    if key not in _checked:
        encoder = training_template(recipe).encoder(recipe.agent.history)
        _checked[key] = refused_chats(encoder, examples)
    return _checked[key]
