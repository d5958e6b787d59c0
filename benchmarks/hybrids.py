"""Models with recurrent layers and random weights, of the architectures that llama.cpp knows.

The names and shapes of the tensors are those that llama.cpp's loader asks for. A part of other
benchmarks and of the tests, which write them tiny.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

FAMILIES = (
    "qwen35",
    "lfm2",
    "granitehybrid",
    "falcon-h1",
    "nemotron_h",
    "jamba",
    "mamba",
    "mamba2",
)
"""Architectures that ``write_hybrid`` writes."""
_PURE = ("mamba", "mamba2")
_BOTH = ("falcon-h1",)
_F32 = ("conv1d.weight", "shortconv.conv.weight")
"""llama.cpp's kernels take these as f32 only."""


@dataclass(frozen=True)
class HybridShape:
    """Sizes of a model with recurrent layers."""

    arch: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head: int
    """Width of an attention head."""
    hidden: int
    attention: tuple[int, ...]
    """Layers with attention; the others are recurrent. Falcon-H1's have both everywhere."""
    kernel: int = 4
    """Tokens that a convolution sees."""
    inner: int = 0
    state: int = 0
    groups: int = 1
    ranks: int = 0
    """Heads of the recurrence; Mamba 1 and Jamba: the rank of the time step."""
    context: int = 32_768


QWEN3_5_0_8B = HybridShape(
    "qwen35",
    layers=24,
    width=1024,
    heads=8,
    kv_heads=2,
    head=256,
    hidden=3584,
    attention=tuple(range(3, 24, 4)),
    inner=2048,
    state=128,
    groups=16,
    ranks=16,
)
"""Sizes of Qwen3.5-0.8B: each fourth layer has attention, and the others 16 heads of 128 x 128, so
that the state of one conversation takes 20 MB."""
QWEN3_5_VOCABULARY = 248_320
LFM2_350M = HybridShape(
    "lfm2",
    layers=16,
    width=1024,
    heads=16,
    kv_heads=8,
    head=64,
    hidden=4608,
    attention=(2, 5, 8, 10, 12, 14),
    kernel=3,
)
"""Sizes of LFM2-350M: ten layers with short convolutions, whose state takes 82 kB."""
LFM2_350M_VOCABULARY = 65_536


@dataclass(frozen=True)
class Vocabulary:
    """A byte-level BPE tokenizer."""

    tokens: Sequence[str]
    types: Sequence[int]
    merges: Sequence[str]
    pre: str
    eos: int
    template: str | None = None

    @classmethod
    def like(cls, path: Path, size: int) -> Vocabulary:
        """That of a GGUF file, filled up to ``size`` with tokens that no text gives."""
        known = gguf.GGUFReader(path)

        def field(name: str) -> Any:
            return known.fields[f"tokenizer.{name}"].contents()

        tokens, types = list(field("ggml.tokens")), list(field("ggml.token_type"))
        missing = size - len(tokens)
        tokens += [f"<|unused_{index}|>" for index in range(missing)]
        types += [int(gguf.TokenType.UNUSED)] * missing
        merges, pre, eos = (field(f"ggml.{name}") for name in ("merges", "pre", "eos_token_id"))
        return cls(tokens, types, merges, pre, int(eos))


def write_hybrid(
    path: Path,
    shape: HybridShape,
    vocabulary: Vocabulary,
    *,
    half: bool = False,
    spread: float = 1.0,
    seed: int = 0,
) -> Path:
    """Write a random model.

    Args:
        path: the file.
        shape: its sizes.
        vocabulary: its tokenizer.
        half: whether matrices are float16; otherwise all numbers are float32.
        spread: of the entries of a matrix, times the root of its inputs.
        seed: of the numbers.
    """
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, shape.arch)
    _write_settings(writer, shape, len(vocabulary.tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_eos_token_id(vocabulary.eos)
    writer.add_add_bos_token(False)
    if vocabulary.template is not None:
        writer.add_chat_template(vocabulary.template)
    for name, size in tensors(shape, len(vocabulary.tokens)):
        values = _values(rng, name, size, spread)
        small = half and len(size) == 2 and name.endswith(".weight") and not name.endswith(_F32)
        writer.add_tensor(name, values.astype(np.float16) if small else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_settings(writer: gguf.GGUFWriter, shape: HybridShape, vocabulary: int) -> None:
    attends = [_attends(shape, layer) for layer in range(shape.layers)]
    writer.add_name("synthetic")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_vocab_size(vocabulary)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    if shape.arch == "nemotron_h":
        # Its layers are a recurrence, attention or a projection, and never two of them.
        writer.add_layer_norm_eps(1e-5)
        projects = [_projects(shape, layer) for layer in range(shape.layers)]
        writer.add_feed_forward_length([shape.hidden * here for here in projects])
    else:
        writer.add_feed_forward_length(0 if shape.arch in _PURE else shape.hidden)
    if shape.arch in _PURE:
        writer.add_head_count(0)
    else:
        writer.add_head_count(shape.heads)
        writer.add_head_count_kv(
            shape.kv_heads
            if shape.arch in ("qwen35", *_BOTH)
            else [shape.kv_heads * here for here in attends]
        )
        writer.add_key_length(shape.head)
        writer.add_value_length(shape.head)
        writer.add_rope_dimension_count(shape.head // (4 if shape.arch == "qwen35" else 1))
        writer.add_rope_freq_base(10_000.0)
    if shape.arch == "qwen35":
        writer.add_full_attention_interval(4)
        pairs = shape.head // 8
        writer.add_rope_dimension_sections([pairs - 2 * (pairs // 3), pairs // 3, pairs // 3, 0])
    if shape.arch == "lfm2":
        writer.add_shortconv_l_cache(shape.kernel)
        return
    writer.add_ssm_conv_kernel(shape.kernel)
    writer.add_ssm_inner_size(shape.inner)
    writer.add_ssm_state_size(shape.state)
    writer.add_ssm_time_step_rank(shape.ranks)
    writer.add_ssm_group_count(0 if shape.arch in ("mamba", "jamba") else shape.groups)


def tensors(shape: HybridShape, vocabulary: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and size of each tensor, as numpy sees it: (out, in)."""
    d = shape.width
    yield "token_embd.weight", (vocabulary, d)
    yield ("token_embd_norm.weight" if shape.arch == "lfm2" else "output_norm.weight"), (d,)
    for layer in range(shape.layers):
        for name, size in _layer(shape, layer):
            yield f"blk.{layer}.{name}", size


def _layer(shape: HybridShape, layer: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    d = shape.width
    yield "attn_norm.weight", (d,)
    if _projects(shape, layer):
        yield "ffn_up.weight", (shape.hidden, d)
        yield "ffn_down.weight", (d, shape.hidden)
        return
    attends = _attends(shape, layer)
    if attends:
        gates = 2 if shape.arch == "qwen35" else 1
        yield "attn_q.weight", (gates * shape.heads * shape.head, d)
        yield "attn_k.weight", (shape.kv_heads * shape.head, d)
        yield "attn_v.weight", (shape.kv_heads * shape.head, d)
        yield "attn_output.weight", (d, shape.heads * shape.head)
        if shape.arch in ("qwen35", "lfm2"):
            yield "attn_q_norm.weight", (shape.head,)
            yield "attn_k_norm.weight", (shape.head,)
    if not attends or shape.arch in _BOTH:
        yield from _recurrence(shape)
    if shape.arch in ("nemotron_h", *_PURE):
        return
    norm = {"qwen35": "post_attention_norm.weight", "falcon-h1": "ffn_norm"}
    yield norm.get(shape.arch, "ffn_norm.weight"), (d,)
    yield "ffn_gate.weight", (shape.hidden, d)
    yield "ffn_up.weight", (shape.hidden, d)
    yield "ffn_down.weight", (d, shape.hidden)


def _recurrence(shape: HybridShape) -> Iterator[tuple[str, tuple[int, ...]]]:
    d, inner, state, groups, ranks = (
        shape.width,
        shape.inner,
        shape.state,
        shape.groups,
        shape.ranks,
    )
    if shape.arch == "lfm2":
        yield "shortconv.conv.weight", (d, shape.kernel)
        yield "shortconv.in_proj.weight", (3 * d, d)
        yield "shortconv.out_proj.weight", (d, d)
        return
    if shape.arch in ("mamba", "jamba"):
        yield "ssm_in.weight", (2 * inner, d)
        yield "ssm_conv1d.weight", (inner, shape.kernel)
        yield "ssm_conv1d.bias", (inner,)
        yield "ssm_x.weight", (ranks + 2 * state, inner)
        yield "ssm_dt.weight", (inner, ranks)
        yield "ssm_dt.bias", (inner,)
        yield "ssm_a", (inner, state)
        yield "ssm_d", (inner,)
        if shape.arch == "jamba":
            yield "ssm_dt_norm.weight", (ranks,)
            yield "ssm_b_norm.weight", (state,)
            yield "ssm_c_norm.weight", (state,)
    elif shape.arch == "qwen35":
        keys, values = groups * state, ranks * state
        yield "attn_qkv.weight", (2 * keys + values, d)
        yield "attn_gate.weight", (values, d)
        yield "ssm_conv1d.weight", (2 * keys + values, shape.kernel)
        yield "ssm_dt.bias", (ranks,)
        yield "ssm_a", (ranks,)
        yield "ssm_beta.weight", (ranks, d)
        yield "ssm_alpha.weight", (ranks, d)
        yield "ssm_norm.weight", (state,)
    else:
        mixed = inner + 2 * groups * state
        yield "ssm_in.weight", (inner + mixed + ranks, d)
        yield "ssm_conv1d.weight", (mixed, shape.kernel)
        yield "ssm_conv1d.bias", (mixed,)
        yield "ssm_dt.bias", (ranks,)
        yield "ssm_a", (ranks, 1)
        yield "ssm_d", (ranks, 1)
        yield "ssm_norm.weight", (groups, inner // groups)
    yield "ssm_out.weight", (d, inner)


def _attends(shape: HybridShape, layer: int) -> bool:
    return shape.arch in _BOTH or layer in shape.attention


def _projects(shape: HybridShape, layer: int) -> bool:
    return shape.arch == "nemotron_h" and not _attends(shape, layer) and layer % 2 == 1


def _values(
    rng: np.random.Generator, name: str, size: tuple[int, ...], spread: float
) -> np.ndarray:
    if name.endswith("ssm_a"):
        # Negative, so that the state fades.
        values = -np.exp(rng.uniform(-3.0, 0.5, size))
    elif name.endswith("bias"):
        values = rng.normal(0.0, 0.3, size)
    elif "norm" in name or name.endswith("ssm_d"):
        values = rng.normal(1.0, 0.1, size)
    else:
        # A large output matrix, which is the embedding too, spreads the logits.
        values = rng.normal(0.0, spread, size)
        values *= 0.6 if name == "token_embd.weight" else 1.6 / np.sqrt(size[-1])
    return values.astype(np.float32)
