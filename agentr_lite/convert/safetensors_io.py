"""A reader of safetensors files that needs numpy alone, so that conversion needs no framework.

Source: https://github.com/huggingface/safetensors (README, "Format").
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agentr_lite.core.errors import ModelError

FloatArray = npt.NDArray[np.float32]

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
# Longer headers are refused by the reference reader too: a corrupt length must not fill the memory.
_MAX_HEADER_BYTES = 100_000_000


class SafetensorsFile:
    """The tensors of one file, read one by one and given as float32.

    Raises:
        ModelError: the file is missing, cut short or not in the format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                if not 2 <= length <= _MAX_HEADER_BYTES:
                    raise ValueError(f"header length {length}")
                header = json.loads(file.read(length))
            self._entries = _check_entries(header)
        except FileNotFoundError as error:
            raise ModelError(f"no file {path}") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _not_safetensors(path, error) from error
        self.metadata: dict[str, str] = header.get("__metadata__") or {}
        self._data_start = 8 + length

    def names(self) -> list[str]:
        """The names of the tensors, in the file's order."""
        return list(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one tensor, without reading it."""
        return tuple(self._entries[name]["shape"])

    def read(self, name: str) -> FloatArray:
        """One tensor as float32 in its own shape.

        Raises:
            ModelError: it is not of a floating-point type (a quantized model), or is cut short.
        """
        entry = self._entries[name]
        start, end = entry["data_offsets"]
        with self.path.open("rb") as file:
            file.seek(self._data_start + start)
            raw = file.read(end - start)
        kind = entry["dtype"]
        if kind == "BF16":
            # bfloat16 is the upper half of a float32.
            flat = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        elif kind in _DTYPES:
            flat = np.frombuffer(raw, _DTYPES[kind]).astype(np.float32)
        else:
            raise ModelError(
                f"tensor '{name}' in {self.path} is of type {kind}; needed: F32, F16 or BF16",
                hint="Quantized weights cannot be converted: use the unquantized model.",
            )
        try:
            return flat.reshape(entry["shape"])
        except ValueError as error:
            raise _not_safetensors(self.path, error) from error


def read_model_tensors(model_dir: Path) -> Iterator[tuple[str, FloatArray]]:
    """Every tensor of a model directory, whether in one file or in shards.

    Raises:
        ModelError: no safetensors file, or one of them is unusable.
    """
    paths = sorted(model_dir.glob("model*.safetensors"))
    if not paths:
        raise ModelError(
            f"no model.safetensors in {model_dir}",
            hint="Needed: a model directory in Hugging Face's format.",
        )
    for path in paths:
        file = SafetensorsFile(path)
        for name in file.names():
            yield name, file.read(name)


@dataclass(frozen=True)
class Entry:
    """A tensor to write, made only when its turn comes."""

    name: str
    dtype: str
    """The format's name: F32, F16 or BF16."""
    shape: tuple[int, ...]
    parts: Callable[[], Iterator[npt.NDArray[Any]]]
    """Its values in pieces, in order; BF16 as 16-bit patterns."""


def write_tensors(path: Path, entries: Sequence[Entry]) -> None:
    """Write a file, one piece at a time in memory.

    Raises:
        OSError: it cannot be written.
        ValueError: a tensor's pieces are not of its size.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    offset = 0
    for entry in entries:
        size = math.prod(entry.shape) * (4 if entry.dtype == "F32" else 2)
        header[entry.name] = {
            "dtype": entry.dtype,
            "shape": list(entry.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    # Tensors begin at a multiple of 8 bytes.
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for entry in entries:
            written = 0
            for part in entry.parts():
                written += file.write(np.ascontiguousarray(part).data.cast("B"))
            start, end = header[entry.name]["data_offsets"]
            if written != end - start:
                raise ValueError(f"'{entry.name}': {written} bytes instead of {end - start}")


def _check_entries(header: dict[str, Any]) -> dict[str, dict[str, Any]]:
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    for entry in entries.values():
        start, end = entry["data_offsets"]
        if not 0 <= start <= end or not isinstance(entry["dtype"], str):
            raise ValueError("bad tensor entry")
        tuple(entry["shape"])
    return entries


def _not_safetensors(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{path} is not a whole safetensors file ({error})", hint="Download or write it again."
    )
