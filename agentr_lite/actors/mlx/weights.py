"""What the actors over one MLX model share: its arrays and its vocabulary.

Import this after ``agentr_lite.actors.mlx.blas.use_fast_blas``: it imports MLX.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx

from agentr_lite.actors.grammar.matcher import Grammars
from agentr_lite.actors.mlx.device import load_model, wire_memory
from agentr_lite.actors.mlx.vocabulary import HfVocabulary
from agentr_lite.actors.shared import Shared


class Weights(Shared):
    """A loaded model.

    Attributes:
        vocabulary: the model's vocabulary.
    """

    def __init__(self, path: Path) -> None:
        """Load the weights, for one user.

        Raises:
            ModelError: see ``MlxActor``.
        """
        self._model, tokenizer = load_model(path)
        self.vocabulary = HfVocabulary(tokenizer, origin=str(path))
        self._grammars: Grammars | None = None
        self._unwire = wire_memory()
        super().__init__()

    def grammars(self, size: int) -> Grammars:
        """The grammars that answers have followed.

        Args:
            size: columns of the model's logits.
        """
        if self._grammars is None:
            self._grammars = Grammars(self.vocabulary, size)
        return self._grammars

    def layers(self) -> Any:
        """A copy of the model's layers over the same arrays; the caller may change the layers."""
        return own_layers(self._model)

    def _free(self) -> None:
        self._unwire()
        del self._model


def own_layers(model: Any) -> Any:
    """A copy of a model's layers over the same arrays.

    Layers never change arrays in place, so replacing one does not affect other copies.
    """
    shared: dict[int, Any] = {id(array): array for array in _arrays(model)}
    return copy.deepcopy(model, shared)


def _arrays(value: Any) -> Iterator[mx.array]:
    """All arrays in a tree of modules, including those that are no parameters."""
    if isinstance(value, mx.array):
        yield value
    elif isinstance(value, dict):
        # A module is a dictionary of its members.
        for part in value.values():
            yield from _arrays(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _arrays(part)
