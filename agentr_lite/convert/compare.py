"""Compares what llama.cpp computes from a GGUF file with what MLX computes from a directory."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agentr_lite.actors.mlx.blas import use_fast_blas
from agentr_lite.convert.safetensors_io import FloatArray
from agentr_lite.core.errors import ModelError

MAX_TOKENS = 256
"""Most tokens of each text; the rest is ignored."""

TEXTS: tuple[str, ...] = (
    "Goal: craft 4 oak planks.\nThought: I have no logs yet, so I fetch one first.\n"
    "Action: get 1 oak logs\nGot 1 oak logs\nThought: Now I can make planks.\n"
    "Action: craft 4 oak planks using 1 oak logs\nCrafted 4 oak planks.",
    "The river was higher than usual that morning, and the ferry did not run. We waited under the"
    " old bridge until noon; then somebody said that the road over the hills was open again.",
    "def mean(values):\n    total = 0.0\n    for value in values:\n        total += value\n"
    "    return total / len(values)\n\nprint(mean([3, 14, 159, 2653]))",
)
"""The default texts to compare on: a game, a story, a program."""

_ROUND_TRIPS = (
    *TEXTS,
    " Hello,  world!\n\nIt's 2 o'clock,\tand\r\n 42 über-Straßen 漢字 🙂 don't STOP 12345 ",
)


@dataclass(frozen=True)
class Agreement:
    """How far two sets of logits for the same tokens agree.

    The mean of each row is subtracted first, because it does not change any probability.
    """

    tokens: int
    max_abs: float
    mean_abs: float
    rms: float
    """Root of the mean square of the differences."""
    spread: float
    """Standard deviation of the reference's logits, with which to compare the differences."""
    top1: float
    """Share of positions with the same most likely token."""

    @property
    def relative(self) -> float:
        """``rms`` as a share of ``spread``."""
        return self.rms / self.spread if self.spread else float("inf")


def agreement(reference: Sequence[FloatArray], other: Sequence[FloatArray]) -> Agreement:
    """Compare logits.

    Args:
        reference: for each text, logits of shape (tokens, vocabulary).
        other: the logits of the other side; additional columns (padding) are ignored.

    Raises:
        ModelError: a logit is not a finite number.
    """
    left = np.concatenate([_centred(rows, other[i].shape[1]) for i, rows in enumerate(reference)])
    right = np.concatenate([_centred(rows, reference[i].shape[1]) for i, rows in enumerate(other)])
    difference = left - right
    if not np.isfinite(difference).all():
        raise ModelError("the logits contain values that are not finite numbers")
    return Agreement(
        tokens=len(left),
        max_abs=float(np.abs(difference).max()),
        mean_abs=float(np.abs(difference).mean()),
        rms=_rms(difference),
        spread=float(left.std()),
        top1=float((left.argmax(-1) == right.argmax(-1)).mean()),
    )


def effect_error(
    base: tuple[Sequence[FloatArray], Sequence[FloatArray]],
    tuned: tuple[Sequence[FloatArray], Sequence[FloatArray]],
) -> tuple[float, float]:
    """An adapter's effect on the logits, and how far the two sides disagree about it.

    The difference of the bases cancels out to first order.

    Args:
        base: (reference's logits, the other side's logits) without the adapter.
        tuned: the same with the adapter.

    Returns:
        (rms of the reference's effect, rms of the difference between the effects).
    """
    left = [after - before for before, after in zip(base[0], tuned[0], strict=True)]
    right = [after - before for before, after in zip(base[1], tuned[1], strict=True)]
    width = min(left[0].shape[1], right[0].shape[1])
    ours = np.concatenate([_centred(rows, width) for rows in left])
    theirs = np.concatenate([_centred(rows, width) for rows in right])
    return _rms(ours), _rms(ours - theirs)


def tokenize(model_dir: Path, gguf: Path, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of ``texts``, cut at ``MAX_TOKENS``, on which both tokenizers agree.

    Raises:
        ModelError: they do not agree, or do not reproduce the text.
    """
    # Before mlx_lm, which imports MLX.
    use_fast_blas()
    from mlx_lm.utils import load_tokenizer

    from agentr_lite.actors.llamacpp.model import Model

    theirs = load_tokenizer(model_dir)
    model = Model(gguf, n_gpu_layers=0)
    try:
        kept = []
        for number, text in enumerate((*texts, *_ROUND_TRIPS)):
            ids = [int(i) for i in theirs.encode(text, add_special_tokens=False)]
            ours = list(model.tokenize(text))
            if ids != ours:
                where = next(
                    (
                        i
                        for i, pair in enumerate(zip(ids, ours, strict=False))
                        if pair[0] != pair[1]
                    ),
                    min(len(ids), len(ours)),
                )
                raise ModelError(
                    f"the tokenizers of {model_dir} and {gguf} disagree at token {where} of"
                    f" {text[:40]!r}...: {ids[where : where + 3]} and {ours[where : where + 3]}",
                    hint="Check that they are the same model.",
                )
            back = b"".join(model.piece(token) for token in ours).decode("utf-8", "replace")
            if number >= len(texts) and back.strip() != text.strip():
                raise ModelError(f"the tokenizer of {gguf} does not reproduce {text[:40]!r}...")
            if number < len(texts):
                if not ids:
                    raise ModelError("a text to compare has no tokens")
                kept.append(ids[:MAX_TOKENS])
        return kept
    finally:
        model.close()


def mlx_logits(
    model_dir: Path, texts: Sequence[Sequence[int]], adapters: Sequence[Path | None] = (None,)
) -> list[list[FloatArray]]:
    """MLX's logits after each token, float32, for each adapter directory (None = the base).

    Raises:
        ModelError: the model or an adapter cannot be used.
    """
    use_fast_blas()
    import mlx.core as mx

    from agentr_lite.actors.mlx.adapters import Adapters
    from agentr_lite.actors.mlx.device import compiled_on_gpu_only, load_model

    model, _ = load_model(model_dir)
    layers = Adapters(model)
    logits_by_adapter: list[list[FloatArray]] = []
    with compiled_on_gpu_only():
        for adapter in adapters:
            layers.use(adapter)
            logits_by_adapter.append(
                [np.array(model(mx.array([list(ids)]))[0].astype(mx.float32)) for ids in texts]
            )
    del model, layers
    gc.collect()
    mx.clear_cache()
    return logits_by_adapter


def llamacpp_logits(
    gguf: Path, texts: Sequence[Sequence[int]], adapters: Sequence[Path | None] = (None,)
) -> list[list[FloatArray]]:
    """llama.cpp's logits after each token, with exact keys and values, for each GGUF adapter.

    Raises:
        ModelError: the model or an adapter cannot be used.
    """
    from agentr_lite.actors.llamacpp.adapters import Adapters
    from agentr_lite.actors.llamacpp.context import SEQUENCES, Context
    from agentr_lite.actors.llamacpp.machine import physical_cores
    from agentr_lite.actors.llamacpp.model import Model

    longest = max(map(len, texts))
    model = Model(gguf, n_gpu_layers=0)
    loaded = Adapters(model)
    context: Any = None
    try:
        context = Context(
            model,
            # llama.cpp aborts if a batch may be larger than the cache.
            n_cells=max(longest, SEQUENCES),
            n_batch=longest,
            n_threads=physical_cores(),
            exact=True,
        )
        logits_by_adapter: list[list[FloatArray]] = []
        for adapter in adapters:
            context.set_adapter(loaded.load(adapter) if adapter is not None else None)
            rows = []
            for ids in texts:
                context.clear()
                logits = context.decode(ids, range(len(ids)), [0] * len(ids), outputs=len(ids))
                rows.append(np.array(logits[: len(ids)], np.float32))
            logits_by_adapter.append(rows)
        return logits_by_adapter
    finally:
        if context is not None:
            context.close()
        loaded.close()
        model.close()


def _centred(rows: FloatArray, width: int) -> FloatArray:
    rows = np.asarray(rows[:, : min(width, rows.shape[1])], np.float32)
    return np.asarray(rows - rows.mean(-1, keepdims=True), np.float32)


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
