"""The tensors that a model of a family has, with their shapes: what a conversion may rely on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from agentr_lite.core.errors import ModelError

SHAPED = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3")
"""GGUF's architectures that are known here."""
_NORMED_HEADS = ("qwen3", "gemma3")
_FOUR_NORMS = ("gemma2", "gemma3")


@dataclass(frozen=True)
class Sizes:
    """The sizes of a model."""

    architecture: str
    """GGUF's name, one of ``SHAPED``."""
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int


@cache
def tensor_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """GGUF's name of each tensor that the model may have -> its shape, rows first."""
    d, ff = sizes.width, sizes.feed_forward
    q, kv = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
    layer: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (d,),
        "attn_q.weight": (q, d),
        "attn_k.weight": (kv, d),
        "attn_v.weight": (kv, d),
        "attn_output.weight": (d, q),
        "ffn_norm.weight": (d,),
        "ffn_gate.weight": (ff, d),
        "ffn_up.weight": (ff, d),
        "ffn_down.weight": (d, ff),
        "attn_q.bias": (q,),
        "attn_k.bias": (kv,),
        "attn_v.bias": (kv,),
        "attn_output.bias": (d,),
        "ffn_gate.bias": (ff,),
        "ffn_up.bias": (ff,),
        "ffn_down.bias": (d,),
        "attn_q_norm.weight": (sizes.head_dim,),
        "attn_k_norm.weight": (sizes.head_dim,),
        "post_attention_norm.weight": (d,),
        "post_ffw_norm.weight": (d,),
    }
    outside = {
        "token_embd.weight": (sizes.vocabulary, d),
        "output_norm.weight": (d,),
        "output.weight": (sizes.vocabulary, d),
    }
    return {
        **outside,
        **{f"blk.{n}.{name}": shape for n in range(sizes.layers) for name, shape in layer.items()},
    }


def needed_tensors(sizes: Sizes) -> list[str]:
    """GGUF's names of the tensors without which the model cannot compute."""
    layer = ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm"]
    layer += ["ffn_gate", "ffn_up", "ffn_down"]
    if sizes.architecture in _NORMED_HEADS:
        layer += ["attn_q_norm", "attn_k_norm"]
    if sizes.architecture in _FOUR_NORMS:
        layer += ["post_attention_norm", "post_ffw_norm"]
    names = ["token_embd.weight", "output_norm.weight"]
    names += [f"blk.{n}.{name}.weight" for n in range(sizes.layers) for name in layer]
    if sizes.architecture == "qwen2":
        names += [f"blk.{n}.attn_{part}.bias" for n in range(sizes.layers) for part in "qkv"]
    return names


def check_shape(path: Path, sizes: Sizes, name: str, shape: tuple[int, ...]) -> None:
    """Refuse a tensor of another shape than the settings say.

    Args:
        path: the model, for messages.
        sizes: what its settings say.
        name: GGUF's.
        shape: rows first.

    Raises:
        ModelError: it has another shape, or no place in such a model.
    """
    expected = tensor_shapes(sizes).get(name)
    if expected is None:
        raise ModelError(
            f"{path}: tensor '{name}' has no place in a model of architecture"
            f" '{sizes.architecture}' with {sizes.layers} layers"
        )
    if shape != expected:
        raise ModelError(
            f"{path}: tensor '{name}' has the shape {shape}, but the settings say {expected}",
            hint="The settings or the weights belong to another model.",
        )


def check_complete(path: Path, sizes: Sizes, found: Iterable[str], *also: str) -> None:
    """Refuse a model that lacks a tensor.

    Args:
        path: the model, for messages.
        sizes: what its settings say.
        found: GGUF's names of the tensors that it has.
        also: further names that are needed.

    Raises:
        ModelError: one is missing.
    """
    there = set(found)
    missing = [name for name in (*needed_tensors(sizes), *also) if name not in there]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ModelError(
            f"{path} lacks the tensors for {', '.join(missing[:3])}{more}",
            hint="Download or write the model again.",
        )
