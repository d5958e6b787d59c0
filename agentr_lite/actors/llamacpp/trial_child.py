"""The child process in which an unknown model file is opened; see ``trial``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from agentr_lite.actors.llamacpp.adapters import Adapters
from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.core.child import serve
from agentr_lite.core.errors import ModelError

_TEXT = "Goal: open it.\n\nThought: 2 + 2 = 4, ünï 🦙\r\nAction: look  <|im_end|></s>"
_CELLS = 256
_SEQUENCES = 4


def _answer(question: tuple[str, str]) -> Any:
    """None, or what llama.cpp says against the files and a hint."""
    model, adapter = question
    try:
        _open(Path(model), Path(adapter) if adapter else None)
    except ModelError as error:
        return error.message, error.hint
    return None


def _open(path: Path, adapter: Path | None) -> None:
    """Do what the engine does with a model: load it, tokenize, decode."""
    model = Model(path, n_gpu_layers=0, tried=True)
    tokens = [*model.tokenize(_TEXT), *model.plain(_TEXT)][:64] or [0]
    model.special_tokens()
    model.stripping_tokens()
    for token in {*tokens, 0, model.n_vocab - 1, *sorted(model.end_tokens)[:9]}:
        model.piece(token)
    handle = Adapters(model, tried=True).load(adapter) if adapter is not None else None
    for flash_attention in (False, True):
        # Both ways to keep the cells of layers with a sliding window.
        window = 0 if flash_attention else model.header.window
        stateful = model.recurrent or window > 0
        context = Context(
            model,
            n_cells=_CELLS,
            n_batch=_CELLS,
            n_threads=min(4, os.cpu_count() or 1),
            flash_attention=flash_attention,
            sequences=_SEQUENCES,
            unified=not stateful,
            window=window,
        )
        if handle is not None:
            context.set_adapter(handle)
        count = len(tokens)
        context.decode(tokens, range(count), [0] * count, outputs=1)
        state = context.save_state(0) if stateful else None
        context.decode([tokens[0]], [count], [0], outputs=1)
        if state is not None:
            context.copy_stream(0, [1])
            context.rewind(1, state, count)
        context.close()
    model.close()


def main() -> None:
    """The child's program."""
    serve(_answer)
