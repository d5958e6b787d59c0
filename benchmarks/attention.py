"""How near the kinds of attention on a CPU come to the logits over a cache in float32.

    python -m benchmarks.attention --model FILE

Eight conversations share a prompt, which is computed 64 tokens at a time, and go on differently for
eight steps. The figures are differences of log-likelihoods in nats. A file in f16 shows attention
alone: the products of quantized weights round the activations as well.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agentr_lite.actors.llamacpp import actor as actor_module
from agentr_lite.actors.llamacpp import context as context_module
from agentr_lite.actors.llamacpp.attention import attention_kernel
from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.registry import resolve_model
from benchmarks import tables

_SENTENCES = (
    "A small model plays a text game. It gets two oak logs, crafts eight planks from them, and then"
    " sticks from two of the planks. "
)
_CONVERSATIONS = 8
_STEPS = 8
_CHUNK = 64

Rows = npt.NDArray[np.float64]


def main() -> None:
    """Compute and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, help="a GGUF file; default: the starter")
    options = parser.parse_args()
    model = Model(options.model or resolve_model("starter").gguf, n_gpu_layers=0)
    exact = _likelihoods(model, exact=True)
    tables.begin("", ["attention", "root mean square, weighted", "largest difference"])
    for name, ours, flash in (
        ("ours", True, True),
        ("llama.cpp's flash attention", False, True),
        ("llama.cpp's products and softmax", False, False),
    ):
        with attention_by(ours):
            difference = _likelihoods(model, flash_attention=flash) - exact
        mean = float(np.sqrt((np.exp(exact) * difference**2).sum(-1).mean()))
        tables.row([name, f"{mean:.5f}", f"{np.abs(difference).max():.4f}"])
    model.close()


@contextmanager
def attention_by(ours: bool) -> Iterator[None]:
    """Within: new actors and contexts compute attention by our kernel, or by llama.cpp's."""
    found = attention_kernel
    for module in (actor_module, context_module):
        module.attention_kernel = found if ours else lambda: None  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in (actor_module, context_module):
            module.attention_kernel = found  # type: ignore[attr-defined]


def _likelihoods(model: Model, *, exact: bool = False, flash_attention: bool = False) -> Rows:
    """Shape (steps, conversations, vocabulary)."""
    tokens = model.tokenize(_SENTENCES * 12)
    count = len(tokens) // _CHUNK * _CHUNK
    context = Context(
        model,
        n_cells=2 * count,
        n_batch=256,
        n_threads=1,
        sequences=_CONVERSATIONS,
        exact=exact,
        flash_attention=flash_attention,
    )
    for begin in range(0, count, _CHUNK):
        positions = range(begin, begin + _CHUNK)
        context.decode(tokens[begin : begin + _CHUNK], positions, [0] * _CHUNK, outputs=0)
    for conversation in range(1, _CONVERSATIONS):
        context.copy_sequence(0, conversation, count)
    rows = []
    for step in range(_STEPS):
        drawn = [tokens[5 * conversation + step] for conversation in range(_CONVERSATIONS)]
        logits = context.decode(
            drawn, [count + step] * _CONVERSATIONS, range(_CONVERSATIONS), outputs=_CONVERSATIONS
        ).astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        rows.append(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
    context.close()
    return np.stack(rows)


if __name__ == "__main__":
    main()
