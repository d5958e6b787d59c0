"""LoRA adapters: each is loaded once, and the base stays loaded when they are switched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agentr_lite.actors.llamacpp.gguf_header import check_adapter_file
from agentr_lite.actors.llamacpp.library import clear_errors, last_error, load_library
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.llamacpp.trial import check_opens
from agentr_lite.core.errors import ModelError


class Adapters:
    """The adapters of one model.

    Args:
        model: the model.
        tried: open each file in this process, known or not; see ``trial``.
    """

    def __init__(self, model: Model, *, tried: bool = False) -> None:
        self._model = model
        self._tried = tried
        self._lib = load_library()
        self._loaded: dict[tuple[Path, int, int], Any] = {}

    def load(self, path: Path) -> Any:
        """A handle for the adapter at ``path``; a file that has changed is read again.

        Raises:
            ModelError: the adapter is missing, corrupt or for another base.
        """
        header = check_adapter_file(path, self._model.header)
        stat = path.stat()
        key = (path.resolve(), stat.st_mtime_ns, stat.st_size)
        if key in self._loaded:
            return self._loaded[key]
        if not self._tried:
            check_opens(self._model.path, path)
        clear_errors()
        handle = self._lib.llama_adapter_lora_init(self._model.handle, str(path).encode())
        # If llama.cpp refuses, this is a NULL pointer: falsy, but not None.
        if not handle:
            raise ModelError(
                f"llama.cpp cannot use adapter {header.path} with {self._model.path}:"
                f" {last_error() or 'no reason given'}",
                hint="Use the adapter with the base model that it was trained on.",
            )
        self._loaded[key] = handle
        return handle

    def close(self) -> None:
        """Free all adapters; the contexts that use them must be closed before."""
        for handle in self._loaded.values():
            self._lib.llama_adapter_lora_free(handle)
        self._loaded.clear()
