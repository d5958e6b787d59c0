"""A model in Hugging Face's format, which MLX also reads, to GGUF.

Source: https://github.com/ggml-org/llama.cpp (convert_hf_to_gguf.py) for keys and row orders.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import gguf
import numpy as np

from agentr_lite.convert.gguf_settings import OTHER_CONVERTER, ModelSettings, model_name
from agentr_lite.convert.names import gguf_name, permute_rows, permutes, rotated_heads
from agentr_lite.convert.safetensors_io import FloatArray, read_model_tensors
from agentr_lite.convert.shapes import check_complete, check_shape
from agentr_lite.convert.tokenizer import read_json, read_tokenizer
from agentr_lite.core.damaged import damage_explained
from agentr_lite.core.errors import ModelError, UsageError

WeightType = Literal["f32", "f16", "q8_0"]

ARCHITECTURES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
}
"""``model_type`` in config.json -> GGUF's architecture."""

_TYPES = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}
_Q8_0_BLOCK = 32
F16_MAX = 65504.0
_SHOWN = 200


def convert_to_gguf(hf_dir: Path, out: Path, *, dtype: WeightType) -> None:
    """Write a model directory as one GGUF file, with its tokenizer and chat template.

    Args:
        hf_dir: has config.json, safetensors, tokenizer.json and tokenizer_config.json.
        out: the file to write; it appears only when it is complete.
        dtype: the matrices' type. Vectors stay f32; with ``q8_0``, matrices whose rows do not
            fill blocks of 32 become f16.

    Raises:
        ModelError: the directory is incomplete, or the model is of an unsupported kind.
        UsageError: ``out`` cannot be written.
    """
    config = read_json(hf_dir / "config.json")
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise ModelError(
            f"cannot convert a model of type '{str(kind)[:40]}'; supported types:"
            f" {', '.join(ARCHITECTURES)}",
            hint=OTHER_CONVERTER,
        )
    architecture = ARCHITECTURES[kind]
    try:
        settings = ModelSettings(config)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        said = str(error)[:_SHOWN]
        raise ModelError(f"{hf_dir / 'config.json'}: missing or wrong value ({said})") from error
    tokenizer = read_tokenizer(hf_dir, settings.vocab_size)
    partial = out.with_name(out.name + ".partial")
    try:
        with damage_explained(hf_dir):
            writer = gguf.GGUFWriter(partial, architecture)
            writer.add_name(model_name(config, hf_dir.resolve().name))
            settings.write_to(writer, _TYPES[dtype][1])
            tokenizer.write_to(writer)
            _add_tensors(writer, hf_dir, architecture, settings, dtype)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
        partial.replace(out)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _add_tensors(
    writer: gguf.GGUFWriter,
    hf_dir: Path,
    architecture: str,
    settings: ModelSettings,
    dtype: WeightType,
) -> None:
    sizes = settings.sizes(architecture)
    seen: set[str] = set()
    for name, tensor in read_model_tensors(hf_dir):
        if name.endswith("rotary_emb.inv_freq") or (name == "lm_head.weight" and settings.tied):
            continue
        target = gguf_name(architecture, settings.layers, name)
        if target is None:
            raise ModelError(
                f"tensor '{name}' has no place in a GGUF of architecture '{architecture}'",
                hint="Fuse adapters and use unquantized weights before the conversion.",
            )
        if target in seen:
            raise ModelError(f"{hf_dir}: two tensors would become '{target}'")
        seen.add(target)
        check_shape(hf_dir, sizes, target, tensor.shape)
        heads = rotated_heads(target, settings.heads, settings.kv_heads)
        if heads and permutes(architecture):
            tensor = permute_rows(tensor, heads)
        if settings.gemma and target.endswith("norm.weight"):
            # Gemma multiplies by 1 + weight, llama.cpp by the stored value.
            tensor = tensor + np.float32(1)
        _add_tensor(writer, target, tensor, dtype)
    if settings.rope_factors is not None:
        writer.add_tensor("rope_freqs.weight", settings.rope_factors)
    check_complete(hf_dir, sizes, seen, *["output.weight"] * (settings.tied is False))


def _add_tensor(writer: gguf.GGUFWriter, name: str, tensor: FloatArray, dtype: WeightType) -> None:
    if dtype != "f32" and np.abs(tensor).max(initial=0.0) > F16_MAX:
        raise ModelError(f"tensor '{name}' contains values too large for f16", hint="--type f32")
    if tensor.ndim == 1 or dtype == "f32":
        writer.add_tensor(name, tensor.astype(np.float32))
    elif dtype == "f16" or tensor.shape[-1] % _Q8_0_BLOCK:
        writer.add_tensor(name, tensor.astype(np.float16))
    else:
        kind = _TYPES["q8_0"][0]
        writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
