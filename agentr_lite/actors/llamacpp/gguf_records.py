"""What a GGUF file's header says, as records."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentr_lite.actors.llamacpp import recurrence, windows

_STRING = 8
_MOST_LAYERS = 10_000


@dataclass(frozen=True)
class ArrayOf:
    """Stands for an array that is too long to keep."""

    items: int
    repeated: bool = False
    """For strings: whether a string that is not empty occurs twice."""
    start: int = field(default=0, compare=False, repr=False)
    """Where the first item begins, in bytes from the start of the file."""
    kind: int = _STRING
    """GGUF's number of the items' type."""


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of the file."""

    name: str
    shape: tuple[int, ...]
    """In ggml's order: fastest dimension first."""
    kind: int
    """ggml's type number."""
    offset: int
    """In bytes from the start of the data section."""


@dataclass(frozen=True)
class Header:
    """The header of a GGUF file."""

    path: Path
    version: int
    metadata: dict[str, Any] = field(repr=False)
    tensors: tuple[TensorInfo, ...] = field(repr=False)
    data_offset: int
    file_bytes: int

    @property
    def architecture(self) -> str:
        """``general.architecture``, e.g. ``llama``; empty if missing."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def chat_template(self) -> str | None:
        """The default chat template, or None."""
        template = self.metadata.get("tokenizer.chat_template")
        return template if isinstance(template, str) and template.strip() else None

    def architecture_value(self, key: str, default: int = 0) -> int:
        """``{architecture}.{key}`` as a number (the largest one of a per-layer array)."""
        value = self.metadata.get(f"{self.architecture}.{key}", default)
        if isinstance(value, list):
            value = max((item for item in value if type(item) in (int, float)), default=default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return default
        return int(value) if math.isfinite(value) else default

    def layer_values(self, key: str, default: int = 0) -> list[int]:
        """``{architecture}.{key}`` of each layer; one number holds for all."""
        layers = max(0, min(self.architecture_value("block_count"), _MOST_LAYERS))
        value = self.metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, list) and len(value) >= layers:
            return [int(item) if type(item) in (int, bool) else default for item in value[:layers]]
        return [self.architecture_value(key, default)] * layers

    def cell_bytes(self) -> int:
        """Bytes of one token's f16 keys and values over all layers."""
        if self.window:
            return sum(windows.layer_cell_bytes(self))
        heads = max(1, self.architecture_value("attention.head_count", 1))
        width = self.architecture_value("embedding_length") // heads
        key = self.architecture_value("attention.key_length", width)
        value = self.architecture_value("attention.value_length", width)
        kv_heads = self.layer_values("attention.head_count_kv", heads)
        if self.recurrent:
            kept = recurrence.attention_layers(self)
            kv_heads = [count * here for count, here in zip(kv_heads, kept, strict=True)]
        return 2 * sum(kv_heads) * (key + value)

    @property
    def recurrent(self) -> bool:
        """Whether some layers keep a state of the whole text instead of each token's cells."""
        return recurrence.is_recurrent(self)

    def state_bytes(self) -> int:
        """Bytes of one conversation's f32 state over all recurrent layers; 0: there are none."""
        return recurrence.state_bytes(self) if self.recurrent else 0

    @property
    def window(self) -> int:
        """Tokens of the sliding window that some layers see; 0: there are none, or unknown ones."""
        return windows.window_tokens(self)

    def window_cell_bytes(self) -> int:
        """The part of ``cell_bytes`` that layers with a sliding window take."""
        return windows.window_cell_bytes(self) if self.window else 0

    def parameters(self) -> int:
        """How many numbers all tensors hold together."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    def matrix_type(self) -> str:
        """ggml's name of the type that most parameters have, e.g. ``q4_1``."""
        from gguf.constants import GGMLQuantizationType

        counts: Counter[int] = Counter()
        for tensor in self.tensors:
            counts[tensor.kind] += math.prod(tensor.shape)
        if not counts:
            return ""
        [(kind, _)] = counts.most_common(1)
        try:
            return GGMLQuantizationType(kind).name.lower()
        except ValueError:
            return f"type {kind}"
