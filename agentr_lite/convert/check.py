"""Checks conversions by comparing what MLX and llama.cpp compute."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf as gguf_format

from agentr_lite.actors.llamacpp.gguf_header import Header, check_model_file
from agentr_lite.convert.compare import Agreement, Comparison, Effect, agreement
from agentr_lite.convert.hf_to_gguf import ARCHITECTURES, convert_to_gguf
from agentr_lite.convert.logits import PIECE, LlamaCppLogits, MlxLogits
from agentr_lite.convert.texts import SHORT_TEXTS, long_text
from agentr_lite.convert.unpacked import write_unpacked
from agentr_lite.convert.vocabularies import check_vocabulary, tokenize
from agentr_lite.core.errors import ModelError

TOLERANCE = 0.05
"""Largest disagreement about an adapter's effect, as a share of the effect.

Measured: 1e-5 with an f32 base, 0.005 with f16; a missing permutation of q and k gives at least
0.3."""
_NOISE = 2.0
"""The difference of the bases, which does not cancel out entirely, is allowed this many times."""
LIKELIHOOD_LIMIT = 0.05
"""Largest difference between the log-likelihoods of a token, in nats, where both sides compute in
f32 with the same weights.

Measured on 1,536 tokens: 0.0002 for SmolLM2, 0.007 for the bundled model, 0.012 for Gemma 3 and
for random models with GELU, which llama.cpp looks up in a half-precision table. Planted mistakes
give at least 0.9 (tests/convert/test_planted_mistakes.py)."""
DIVERGENCE_LIMITS = {"16 bits": 0.001, "8 bits": 0.05}
"""Largest mean divergence, in nats, where llama.cpp rounds activations: to 16 bits where weights
are f16, to 8 bits where they are quantized.

Measured: 0.00004 (f16); 0.002 for SmolLM2 and Gemma 3, 0.014 for the bundled model, 0.033 for
random models (quantized).
"""
COPY_TOKENS = 1536
"""Length of the text on which a copy is compared; errors in rotary embeddings grow with it."""
_CHARACTERS = 5
"""At least as many characters as a token of the text has, on average."""
_EXACT_BYTES = 4 << 30
WRITTEN = frozenset(ARCHITECTURES.values())
"""GGUF's architectures that ``convert_to_gguf`` writes."""


@dataclass(frozen=True)
class CopyCheck:
    """A comparison of a GGUF file and a model directory on a long text."""

    agreement: Agreement
    rounding: str | None
    """To what one side rounded activations: ``16 bits`` or ``8 bits``; None: both computed in f32
    with the same weights."""

    @property
    def limit(self) -> float:
        """The largest difference that passes."""
        return DIVERGENCE_LIMITS[self.rounding] if self.rounding else LIKELIHOOD_LIMIT

    @property
    def passed(self) -> bool:
        """Whether both are the same model."""
        agreed = self.agreement
        return (agreed.divergence if self.rounding else agreed.likelihood) <= self.limit

    @property
    def measured(self) -> str:
        """The difference that decides, in words."""
        if self.rounding:
            return f"probabilities differ by {self.agreement.divergence:.2g} nats on average"
        return f"log-likelihoods differ by up to {self.agreement.likelihood:.2g}"


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
    unpack: Path | None = None,
) -> AdapterCheck:
    """Compare an adapter's effect in MLX with that of its converted form in llama.cpp.

    Args:
        adapter: mlx-lm's adapter directory.
        converted: the same adapter as a GGUF file.
        mlx_base: the base's weights for MLX.
        gguf_base: the base for llama.cpp; None: use an unquantized copy of ``mlx_base``, so that
            the bases do not differ.
        texts: the texts to compare on, of which the first ``PIECE`` tokens count; default:
            ``SHORT_TEXTS``.
        tolerance: see ``TOLERANCE``.
        unpack: a GGUF file of the base, which becomes the unquantized copy of a model that
            ``convert_to_gguf`` does not write.

    Returns:
        The comparison, which says whether it has passed.

    Raises:
        ModelError: a file is unusable, or the tokenizers disagree.
    """
    base, adapted, effect = Comparison(), Comparison(), Effect()
    with tempfile.TemporaryDirectory() as scratch:
        file = gguf_base
        if file is None:
            file = Path(scratch) / "base.gguf"
            if unpack is not None and check_model_file(unpack).architecture not in WRITTEN:
                write_unpacked(unpack, file)
        if not file.is_file():
            # f16 changes the logits by 0.01. f32 is used if the model is small.
            small = sum(file.stat().st_size for file in mlx_base.glob("*.safetensors")) < 1 << 30
            convert_to_gguf(mlx_base, file, dtype="f32" if small else "f16")
        with MlxLogits(mlx_base) as mlx, LlamaCppLogits(file, longest=PIECE) as llamacpp:
            check_vocabulary(mlx.tokenizer, llamacpp.model, mlx_base)
            for text in texts or SHORT_TEXTS:
                tokens = _tokens(mlx, llamacpp, text, mlx_base)[:PIECE]
                # One piece of each kind at a time: all vocabularies' logits would not fit.
                (mlx_plain,), (mlx_tuned,) = (mlx.pieces(tokens, a) for a in (None, adapter))
                (plain,), (tuned,) = (llamacpp.pieces(tokens, a) for a in (None, converted))
                base.add(mlx_plain, plain, tokens[1:])
                adapted.add(mlx_tuned, tuned, tokens[1:])
                effect.add((mlx_plain, plain), (mlx_tuned, tuned))
    effect_rms, error_rms = effect.rms()
    unadapted = base.result()
    return AdapterCheck(
        base=unadapted,
        adapted=adapted.result(),
        effect_rms=effect_rms,
        error_rms=error_rms,
        limit_rms=tolerance * effect_rms + _NOISE * unadapted.rms,
        exact=gguf_base is None,
    )


def check_copy(gguf: Path, copy: Path, *, exact: bool | None = None) -> CopyCheck:
    """Check that a GGUF file and a directory, one made from the other, are the same model.

    They are compared on one text of ``COPY_TOKENS`` tokens, or two windows of attention if those
    are longer, or as many as the model can read.

    Args:
        gguf: the file.
        copy: the directory.
        exact: let llama.cpp compute with a temporary f32 copy of the file, where it rounds nothing
            (four bytes of disk per parameter); default: if no matrix is quantized and the copy
            takes at most 4 GiB.

    Raises:
        ModelError: their vocabularies, tokenizers or distributions disagree.
    """
    header = check_model_file(gguf)
    rounding = _rounding(header)
    if exact is None:
        exact = rounding != "8 bits" and _f32_bytes(header) <= _EXACT_BYTES
    length = _length(header)
    with contextlib.ExitStack() as stack:
        file = gguf
        if exact and rounding is not None:
            file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "f32.gguf"
            write_unpacked(gguf, file)
            rounding = None
        mlx = stack.enter_context(MlxLogits(copy))
        llamacpp = stack.enter_context(LlamaCppLogits(file, longest=length))
        check_vocabulary(mlx.tokenizer, llamacpp.model, copy)
        tokens = _tokens(mlx, llamacpp, long_text(_CHARACTERS * length), copy)[:length]
        agreed = agreement(mlx.pieces(tokens), llamacpp.pieces(tokens), tokens)
        # A large model on a GPU stays in bfloat16, which has 8 bits.
        checked = CopyCheck(agreed, rounding if mlx.exact else "8 bits")
    if not checked.passed:
        raise ModelError(
            f"{gguf} and {copy} compute something else: {checked.measured}"
            f" (limit {checked.limit:g})",
            hint="Give the same model in the MLX/HF layout: --set train_model=/path/to/dir",
        )
    return checked


def _tokens(mlx: MlxLogits, llamacpp: LlamaCppLogits, text: str, model_dir: Path) -> list[int]:
    """The text's tokens, after BOS if the model expects it."""
    model = llamacpp.model
    tokens = tokenize(mlx.tokenizer, model, text, model_dir)
    return [model.bos, *tokens] if model.adds_bos else tokens


def _length(header: Header) -> int:
    window = header.architecture_value("attention.sliding_window")
    # mlx-lm leaves out Gemma 2's window: within it, both are the same.
    wanted = COPY_TOKENS if header.architecture == "gemma2" else max(COPY_TOKENS, 2 * window)
    return min(wanted, header.architecture_value("context_length", wanted))


def _rounding(header: Header) -> str | None:
    """To what llama.cpp rounds activations, by the file's matrices."""
    names = {gguf_format.GGMLQuantizationType(tensor.kind).name for tensor in header.tensors}
    if names <= {"F32"}:
        return None
    return "16 bits" if names <= {"F32", "F16", "BF16"} else "8 bits"


def _f32_bytes(header: Header) -> int:
    return sum(4 * math.prod(tensor.shape) for tensor in header.tensors)
