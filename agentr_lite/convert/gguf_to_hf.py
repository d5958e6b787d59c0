"""A GGUF file to a model directory in Hugging Face's format, which MLX trains and runs.

Quantized matrices are dequantized, so that training starts from the weights that play.

Source: https://github.com/ggml-org/llama.cpp (convert_hf_to_gguf.py), in reverse.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from agentr_lite.actors.llamacpp.gguf_header import Header, check_model_file
from agentr_lite.convert import recurrent
from agentr_lite.convert.gguf_tokenizer import check_tokenizer, write_tokenizer
from agentr_lite.convert.hf_settings import (
    HINT,
    ROPE_FACTORS,
    check_settings,
    config_of,
    head_counts,
    head_dim,
)
from agentr_lite.convert.names import hf_name, permutes, rotated_heads, unpermute_rows
from agentr_lite.convert.safetensors_io import LazyTensor, write_tensors
from agentr_lite.convert.shapes import Sizes, check_complete, check_shape
from agentr_lite.core.damaged import damage_explained
from agentr_lite.core.errors import ModelError, UsageError

WEIGHTS_FILE = "model.safetensors"
_BLOCK_VALUES = 1 << 24
"""Number of values to dequantize at a time: 64 MiB in float32."""
_F16_MAX = 65504.0
_MOST_LAYERS = 1000


@dataclass(frozen=True)
class Converted:
    """A summary of the written model."""

    architecture: str
    tensors: int
    parameters: int
    dtype: str
    """``F32``, ``F16`` or ``BF16``."""
    quantization: str
    """The most common type of the file's matrices, e.g. ``Q4_K``."""


def check_convertible(path: Path) -> Header:
    """Refuse a file that ``convert_to_hf`` cannot convert; only its header is read.

    Raises:
        ModelError: the file cannot be converted, or is missing or damaged.
    """
    header = check_model_file(path)
    with damage_explained(path, hint=HINT):
        check_settings(header)
        known = _names(header)
    unknown = [
        tensor.name
        for tensor in header.tensors
        if tensor.name not in known and not _left_out(header, tensor.name)
    ]
    if unknown:
        raise ModelError(
            f"{path}: tensor '{unknown[0]}' has no place in a {header.architecture} model"
            " (a mixture of experts?)",
            hint=HINT,
        )
    with damage_explained(path, hint=HINT):
        check_tokenizer(header)
        _check_tensors(header)
    return header


def _names(header: Header) -> dict[str, str]:
    """GGUF's name of each tensor with a place in the model -> its name there."""
    if header.architecture in recurrent.FAMILIES:
        return {name: place.name for name, place in _places(header).items()}
    names = {t.name: hf_name(header.architecture, t.name) for t in header.tensors}
    return {name: place for name, place in names.items() if place is not None}


def _places(header: Header) -> dict[str, recurrent.Place]:
    """The places of the tensors of a model with recurrent layers."""
    shapes = {tensor.name: tensor.shape[::-1] for tensor in header.tensors}
    return recurrent.places(header, (shapes.get("token_embd.weight") or (0,))[0])


def _left_out(header: Header, name: str) -> bool:
    """Whether a tensor is not written: the settings say it, or nothing here uses it."""
    if header.architecture in recurrent.FAMILIES:
        return recurrent.is_left_out(header, name)
    return name == ROPE_FACTORS


def _check_tensors(header: Header) -> None:
    if header.architecture in recurrent.FAMILIES:
        _check_places(header)
        return
    heads, kv_heads = head_counts(header)
    shapes = {tensor.name: tensor.shape[::-1] for tensor in header.tensors}
    # ggml names the fastest dimension first.
    vocabulary = (shapes.get("token_embd.weight") or (0,))[0]
    sizes = Sizes(
        header.architecture,
        header.architecture_value("block_count"),
        header.architecture_value("embedding_length"),
        heads,
        kv_heads,
        head_dim(header),
        header.architecture_value("feed_forward_length"),
        vocabulary,
    )
    if len(shapes) < len(header.tensors):
        raise ModelError(f"{header.path} is damaged: it has a tensor twice", hint=HINT)
    if not (0 < sizes.layers <= _MOST_LAYERS and min(heads, kv_heads, sizes.head_dim) > 0):
        raise ModelError(f"{header.path} is damaged: it has no layers or no heads", hint=HINT)
    check_complete(header.path, sizes, shapes)
    for name, shape in shapes.items():
        if name != ROPE_FACTORS:
            check_shape(header.path, sizes, name, shape)


def _check_places(header: Header) -> None:
    """Refuse a model with recurrent layers that lacks tensors or has them in other shapes."""
    shapes = {tensor.name: tensor.shape[::-1] for tensor in header.tensors}
    if len(shapes) < len(header.tensors):
        raise ModelError(f"{header.path} is damaged: it has a tensor twice", hint=HINT)
    places = _places(header)
    missing = sorted(places.keys() - shapes.keys() - recurrent.OPTIONAL)
    if missing:
        raise ModelError(
            f"{header.path} lacks the tensors {', '.join(missing[:3])}"
            + (f" and {len(missing) - 3} more" if len(missing) > 3 else ""),
            hint=HINT,
        )
    for name, place in places.items():
        if name in shapes and _without_ones(shapes[name]) != _without_ones(place.shape):
            raise ModelError(
                f"{header.path}: tensor '{name}' has the shape {shapes[name]}, but the settings say"
                f" {place.shape}",
                hint=HINT,
            )


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without 1s in front, which llama.cpp leaves out of the files that it writes."""
    while shape[:1] == (1,):
        shape = shape[1:]
    return shape


def convert_to_hf(
    path: Path, out: Path, *, on_progress: Callable[[int, int], None] | None = None
) -> Converted:
    """Write a GGUF model as a directory with weights, settings, tokenizer and chat template.

    Matrices become f16; if all of the file's matrices are f32 or bf16, they keep that type. The
    conversion needs about 100 MB of memory besides the vocabulary, whatever the model's size.

    Args:
        path: the GGUF file.
        out: the directory; it must not exist, and appears only when it is complete.
        on_progress: called with (bytes written, total bytes).

    Raises:
        ModelError: see ``check_convertible``.
        UsageError: ``out`` cannot be written.
    """
    with damage_explained(path, hint=HINT):
        return _convert_to_hf(path, out, on_progress)


def _convert_to_hf(
    path: Path, out: Path, on_progress: Callable[[int, int], None] | None
) -> Converted:
    header = check_convertible(path)
    reader = gguf.GGUFReader(path)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    dtype = _dtype([tensor for tensor in reader.tensors if not recurrent.is_small(tensor.name)])
    total = sum(int(tensor.n_elements) for tensor in reader.tensors) * (4 if dtype == "F32" else 2)
    progress = _BytesWritten(on_progress, total)
    scratch: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        config = config_of(header, tensors)
        text = json.dumps(config, indent=2, allow_nan=False) + "\n"
        (scratch / "config.json").write_text(text)
        write_tokenizer(reader, header, scratch, int(config["vocab_size"]))
        kept = [tensor for tensor in reader.tensors if not _left_out(header, tensor.name)]
        if header.architecture in recurrent.FAMILIES:
            places = _places(header)
            written = [
                _recurrent_tensor(tensor, header, places[tensor.name], dtype, progress)
                for tensor in kept
            ]
        else:
            written = [_lazy_tensor(tensor, header, dtype, progress) for tensor in kept]
        write_tensors(scratch / WEIGHTS_FILE, written)
        scratch.rename(out)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
    kinds = [t.tensor_type.name for t in reader.tensors if len(t.shape) > 1]
    return Converted(
        architecture=header.architecture,
        tensors=len(written),
        parameters=sum(int(tensor.n_elements) for tensor in reader.tensors),
        dtype=dtype,
        quantization=max(sorted(set(kinds)), key=kinds.count),
    )


class _BytesWritten:
    """Counts written bytes and reports them."""

    def __init__(self, report: Callable[[int, int], None] | None, total: int) -> None:
        self._report = report
        self._total = total
        self._done = 0

    def add(self, size: int) -> None:
        self._done += size
        if self._report is not None:
            self._report(self._done, self._total)


def _dtype(tensors: list[Any]) -> str:
    kinds = {tensor.tensor_type.name for tensor in tensors if len(tensor.shape) > 1}
    # One type for all: with a mixture, a GPU would compute in the wider type.
    return kinds.pop() if kinds in ({"F32"}, {"BF16"}) else "F16"


def _lazy_tensor(tensor: Any, header: Header, dtype: str, progress: _BytesWritten) -> LazyTensor:
    architecture = header.architecture
    name = hf_name(architecture, tensor.name)
    assert name is not None
    shape = tuple(int(size) for size in reversed(tensor.shape.tolist()))
    heads = rotated_heads(tensor.name, *head_counts(header)) if permutes(architecture) else 0
    # Gemma multiplies by 1 + weight, llama.cpp by the stored value.
    shift = architecture.startswith("gemma") and tensor.name.endswith("norm.weight")

    def parts() -> Iterator[npt.NDArray[Any]]:
        for rows in _rows(tensor, shape, whole=heads > 0):
            values = unpermute_rows(rows, heads) if heads else rows - np.float32(shift)
            converted = _convert(values, dtype, tensor.name)
            progress.add(converted.nbytes)
            yield converted

    return LazyTensor(name, dtype, shape, parts)


def _recurrent_tensor(
    tensor: Any, header: Header, place: recurrent.Place, dtype: str, progress: _BytesWritten
) -> LazyTensor:
    if len(place.shape) == 1 or recurrent.is_small(tensor.name):
        dtype = "F32"

    def parts() -> Iterator[npt.NDArray[Any]]:
        # Of the embeddings, which are most of a small model, some rows at a time.
        whole = tensor.name not in ("token_embd.weight", "output.weight")
        for rows in _rows(tensor, place.shape, whole=whole):
            converted = _convert(recurrent.to_mlx(header, tensor.name, rows), dtype, tensor.name)
            progress.add(converted.nbytes)
            yield converted

    return LazyTensor(place.name, dtype, place.written, parts)


def _rows(tensor: Any, shape: tuple[int, ...], *, whole: bool) -> Iterator[npt.NDArray[Any]]:
    """A tensor's values as float32, some rows at a time."""
    kind = tensor.tensor_type
    if len(shape) == 1 or whole:
        yield gguf.quants.dequantize(tensor.data, kind).reshape(shape)
        return
    step = max(1, _BLOCK_VALUES // shape[-1])
    for start in range(0, shape[0], step):
        yield gguf.quants.dequantize(tensor.data[start : start + step], kind)


def _convert(values: npt.NDArray[Any], dtype: str, name: str) -> npt.NDArray[Any]:
    values = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(values).all():
        raise ModelError(f"tensor '{name}' contains values that are not finite numbers")
    if dtype == "F32":
        return values
    if dtype == "BF16":
        bits = values.view(np.uint32)
        # Round to the nearest, ties to even.
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    if np.abs(values).max(initial=0.0) > _F16_MAX:
        raise ModelError(f"tensor '{name}' contains values too large for f16", hint=HINT)
    return values.astype(np.float16)
