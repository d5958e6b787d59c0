"""Reads a GGUF file's header, to refuse a damaged file before llama.cpp reads it.

llama.cpp and the ``gguf`` package crash or abort on some damaged files. Long arrays (vocabularies)
are skipped, so reading a header takes milliseconds.

Source: the GGUF format, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, version 2-3.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentr_lite.core.errors import ModelError

_MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?"}
_FORMATS |= {10: "Q", 11: "q", 12: "d"}
_SCALARS = {kind: struct.Struct(f"<{code}") for kind, code in _FORMATS.items()}
_KEPT_ITEMS = 64
"""Longer arrays are skipped and reported as ``ArrayOf``."""
_MAX_STRING = 1 << 28
_MAX_COUNT = 1 << 28


@dataclass(frozen=True)
class ArrayOf:
    """Stands for an array that is too long to keep."""

    items: int
    repeated: bool = False
    """For strings: whether a string that is not empty occurs twice."""
    start: int = field(default=0, compare=False, repr=False)
    """Where the first item begins, in bytes from the start of the file."""


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

    def cell_bytes(self) -> int:
        """Bytes of one token's f16 keys and values over all layers."""
        heads = max(1, self.architecture_value("attention.head_count", 1))
        kv_heads = self.architecture_value("attention.head_count_kv", heads)
        width = self.architecture_value("embedding_length") // heads
        key = self.architecture_value("attention.key_length", width)
        value = self.architecture_value("attention.value_length", width)
        return 2 * kv_heads * (key + value) * self.architecture_value("block_count")

    def parameters(self) -> int:
        """How many numbers all tensors hold together."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors)


def read_header(path: Path) -> Header:
    """Parse the header.

    Raises:
        ModelError: the file is missing, unreadable or no GGUF file, or its header is damaged.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ModelError(f"{path} is not a file", hint="Give the path of a .gguf file.")
        with path.open("rb") as file:
            if size < 24 or file.read(4) != _MAGIC:
                raise ModelError(
                    f"{path} is not a GGUF file",
                    hint="Convert other formats to GGUF first, with llama.cpp's converters.",
                )
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _parse(path, data, size)
    except FileNotFoundError as error:
        raise ModelError(
            f"no model file {path}", hint="Check the path; it must name a .gguf file."
        ) from error
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except (struct.error, ValueError, IndexError, OverflowError) as error:
        raise ModelError(
            f"{path} is damaged: its header cannot be read ({error})",
            hint="Download or convert the file again.",
        ) from error


def token_text(header: Header, token: Any) -> str:
    """The vocabulary's own spelling of a token; empty where there is no such token.

    Args:
        header: of the model.
        token: its id, or whatever the metadata holds instead.
    """
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(token, int) or token < 0:
        return ""
    if isinstance(tokens, list):
        return str(tokens[token]) if token < len(tokens) else ""
    if not isinstance(tokens, ArrayOf) or token >= tokens.items:
        return ""
    with (
        header.path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        reader = _Reader(data, tokens.start)
        for _ in range(token):
            length = reader.scalar(10)
            reader.at += length
        return reader.string()


def check_model_file(path: Path) -> Header:
    """Read the header and check that the file is a complete model.

    Raises:
        ModelError: as for ``read_header``; or the file is truncated, or holds an adapter.
    """
    header = _checked(path)
    if header.metadata.get("general.type") == "adapter":
        raise ModelError(
            f"{path} is an adapter, not a model", hint="Give the base model's GGUF file."
        )
    if not header.architecture or not header.tensors:
        raise ModelError(f"{path} holds no model (no architecture or no tensors)")
    vocabulary = header.metadata.get("tokenizer.ggml.tokens")
    if isinstance(vocabulary, ArrayOf) and vocabulary.repeated:
        # llama.cpp aborts the process in this case.
        raise ModelError(
            f"{path} is damaged: its vocabulary holds a token twice",
            hint="Download or convert the file again.",
        )
    return header


def check_adapter_file(path: Path, base: Header) -> Header:
    """Read the header and check that the file is a LoRA adapter for ``base``.

    Raises:
        ModelError: as for ``read_header``; or the file is no adapter, or is for a model of another
            architecture or size.
    """
    header = _checked(path)
    if header.metadata.get("general.type") != "adapter":
        raise ModelError(
            f"{path} is a model, not an adapter", hint="Give a GGUF file that holds a LoRA adapter."
        )
    if header.architecture != base.architecture:
        raise ModelError(
            f"adapter {path} was made for '{header.architecture}' models,"
            f" but {base.path} is '{base.architecture}'",
            hint="Use the adapter with the base model that it was trained on.",
        )
    shapes = {tensor.name: tensor.shape for tensor in base.tensors}
    for tensor in header.tensors:
        name, _, side = tensor.name.rpartition(".lora_")
        if side not in ("a", "b"):
            continue
        base_shape = shapes.get(name)
        dimension = 0 if side == "a" else 1
        fits = base_shape is not None and (
            tensor.shape[dimension] == base_shape[dimension]
            or name == "token_embd.weight"  # its A is stored transposed
        )
        if not fits:
            raise ModelError(
                f"adapter {path} does not fit {base.path}: tensor {tensor.name} is"
                f" {tensor.shape}, the base's is {base_shape}",
                hint="Use the adapter with the base model that it was trained on.",
            )
    return header


def _checked(path: Path) -> Header:
    header = read_header(path)
    needed = max((_end(tensor) for tensor in header.tensors), default=0) + header.data_offset
    if header.file_bytes < needed:
        raise ModelError(
            f"{path} is truncated: {header.file_bytes:,} bytes, its tensors need {needed:,}",
            hint="Download or copy the file again.",
        )
    return header


def _end(tensor: TensorInfo) -> int:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    elements = 1
    for dimension in tensor.shape:
        elements *= dimension
    try:
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(tensor.kind)]
    except (ValueError, KeyError):
        return tensor.offset  # a type that is newer than the gguf package: llama.cpp checks it
    return tensor.offset + elements // block * size


def _parse(path: Path, data: mmap.mmap, size: int) -> Header:
    version, tensor_count, pair_count = struct.unpack_from("<IQQ", data, 4)
    if version not in (2, 3):
        raise ModelError(
            f"{path}: GGUF version {version} is not supported (2 and 3 are)",
            hint="Convert the model again; the file may be big-endian or very old.",
        )
    if tensor_count > _MAX_COUNT or pair_count > _MAX_COUNT:
        raise ValueError("implausible counts")
    reader = _Reader(data, 24)
    metadata: dict[str, Any] = {}
    for _ in range(pair_count):
        key = reader.string()
        metadata[key] = reader.value(reader.scalar(4))
    tensors = []
    for _ in range(tensor_count):
        name = reader.string()
        dimensions = reader.scalar(4)
        if dimensions > 8:
            raise ValueError(f"tensor {name} has {dimensions} dimensions")
        shape = tuple(reader.scalar(10) for _ in range(dimensions))
        kind, offset = reader.scalar(4), reader.scalar(10)
        tensors.append(TensorInfo(name, shape, kind, offset))
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0:
        raise ValueError("alignment is not a positive number")
    start = (reader.at + alignment - 1) // alignment * alignment
    return Header(path, version, metadata, tuple(tensors), start, size)


class _Reader:
    """A cursor over the mapped file."""

    def __init__(self, data: mmap.mmap, at: int) -> None:
        self.data = data
        self.at = at

    def scalar(self, kind: int) -> Any:
        layout = _SCALARS[kind]
        value = layout.unpack_from(self.data, self.at)[0]
        self.at += layout.size
        return value

    def string(self) -> str:
        length = self.scalar(10)
        if length > min(_MAX_STRING, len(self.data) - self.at):
            raise ValueError("a string runs past the end of the file")
        text = self.data[self.at : self.at + length]
        self.at += length
        return text.decode("utf-8", "replace")

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self.array(depth + 1)
        if kind not in _SCALARS:
            raise ValueError(f"unknown value type {kind}")
        return self.scalar(kind)

    def array(self, depth: int) -> Any:
        kind, count = self.scalar(4), self.scalar(10)
        if count > len(self.data) - self.at or depth > 4:
            raise ValueError("an array runs past the end of the file")
        if kind in _SCALARS:
            if count <= _KEPT_ITEMS:
                return [self.scalar(kind) for _ in range(count)]
            self.at += count * _SCALARS[kind].size
            return ArrayOf(count)
        if count <= _KEPT_ITEMS:
            return [self.value(kind, depth) for _ in range(count)]
        if kind != _STRING:
            for _ in range(count):
                self.value(kind, depth)
            return ArrayOf(count)
        seen: set[bytes] = set()
        empty, start = 0, self.at
        for _ in range(count):
            length = self.scalar(10)
            if length > len(self.data) - self.at:
                raise ValueError("a string runs past the end of the file")
            seen.add(self.data[self.at : self.at + length])
            empty += not length
            self.at += length
        return ArrayOf(count, repeated=len(seen) < count - max(0, empty - 1), start=start)
