"""LoRA adapters: loaded once by path, swapped without touching the base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agentr_lite.actors.llamacpp.gguf_header import check_adapter_file
from agentr_lite.actors.llamacpp.library import clear_errors, last_error, load_library
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.core.errors import ModelError


class Adapters:
    """The adapters of one model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._lib = load_library()
        self._loaded: dict[tuple[Path, int, int], Any] = {}

    def load(self, path: Path) -> Any:
        """A handle for the adapter at ``path``; a file that changed is read again.

        Raises:
            ModelError: missing, corrupt or for another base.
        """
        header = check_adapter_file(path, self._model.header)
        stat = path.stat()
        key = (path.resolve(), stat.st_mtime_ns, stat.st_size)
        if key in self._loaded:
            return self._loaded[key]
        clear_errors()
        handle = self._lib.llama_adapter_lora_init(self._model.handle, str(path).encode())
        # Refusal is a NULL pointer: falsy, but not None.
        if not handle:
            raise ModelError(
                f"llama.cpp cannot use adapter {header.path} with {self._model.path}:"
                f" {last_error() or 'no reason given'}",
                hint="Use the adapter with the base model that it was trained on.",
            )
        self._loaded[key] = handle
        return handle

    def close(self) -> None:
        """Free all adapters; contexts that use them must be gone."""
        for handle in self._loaded.values():
            self._lib.llama_adapter_lora_free(handle)
        self._loaded.clear()
