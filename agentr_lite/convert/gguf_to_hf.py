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
from agentr_lite.convert.gguf_tokenizer import check_tokenizer, write_tokenizer
from agentr_lite.convert.names import hf_name, permutes, rotated_heads, unpermute_rows
from agentr_lite.convert.rope import llama3_scaling
from agentr_lite.convert.safetensors_io import LazyTensor, write_tensors
from agentr_lite.core.errors import ModelError, UsageError

ARCHITECTURES = ("llama", "qwen2", "qwen3")
"""Supported values of ``general.architecture``; ``model_type`` in config.json is the same."""

WEIGHTS_FILE = "model.safetensors"
_ROPE_FACTORS = "rope_freqs.weight"
_BLOCK_VALUES = 1 << 24
"""Number of values to dequantize at a time: 64 MiB in float32."""
_F16_MAX = 65504.0
_HINT = "Give the same model in the MLX/HF layout: --set train_model=/path/to/dir"


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
    if header.architecture not in ARCHITECTURES:
        raise ModelError(
            f"{path}: weights of architecture '{header.architecture}' cannot be taken from a GGUF"
            f" file; supported architectures: {', '.join(ARCHITECTURES)}",
            hint=_HINT,
        )
    unknown = [
        tensor.name
        for tensor in header.tensors
        if hf_name(tensor.name) is None and tensor.name != _ROPE_FACTORS
    ]
    if unknown:
        raise ModelError(
            f"{path}: tensor '{unknown[0]}' has no place in a {header.architecture} model"
            " (a mixture of experts?)",
            hint=_HINT,
        )
    key = header.architecture
    scaling = header.metadata.get(f"{key}.rope.scaling.type", "none")
    if scaling not in ("none", "linear"):
        raise ModelError(f"{path}: RoPE scaling '{scaling}' is not supported", hint=_HINT)
    window = header.architecture_value("attention.sliding_window")
    if 0 < window < header.architecture_value("context_length"):
        raise ModelError(f"{path}: sliding-window attention is not supported", hint=_HINT)
    head = _head_dim(header)
    if header.architecture_value("rope.dimension_count", head) != head:
        raise ModelError(f"{path}: partly rotated heads are not supported", hint=_HINT)
    check_tokenizer(header)
    return header


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
    header = check_convertible(path)
    reader = gguf.GGUFReader(path)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    dtype = _dtype(reader.tensors)
    total = sum(int(tensor.n_elements) for tensor in reader.tensors) * (4 if dtype == "F32" else 2)
    progress = _BytesWritten(on_progress, total)
    scratch: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        config = _config(header, tensors)
        (scratch / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        write_tokenizer(reader, header, scratch, int(config["vocab_size"]))
        written = [
            _lazy_tensor(tensor, header, dtype, progress)
            for tensor in reader.tensors
            if tensor.name != _ROPE_FACTORS
        ]
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


def _head_dim(header: Header) -> int:
    width, heads = header.architecture_value("embedding_length"), _heads(header)[0]
    return header.architecture_value("attention.key_length", width // max(1, heads))


def _heads(header: Header) -> tuple[int, int]:
    heads = header.architecture_value("attention.head_count", 1)
    return heads, header.architecture_value("attention.head_count_kv", heads)


def _config(header: Header, tensors: dict[str, Any]) -> dict[str, Any]:
    """The contents of config.json, by the file's metadata and tensors."""
    architecture = header.architecture
    heads, kv_heads = _heads(header)
    metadata = header.metadata
    base = float(metadata.get(f"{architecture}.rope.freq_base", 10_000.0))
    embedding = tensors.get("token_embd.weight")
    needed = ["token_embd.weight", "output_norm.weight"]
    layers = header.architecture_value("block_count")
    needed += [f"blk.{layer}.ffn_down.weight" for layer in range(layers)]
    missing = [name for name in needed if name not in tensors]
    if missing or embedding is None:
        raise ModelError(f"{header.path} lacks the tensors {', '.join(missing)}")
    config: dict[str, Any] = {
        "model_type": architecture,
        "architectures": [f"{architecture.capitalize()}ForCausalLM"],
        "hidden_size": header.architecture_value("embedding_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": _head_dim(header),
        "intermediate_size": header.architecture_value("feed_forward_length"),
        "vocab_size": int(embedding.shape[1]),
        "max_position_embeddings": header.architecture_value("context_length"),
        "rms_norm_eps": _short(metadata[f"{architecture}.attention.layer_norm_rms_epsilon"]),
        "rope_theta": _short(base),
        "tie_word_embeddings": "output.weight" not in tensors,
        "attention_bias": "blk.0.attn_q.bias" in tensors,
        "hidden_act": "silu",
    }
    for name in ("eos", "bos"):
        token = metadata.get(f"tokenizer.ggml.{name}_token_id")
        if token is not None:
            config[f"{name}_token_id"] = int(token)
    if metadata.get(f"{architecture}.rope.scaling.type") == "linear":
        factor = _short(metadata.get(f"{architecture}.rope.scaling.factor", 1.0))
        config["rope_scaling"] = {"rope_type": "linear", "factor": factor}
    if _ROPE_FACTORS in tensors:
        factors = np.asarray(tensors[_ROPE_FACTORS].data, np.float32)
        config["rope_scaling"] = llama3_scaling(factors, base, config["head_dim"])
    return config


def _short(value: float) -> float:
    """The float with the shortest text for a float32: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def _dtype(tensors: list[Any]) -> str:
    kinds = {tensor.tensor_type.name for tensor in tensors if len(tensor.shape) > 1}
    # One type for all: with a mixture, a GPU would compute in the wider type.
    return kinds.pop() if kinds in ({"F32"}, {"BF16"}) else "F16"


def _lazy_tensor(tensor: Any, header: Header, dtype: str, progress: _BytesWritten) -> LazyTensor:
    name = hf_name(tensor.name)
    assert name is not None
    shape = tuple(int(size) for size in reversed(tensor.shape.tolist()))
    heads = rotated_heads(tensor.name, *_heads(header)) if permutes(header.architecture) else 0

    def parts() -> Iterator[npt.NDArray[Any]]:
        for rows in _rows(tensor, shape, whole=heads > 0):
            values = unpermute_rows(rows, heads) if heads else rows
            converted = _convert(values, dtype, tensor.name)
            progress.add(converted.nbytes)
            yield converted

    return LazyTensor(name, dtype, shape, parts)


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
        raise ModelError(f"tensor '{name}' contains values too large for f16", hint=_HINT)
    return values.astype(np.float16)
