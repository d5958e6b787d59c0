"""Checks conversions by comparing what MLX and llama.cpp compute."""

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
"""Largest disagreement about an adapter's effect, as a share of the effect.

Measured: 1e-5 with an f32 base, 0.005 with f16; a missing permutation of q and k gives at least
0.3."""
_NOISE = 2.0
"""The difference of the bases, which does not cancel out entirely, is allowed this many times."""
COPY_LIMIT = 0.35
"""Largest difference between a model and its copy, as a share of the logits' spread.

llama.cpp rounds activations to 8 bits where weights are quantized. A wrong order of q and k gives
at least 0.9."""


@dataclass(frozen=True)
class AdapterCheck:
    """A comparison of MLX and llama.cpp on the same texts, without and with the adapter."""

    base: Agreement
    adapted: Agreement
    effect_rms: float
    """How far the adapter changes MLX's logits."""
    error_rms: float
    """How far the two sides disagree about this change."""
    limit_rms: float
    """The largest ``error_rms`` that passes."""
    exact: bool
    """Whether the base was an unquantized copy."""

    @property
    def conclusive(self) -> bool:
        """Whether the comparison would have detected a wrong conversion."""
        return self.effect_rms > 2 * _NOISE * self.base.rms

    @property
    def passed(self) -> bool:
        """Whether the adapter does the same on both sides."""
        return self.conclusive and self.error_rms <= self.limit_rms

    def require(self) -> None:
        """Raise an error unless the check has passed.

        Raises:
            ModelError: the two sides disagree, or the bases differ too much to decide.
        """
        if not self.conclusive:
            raise ModelError(
                f"the adapter changes the logits by {self.effect_rms:.2g}, but the bases differ by"
                f" {self.base.rms:.2g}, so the check cannot tell whether the conversion is right",
                hint="--exact compares on an unquantized copy of the base, --mlx-base on the"
                " weights that you name. An adapter that was hardly trained has hardly any effect.",
            )
        if not self.passed:
            raise ModelError(
                f"MLX and llama.cpp disagree about the adapter: it changes the logits by"
                f" {self.effect_rms:.2g}, and the two changes differ by {self.error_rms:.2g}"
                f" (limit {self.limit_rms:.2g})",
                hint="Check that the adapter was trained on this base.",
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
    """Compare an adapter's effect in MLX with that of its converted form in llama.cpp.

    Args:
        adapter: mlx-lm's adapter directory.
        converted: the same adapter as a GGUF file.
        mlx_base: the base's weights for MLX.
        gguf_base: the base for llama.cpp; None: use an unquantized copy of ``mlx_base``, so that
            the bases do not differ.
        texts: the texts to compare on; default: ``TEXTS``.
        tolerance: see ``TOLERANCE``.

    Returns:
        The comparison, which says whether it has passed.

    Raises:
        ModelError: a file is unusable, or the tokenizers disagree.
    """
    with tempfile.TemporaryDirectory() as scratch:
        base = gguf_base
        if base is None:
            base = Path(scratch) / "base.gguf"
            # f16 changes the logits by 0.01. f32 is used if the model is small.
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
    """Check that ``copy``, which was made from ``gguf``, tokenizes and computes the same.

    Raises:
        ModelError: their tokenizers or their logits disagree.
    """
    tokens = tokenize(copy, gguf, TEXTS)
    measured = agreement(mlx_logits(copy, tokens)[0], llamacpp_logits(gguf, tokens)[0])
    if measured.relative > COPY_LIMIT:
        raise ModelError(
            f"the weights taken from {gguf} compute something else than the file: the logits differ"
            f" by {measured.rms:.2g}, and their spread is {measured.spread:.2g}",
            hint="Give the same model in the MLX/HF layout: --set train_model=/path/to/dir",
        )
    return measured
