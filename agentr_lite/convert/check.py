"""Checks conversions by what the two sides compute, not by what they look like."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agentr_lite.convert.compare import (
    TEXTS,
    Agreement,
    agreement,
    effect_error,
    llamacpp_logits,
    mlx_logits,
    tokenize,
)
from agentr_lite.convert.hf_to_gguf import convert_to_gguf
from agentr_lite.core.errors import ModelError

TOLERANCE = 0.05
"""Most that the two sides may disagree about an adapter's effect, as a share of the effect. Seen:
1e-5 with an f32 base, 0.005 with f16; a forgotten permutation of q and k gives 0.3 and more."""
_NOISE = 2.0
"""On top of it: so many times what the bases differ by, which does not cancel out entirely."""
COPY_LIMIT = 0.35
"""Most that a model and its copy may differ, as a share of the logits' spread. llama.cpp rounds
activations to 8 bits where weights are quantized; q and k in the wrong order give 0.9 and more."""


@dataclass(frozen=True)
class AdapterCheck:
    """MLX and llama.cpp on the same texts, without and with the adapter."""

    base: Agreement
    adapted: Agreement
    effect_rms: float
    """By how much the adapter moves MLX's logits."""
    error_rms: float
    """By how much the two sides disagree about that movement."""
    limit_rms: float
    """The largest ``error_rms`` that passes."""
    exact: bool
    """Compared on an unquantized copy of the base."""

    @property
    def conclusive(self) -> bool:
        """Whether a wrong conversion would have shown."""
        return self.effect_rms > 2 * _NOISE * self.base.rms

    @property
    def passed(self) -> bool:
        """Whether the adapter does the same on both sides."""
        return self.conclusive and self.error_rms <= self.limit_rms

    def require(self) -> None:
        """Raise unless it has passed.

        Raises:
            ModelError: the sides disagree, or the bases differ too much to tell.
        """
        if not self.conclusive:
            raise ModelError(
                f"the adapter moves the logits by {self.effect_rms:.2g}, the bases differ by"
                f" {self.base.rms:.2g}: no telling whether the conversion is right",
                hint="--exact compares on an unquantized copy of the base, --mlx-base on the"
                " weights that you name; an adapter that was hardly trained does hardly anything.",
            )
        if not self.passed:
            raise ModelError(
                f"MLX and llama.cpp disagree about the adapter: it moves the logits by"
                f" {self.effect_rms:.2g}, and they differ by {self.error_rms:.2g} about it"
                f" (limit {self.limit_rms:.2g})",
                hint="Is the base the one that the adapter was trained on?",
            )


def check_adapter(
    adapter: Path,
    converted: Path,
    mlx_base: Path,
    gguf_base: Path | None,
    *,
    texts: Sequence[str] = (),
    tolerance: float = TOLERANCE,
) -> AdapterCheck:
    """Run both sides.

    Args:
        adapter: mlx-lm's adapter directory.
        converted: the same as a GGUF file.
        mlx_base: the base's weights for MLX.
        gguf_base: the base for llama.cpp; None: an unquantized copy of ``mlx_base`` is made for
            the comparison, so that the bases do not differ.
        texts: what to compare on; default: a few of our own.
        tolerance: see ``TOLERANCE``.

    Raises:
        ModelError: a file is unusable, or the tokenizers disagree. Whether the check has passed
            is in what it returns.
    """
    with tempfile.TemporaryDirectory() as scratch:
        base = gguf_base
        if base is None:
            base = Path(scratch) / "base.gguf"
            # f16 costs 0.01 in the logits; f32 is for models where its size does not matter.
            small = sum(file.stat().st_size for file in mlx_base.glob("*.safetensors")) < 1 << 30
            convert_to_gguf(mlx_base, base, dtype="f32" if small else "f16")
        tokens = tokenize(mlx_base, base, list(texts) or TEXTS)
        ours = mlx_logits(mlx_base, tokens, [None, adapter])
        theirs = llamacpp_logits(base, tokens, [None, converted])
    unadapted = agreement(ours[0], theirs[0])
    effect, error = effect_error((ours[0], theirs[0]), (ours[1], theirs[1]))
    return AdapterCheck(
        base=unadapted,
        adapted=agreement(ours[1], theirs[1]),
        effect_rms=effect,
        error_rms=error,
        limit_rms=tolerance * effect + _NOISE * unadapted.rms,
        exact=gguf_base is None,
    )


def check_copy(gguf: Path, copy: Path) -> Agreement:
    """Make sure that ``copy``, made of ``gguf``, reads and computes the same.

    Raises:
        ModelError: their tokenizers or their logits disagree.
    """
    tokens = tokenize(copy, gguf, TEXTS)
    found = agreement(mlx_logits(copy, tokens)[0], llamacpp_logits(gguf, tokens)[0])
    if found.relative > COPY_LIMIT:
        raise ModelError(
            f"the weights taken from {gguf} compute something else than the file: logits differ"
            f" by {found.rms:.2g} where their spread is {found.spread:.2g}",
            hint="Give the same model in the MLX/HF layout: --set train_model=/path/to/dir",
        )
    return found
