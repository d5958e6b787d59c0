"""Tiny random models some of whose layers have a sliding window, one of each architecture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np

from tests.support.tiny_gguf import CHATML, byte_bpe

FAMILIES = ("gemma2", "gemma3", "gpt-oss", "cohere2", "olmo2")
"""Architectures that ``write_tiny_windows`` writes."""
WINDOW = 24
_LAYERS = {"gemma2": 4, "gemma3": 6, "gpt-oss": 4, "cohere2": 4, "olmo2": 4}
"""One period at least, with one layer that sees everything."""
_WIDTH = 64
_HEADS = 4
_GROUPS = 2
_HEAD = 16
_HIDDEN = 96
_EXPERTS = 4


def write_tiny_windows(path: Path, arch: str, *, window: int = WINDOW, seed: int = 0) -> Path:
    """Write a random model.

    Args:
        path: the file.
        arch: one of ``FAMILIES``.
        window: tokens that a layer with a window sees.
        seed: of the numbers.
    """
    rng = np.random.default_rng(seed)
    tokens, types, merges = byte_bpe(100)
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name("tiny")
    writer.add_context_length(4096)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(_LAYERS[arch])
    writer.add_feed_forward_length(_HIDDEN)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_GROUPS)
    writer.add_key_length(_HEAD)
    writer.add_value_length(_HEAD)
    writer.add_sliding_window(window)
    if arch == "cohere2":
        writer.add_layer_norm_eps(1e-5)
        writer.add_logit_scale(1.0)
        writer.add_rope_dimension_count(_HEAD)
    else:
        writer.add_layer_norm_rms_eps(1e-5)
    if arch == "gemma2":
        writer.add_attn_logit_softcapping(50.0)
        writer.add_final_logit_softcapping(30.0)
    if arch == "gpt-oss":
        writer.add_expert_count(_EXPERTS)
        writer.add_expert_used_count(2)
        writer.add_expert_feed_forward_length(_HIDDEN)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)
    for name, size in _tensors(arch, len(tokens)):
        writer.add_tensor(name, _values(rng, name, size))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(arch: str, vocabulary: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and size of each tensor, as numpy sees it."""
    yield "token_embd.weight", (vocabulary, _WIDTH)
    yield "output_norm.weight", (_WIDTH,)
    if arch in ("gpt-oss", "olmo2"):
        yield "output.weight", (vocabulary, _WIDTH)
    for layer in range(_LAYERS[arch]):
        for name, size in _layer(arch):
            yield f"blk.{layer}.{name}", size


def _layer(arch: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    queries, keys = _HEADS * _HEAD, _GROUPS * _HEAD
    yield "attn_q.weight", (queries, _WIDTH)
    yield "attn_k.weight", (keys, _WIDTH)
    yield "attn_v.weight", (keys, _WIDTH)
    yield "attn_output.weight", (_WIDTH, queries)
    if arch != "olmo2":
        yield "attn_norm.weight", (_WIDTH,)
    if arch != "cohere2":
        yield "post_attention_norm.weight", (_WIDTH,)
    if arch in ("gemma2", "gemma3"):
        yield "ffn_norm.weight", (_WIDTH,)
    if arch in ("gemma2", "gemma3", "olmo2"):
        yield "post_ffw_norm.weight", (_WIDTH,)
    if arch == "gemma3":
        yield "attn_q_norm.weight", (_HEAD,)
        yield "attn_k_norm.weight", (_HEAD,)
    if arch == "olmo2":
        yield "attn_q_norm.weight", (queries,)
        yield "attn_k_norm.weight", (keys,)
    if arch == "gpt-oss":
        yield from _experts(queries, keys)
        return
    yield "ffn_gate.weight", (_HIDDEN, _WIDTH)
    yield "ffn_up.weight", (_HIDDEN, _WIDTH)
    yield "ffn_down.weight", (_WIDTH, _HIDDEN)


def _experts(queries: int, keys: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "attn_q.bias", (queries,)
    yield "attn_k.bias", (keys,)
    yield "attn_v.bias", (keys,)
    yield "attn_output.bias", (_WIDTH,)
    yield "attn_sinks.weight", (_HEADS,)
    yield "ffn_gate_inp.weight", (_EXPERTS, _WIDTH)
    yield "ffn_gate_inp.bias", (_EXPERTS,)
    for name, rows, columns in (
        ("gate", _HIDDEN, _WIDTH),
        ("up", _HIDDEN, _WIDTH),
        ("down", _WIDTH, _HIDDEN),
    ):
        yield f"ffn_{name}_exps.weight", (_EXPERTS, rows, columns)
        yield f"ffn_{name}_exps.bias", (_EXPERTS, rows)


def _values(rng: np.random.Generator, name: str, size: tuple[int, ...]) -> np.ndarray:
    if name.endswith("bias") or "sinks" in name:
        values = rng.normal(0.0, 0.2, size)
    elif "norm" in name:
        values = rng.normal(1.0, 0.1, size)
    else:
        # A large output matrix, which is the embedding too, spreads the logits.
        large = name in ("token_embd.weight", "output.weight")
        values = rng.normal(0.0, 0.6 if large else 1.6 / np.sqrt(size[-1]), size)
    return values.astype(np.float32)
