"""LoRA adapters of mlx-lm: applied and removed without loading the base again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_unflatten
from mlx_lm.tuner.utils import load_adapters

from agentr_lite.actors.mlx.adapter_files import check_adapter_directory
from agentr_lite.actors.mlx.device import on_cpu, quiet
from agentr_lite.core.errors import ModelError


class Adapters:
    """The adapter layers of one model."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._replaced: dict[str, Any] = {}
        """The base's own modules that the adapter's modules replace, by name."""

    def use(self, folder: Path | None) -> None:
        """Apply the adapter in ``folder``, or none.

        Raises:
            ModelError: it is missing, corrupt, of full weights, or for another base. Then the base
                is in use.
        """
        self._take_off()
        if folder is None:
            return
        check_adapter_directory(folder)
        before = dict(self._model.named_modules())
        try:
            with quiet():
                load_adapters(self._model, str(folder))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            self._note(before)
            self._take_off()
            raise ModelError(
                f"adapter {folder} does not fit the model: {' '.join(str(error).split())}",
                hint="Use the adapter with the base model that it was trained on.",
            ) from error
        self._note(before)
        if on_cpu():
            self._model.set_dtype(mx.float32)
        # New layers are in training mode, in which dropout is active.
        self._model.eval()
        mx.eval(self._model.parameters())

    def _note(self, before: dict[str, Any]) -> None:
        now = dict(self._model.named_modules())
        self._replaced = {
            name: module
            for name, module in before.items()
            if name in now and now[name] is not module
        }

    def _take_off(self) -> None:
        if self._replaced:
            self._model.update_modules(tree_unflatten(list(self._replaced.items())))
            self._replaced = {}
