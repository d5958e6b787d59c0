"""Names and row orders of tensors in Hugging Face's (and MLX's) format and in GGUF.

Source: https://github.com/ggml-org/llama.cpp (convert_hf_to_gguf.py and gguf-py).
"""

from __future__ import annotations

import re
from functools import cache

import gguf
import numpy as np

from agentr_lite.convert.safetensors_io import FloatArray
from agentr_lite.core.errors import ModelError

PERMUTED_ARCHITECTURES = frozenset({"llama", "granite", "granitehybrid", "smollm3"})
"""GGUF architectures that rotate neighbouring pairs, so q and k rows are reordered."""

UNPERMUTED_ARCHITECTURES = frozenset(
    {
        "qwen2",
        "qwen3",
        "qwen35",
        "gemma",
        "gemma2",
        "gemma3",
        "gemma4",
        "lfm2",
        "olmo2",
        "starcoder2",
    }
)
"""GGUF architectures that keep Hugging Face's half-split order of q and k rows."""

_ARCHITECTURE_BY_NAME = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
_Q_OR_K = re.compile(r"^blk\.\d+\.attn_([qk])\.(weight|bias)$")


def permutes(architecture: str) -> bool:
    """Whether this GGUF architecture stores the rows of q and k permuted.

    Raises:
        ModelError: the architecture is not supported.
    """
    if architecture in PERMUTED_ARCHITECTURES:
        return True
    if architecture in UNPERMUTED_ARCHITECTURES:
        return False
    known = sorted(PERMUTED_ARCHITECTURES | UNPERMUTED_ARCHITECTURES)
    raise ModelError(
        f"architecture '{architecture}' cannot be converted",
        hint=f"Supported architectures: {', '.join(known)}.",
    )


def gguf_name(architecture: str, layers: int, name: str) -> str | None:
    """The GGUF name of a tensor, or None if it is unknown.

    Args:
        architecture: GGUF's name, such as ``llama``.
        layers: number of blocks of the model.
        name: Hugging Face's name with ``.weight`` or ``.bias``.
    """
    names = _names(architecture, layers)
    if names is None:
        return None
    target = names.get_name(name, try_suffixes=(".weight", ".bias"))
    return str(target) if target is not None else None


@cache
def _names(architecture: str, layers: int) -> gguf.TensorNameMap | None:
    arch = _ARCHITECTURE_BY_NAME.get(architecture)
    return None if arch is None else gguf.get_tensor_name_map(arch, layers)


def rotated_heads(gguf_tensor: str, heads: int, kv_heads: int) -> int:
    """The number of heads in the rows of this tensor if it is q or k; otherwise 0."""
    matched = _Q_OR_K.match(gguf_tensor)
    if not matched:
        return 0
    return heads if matched.group(1) == "q" else kv_heads


def permute_rows(rows: FloatArray, heads: int) -> FloatArray:
    """Reorder q or k rows, head by head, from half-split to interleaved.

    Hugging Face rotates row i of a head with row i + head_dim / 2; llama.cpp's ``llama`` rotates
    rows 2i and 2i + 1. So rows are taken in turn from the two halves of each head::

        half-split    0 1 2 3 | 4 5 6 7
        interleaved   0 4 1 5 2 6 3 7

    Args:
        rows: shape (heads * head_dim, ...): a weight, a bias, or the ``lora_b`` of either.
        heads: query heads for q, key-value heads for k.

    Returns:
        An array of the same shape.

    Source: ``LlamaModel.permute`` in llama.cpp's convert_hf_to_gguf.py.
    """
    half = rows.shape[0] // heads // 2
    split = rows.reshape(heads, 2, half, *rows.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2).reshape(rows.shape))


def unpermute_rows(rows: FloatArray, heads: int) -> FloatArray:
    """The inverse of ``permute_rows``: from interleaved to half-split."""
    half = rows.shape[0] // heads // 2
    split = rows.reshape(heads, half, 2, *rows.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2).reshape(rows.shape))


_BLOCK = re.compile(r"^blk\.(\d+)\.(\w+)\.(weight|bias)$")
_HF_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_HF_GEMMA_BLOCK = _HF_BLOCK | {
    "ffn_norm": "pre_feedforward_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
"""Gemma 2 and 3 have four norms in a layer."""
_HF_OUTSIDE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def hf_name(architecture: str, gguf_tensor: str) -> str | None:
    """Hugging Face's name of a llama, qwen or gemma tensor, or None if it is unknown."""
    matched = _BLOCK.match(gguf_tensor)
    if not matched:
        return _HF_OUTSIDE.get(gguf_tensor)
    layer, module, kind = matched.groups()
    names = _HF_GEMMA_BLOCK if architecture in ("gemma2", "gemma3") else _HF_BLOCK
    inner = names.get(module)
    return f"model.layers.{layer}.{inner}.{kind}" if inner else None
