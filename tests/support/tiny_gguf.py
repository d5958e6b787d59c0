"""Writes tiny random GGUF models and LoRA adapters, so that tests need no download.

The files are whole: a byte-level BPE tokenizer with special tokens, a chat template, weights.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

CHATML = (
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_SAMPLE_TEXT = (
    "Thought: I need 2 oak planks, so I craft 4 oak planks using 1 oak logs. "
    "Action: craft 4 oak planks using 1 oak logs. Action: get 2 stick. "
    "Crafted 4 minecraft oak planks. Got 2 stick. Could not find the goal. "
    "Goal: craft stone pickaxe. system user assistant You are given crafting commands. "
) * 3

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


@dataclass(frozen=True)
class TinyShape:
    """Sizes of a tiny model."""

    arch: str = "llama"
    """``llama`` or ``qwen2``."""
    layers: int = 2
    width: int = 64
    heads: int = 4
    kv_heads: int = 2
    hidden: int = 128
    context: int = 1024
    merges: int = 100
    seed: int = 0


def write_tiny_model(
    path: Path,
    shape: TinyShape = TinyShape(),
    *,
    template: str | None = CHATML,
    file_type: str = "f32",
    bos: bool = False,
) -> Path:
    """Write a random model.

    Args:
        path: the file.
        shape: sizes.
        template: Jinja chat template; None = none in the file.
        file_type: of the matrices: f32, f16, q8_0 or q4_0.
        bos: whether the model wants ``<|endoftext|>`` before every text.
    """
    rng = np.random.default_rng(shape.seed)
    tokens, types, merges = byte_bpe(shape.merges)
    writer = gguf.GGUFWriter(path, shape.arch)
    writer.add_name("tiny")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    if bos:
        writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(bos)
    if template is not None:
        writer.add_chat_template(template)
    for name, (rows, columns) in matrix_shapes(shape, len(tokens)).items():
        # A large output matrix spreads the logits, so that greedy choices are no near ties.
        scale = 0.6 if name == "output.weight" else 1.6 / np.sqrt(columns)
        values = rng.normal(0.0, scale, (rows, columns)).astype(np.float32)
        _add(writer, name, values, file_type)
    for name, size in _vector_shapes(shape).items():
        mean, spread = (0.0, 0.2) if name.endswith("bias") else (1.0, 0.1)
        values = rng.normal(mean, spread, size)
        writer.add_tensor(name, values.astype(np.float32))
    _finish(writer)
    return path


def write_tiny_adapter(
    path: Path,
    shape: TinyShape = TinyShape(),
    *,
    rank: int = 4,
    alpha: float = 8.0,
    seed: int = 7,
    arch: str | None = None,
) -> Path:
    """Write a random LoRA adapter over all projections of a model of ``shape``."""
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, arch or shape.arch)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for name, (rows, columns) in matrix_shapes(shape, 1).items():
        if not name.startswith("blk."):
            continue
        a = rng.normal(0.0, 1.0 / np.sqrt(columns), (rank, columns)).astype(np.float32)
        b = rng.normal(0.0, 0.3, (rows, rank)).astype(np.float32)
        writer.add_tensor(f"{name}.lora_a", a)
        writer.add_tensor(f"{name}.lora_b", b)
    _finish(writer)
    return path


def matrix_shapes(shape: TinyShape, vocabulary: int) -> dict[str, tuple[int, int]]:
    """(rows, columns) of every matrix, as numpy sees it: (out, in)."""
    d, kv = shape.width, shape.width // shape.heads * shape.kv_heads
    shapes = {"token_embd.weight": (vocabulary, d), "output.weight": (vocabulary, d)}
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


def byte_bpe(merge_count: int) -> tuple[list[str], list[int], list[str]]:
    """Tokens, token types and merges of a small byte-level BPE.

    Source: the byte-to-unicode table of GPT-2's encoder, which GGUF's ``gpt2`` model uses.
    """
    table = _byte_table()
    words = [
        tuple(table[byte] for byte in word.encode())
        for word in [" " * bool(i) + w for i, w in enumerate(_SAMPLE_TEXT.split())]
    ]
    counts = Counter(words)
    merges: list[str] = []
    tokens = [table[byte] for byte in range(256)]
    while len(merges) < merge_count:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in counts.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += count
        if not pairs:
            break
        left, right = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(f"{left} {right}")
        tokens.append(left + right)
        counts = Counter({_merge(word, left, right): count for word, count in counts.items()})
    types = [int(gguf.TokenType.NORMAL)] * len(tokens)
    tokens += SPECIAL
    types += [int(gguf.TokenType.CONTROL)] * len(SPECIAL)
    return tokens, types, merges


def _merge(word: tuple[str, ...], left: str, right: str) -> tuple[str, ...]:
    merged: list[str] = []
    i = 0
    while i < len(word):
        if i + 1 < len(word) and word[i] == left and word[i + 1] == right:
            merged.append(left + right)
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return tuple(merged)


def _byte_table() -> list[str]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {byte: chr(byte) for byte in printable}
    spare = 256
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(spare)
            spare += 1
    return [table[byte] for byte in range(256)]


def _vector_shapes(shape: TinyShape) -> dict[str, int]:
    kv = shape.width // shape.heads * shape.kv_heads
    shapes = {"output_norm.weight": shape.width}
    for i in range(shape.layers):
        shapes |= {
            f"blk.{i}.attn_norm.weight": shape.width,
            f"blk.{i}.ffn_norm.weight": shape.width,
        }
        if shape.arch == "qwen2":
            shapes |= {
                f"blk.{i}.attn_q.bias": shape.width,
                f"blk.{i}.attn_k.bias": kv,
                f"blk.{i}.attn_v.bias": kv,
            }
    return shapes


def _add(writer: gguf.GGUFWriter, name: str, values: np.ndarray, file_type: str) -> None:
    if file_type == "f32":
        writer.add_tensor(name, values)
    elif file_type == "f16":
        writer.add_tensor(name, values.astype(np.float16))
    else:
        kind = gguf.GGMLQuantizationType[file_type.upper()]
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
