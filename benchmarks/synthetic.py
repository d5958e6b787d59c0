"""Models of a given shape with random weights; a part of other benchmarks.

Speed does not depend on the values of the weights.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from agentr_lite.actors.llamacpp.library import load_library
from benchmarks.hybrids import (
    LFM2_350M,
    LFM2_350M_VOCABULARY,
    QWEN3_5_0_8B,
    QWEN3_5_VOCABULARY,
    Vocabulary,
    write_hybrid,
)

QUANTIZATIONS = ("q8_0", "q4_k_m")


@dataclass(frozen=True)
class Shape:
    """Sizes of a qwen2 model."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    hidden: int
    vocabulary: int
    context: int = 32_768


QWEN2_0_5B = Shape(24, 896, 14, 2, 4864, 151_936)
"""Source: config.json of Qwen2.5-0.5B-Instruct; output and input embeddings are the same matrix."""

SHAPES = ("qwen2-0.5b", "qwen3.5-0.8b", "lfm2-350m")


def write_shape(path: Path, name: str, tokens_like: Path) -> None:
    """Write a random float16 model.

    Args:
        path: the file.
        name: of its sizes, one of ``SHAPES``.
        tokens_like: see ``write_f16``.
    """
    if name == "qwen2-0.5b":
        write_f16(path, QWEN2_0_5B, tokens_like)
        return
    shape, size = (
        (QWEN3_5_0_8B, QWEN3_5_VOCABULARY)
        if name == "qwen3.5-0.8b"
        else (LFM2_350M, LFM2_350M_VOCABULARY)
    )
    write_hybrid(path, shape, Vocabulary.like(tokens_like, size), half=True)


def write_f16(path: Path, shape: Shape, tokens_like: Path) -> None:
    """Write a random float16 model.

    Args:
        path: the file.
        shape: its sizes.
        tokens_like: a GGUF whose tokenizer is the first part of the vocabulary, so that recordings
            with it can be replayed; no text gives the other tokens.
    """
    known = gguf.GGUFReader(tokens_like)

    def field(name: str) -> Any:
        return known.fields[f"tokenizer.ggml.{name}"].contents()

    tokens, types = list(field("tokens")), list(field("token_type"))
    missing = shape.vocabulary - len(tokens)
    tokens += [f"<|unused_{i}|>" for i in range(missing)]
    types += [int(gguf.TokenType.UNUSED)] * missing
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name("synthetic")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1_000_000.0)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(field("pre"))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(field("merges"))
    writer.add_eos_token_id(int(field("eos_token_id")))
    writer.add_add_bos_token(False)
    rng = np.random.default_rng(0)
    for name, size in _vectors(shape).items():
        writer.add_tensor(name, np.full(size, 0.0 if name.endswith("bias") else 1.0, np.float32))
    for name, (rows, columns) in _matrices(shape).items():
        values = rng.standard_normal((rows, columns), np.float32) * np.float32(0.02)
        writer.add_tensor(name, values.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantize(source: Path, target: Path, kind: str, *, n_threads: int) -> None:
    """Quantize with llama.cpp's own recipe.

    Args:
        source: a float16 GGUF.
        target: the file to write.
        kind: one of ``QUANTIZATIONS``.
        n_threads: number of threads.
    """
    lib = load_library()
    params = lib.llama_model_quantize_default_params()
    params.nthread = n_threads
    params.ftype = getattr(lib, f"LLAMA_FTYPE_MOSTLY_{kind.upper()}")
    status = lib.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(params)
    )
    if status != 0:
        raise SystemExit(f"llama.cpp could not quantize {source}: status {status}")


def _matrices(shape: Shape) -> dict[str, tuple[int, int]]:
    d, kv = shape.width, shape.width // shape.heads * shape.kv_heads
    shapes = {"token_embd.weight": (shape.vocabulary, d)}
    for i in range(shape.layers):
        shapes |= {
            f"blk.{i}.attn_q.weight": (d, d),
            f"blk.{i}.attn_k.weight": (kv, d),
            f"blk.{i}.attn_v.weight": (kv, d),
            f"blk.{i}.attn_output.weight": (d, d),
            f"blk.{i}.ffn_gate.weight": (shape.hidden, d),
            f"blk.{i}.ffn_up.weight": (shape.hidden, d),
            f"blk.{i}.ffn_down.weight": (d, shape.hidden),
        }
    return shapes


def _vectors(shape: Shape) -> dict[str, int]:
    d, kv = shape.width, shape.width // shape.heads * shape.kv_heads
    sizes = {"output_norm.weight": d}
    for i in range(shape.layers):
        sizes |= {f"blk.{i}.attn_norm.weight": d, f"blk.{i}.ffn_norm.weight": d}
        sizes |= {f"blk.{i}.attn_q.bias": d, f"blk.{i}.attn_k.bias": kv, f"blk.{i}.attn_v.bias": kv}
    return sizes
