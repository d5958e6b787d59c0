"""Reads and writes safetensors files.

The readers are the libraries': ``safetensors`` checks a file and reads its numpy types, and MLX
reads bfloat16, which numpy does not have. The writer is ours because the libraries' writers need
all tensors in memory, and a dequantized model may not fit.

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

from agentr_lite.core.damaged import damage_explained
from agentr_lite.core.errors import ModelError

FloatArray = npt.NDArray[np.float32]

_NUMPY_TYPES = ("F64", "F32", "F16")


class SafetensorsFile:
    """The tensors of one file, read one by one and given as float32.

    Raises:
        ModelError: the file is missing, truncated or not in the format.
    """

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        self.path = path
        if path.exists() and not path.is_file():
            raise ModelError(f"{path} is not a file")
        try:
            self._file = safe_open(str(path), framework="numpy")
        except FileNotFoundError as error:
            raise ModelError(f"no file {path}") from error
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"{path} is not a whole safetensors file ({error})",
                hint="Download or write it again.",
            ) from error

    def names(self) -> list[str]:
        """The names of the tensors, sorted."""
        return list(self._file.keys())

    def read(self, name: str) -> FloatArray:
        """One tensor as float32 in its own shape.

        Raises:
            ModelError: it is not of a floating-point type (a quantized model), or not of finite
                numbers.
        """
        with damage_explained(self.path):
            kind = self._file.get_slice(name).get_dtype()
        if kind not in (*_NUMPY_TYPES, "BF16"):
            raise ModelError(
                f"tensor '{name}' in {self.path} is of type {kind}; needed: F32, F16 or BF16",
                hint="Quantized weights cannot be converted: use the unquantized model.",
            )
        with damage_explained(self.path), np.errstate(over="ignore"):
            values = self._read_bfloat16(name) if kind == "BF16" else self._file.get_tensor(name)
            tensor: FloatArray = values.astype(np.float32)
        if not np.isfinite(tensor).all():
            raise ModelError(
                f"tensor '{name}' in {self.path} contains values that are not finite numbers",
                hint="The training that wrote it has failed.",
            )
        return tensor

    def _read_bfloat16(self, name: str) -> FloatArray:
        from agentr_lite.actors.mlx.blas import use_fast_blas

        # It must come before MLX's first import, and this process may compute with MLX later.
        use_fast_blas()
        import mlx.core as mx

        # MLX loads lazily: of the file's arrays, only this one is read.
        arrays: Any = mx.load(str(self.path), format="safetensors")
        with mx.stream(mx.cpu):
            return np.array(arrays[name].astype(mx.float32))


def read_model_tensors(model_dir: Path) -> Iterator[tuple[str, FloatArray]]:
    """Every tensor of a model directory, in one file or in shards.

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
class LazyTensor:
    """A tensor to write, whose values are computed only when they are written."""

    name: str
    dtype: str
    """The format's name: F32, F16 or BF16."""
    shape: tuple[int, ...]
    parts: Callable[[], Iterator[npt.NDArray[Any]]]
    """Its values in pieces, in order; BF16 as 16-bit patterns."""


def write_tensors(path: Path, tensors: Sequence[LazyTensor]) -> None:
    """Write a file, with one piece at a time in memory.

    Raises:
        OSError: the file cannot be written.
        ValueError: a tensor's pieces do not have its size.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    offset = 0
    for tensor in tensors:
        size = math.prod(tensor.shape) * (4 if tensor.dtype == "F32" else 2)
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    # Tensors begin at a multiple of 8 bytes.
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for tensor in tensors:
            written = 0
            for part in tensor.parts():
                written += file.write(np.ascontiguousarray(part).data.cast("B"))
            start, end = header[tensor.name]["data_offsets"]
            if written != end - start:
                raise ValueError(f"'{tensor.name}': {written} bytes instead of {end - start}")
