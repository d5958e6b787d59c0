"""A model in Hugging Face's format (which MLX reads as it is) to GGUF.

Source: https://github.com/ggml-org/llama.cpp (convert_hf_to_gguf.py) for keys and row orders.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np

from agentr_lite.actors.convert.names import gguf_name, permute_rows, permutes, rotated_heads
from agentr_lite.actors.convert.safetensors_io import FloatArray, read_model_tensors
from agentr_lite.actors.convert.tokenizer import read_json, read_tokenizer
from agentr_lite.errors import ModelError, UsageError

WeightType = Literal["f32", "f16", "q8_0"]

SUPPORTED_MODEL_TYPES = ("llama", "qwen2", "qwen3")
"""``model_type`` in config.json; GGUF's architecture has the same name."""

_TYPES = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}
_Q8_0_BLOCK = 32
_OTHER_CONVERTER = "llama.cpp's convert_hf_to_gguf.py knows more models."


def convert_to_gguf(hf_dir: Path, out: Path, *, dtype: WeightType) -> None:
    """Write a model directory as one GGUF file, tokenizer and chat template included.

    Args:
        hf_dir: config.json, safetensors, tokenizer.json and tokenizer_config.json.
        out: the file to write; it appears only when it is whole.
        dtype: of the matrices. Vectors stay f32; under ``q8_0`` rows that do not fill blocks of
            32 become f16.

    Raises:
        ModelError: the directory is incomplete or of a kind that is not supported.
        UsageError: ``out`` cannot be written.
    """
    config = read_json(hf_dir / "config.json")
    architecture = str(config.get("model_type"))
    if architecture not in SUPPORTED_MODEL_TYPES:
        raise ModelError(
            f"cannot convert a model of type '{architecture}': known are"
            f" {', '.join(SUPPORTED_MODEL_TYPES)}",
            hint=_OTHER_CONVERTER,
        )
    try:
        shape = _Shape(config)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{hf_dir / 'config.json'}: missing or wrong value ({error})") from error
    tokenizer = read_tokenizer(hf_dir, shape.vocab_size)
    partial = out.with_name(out.name + ".partial")
    try:
        writer = gguf.GGUFWriter(partial, architecture)
        writer.add_name(str(config.get("name") or hf_dir.resolve().name))
        shape.write_to(writer, _TYPES[dtype][1])
        tokenizer.write_to(writer)
        _add_tensors(writer, hf_dir, architecture, shape, dtype)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        partial.replace(out)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


class _Shape:
    """The sizes in config.json under GGUF's names."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.layers = int(config["num_hidden_layers"])
        self.width = int(config["hidden_size"])
        self.heads = int(config["num_attention_heads"])
        self.kv_heads = int(config.get("num_key_value_heads") or self.heads)
        self.head_dim = int(config.get("head_dim") or self.width // self.heads)
        self.feed_forward = int(config["intermediate_size"])
        self.vocab_size = int(config["vocab_size"])
        self.context = int(config.get("max_position_embeddings") or 2048)
        self.epsilon = float(config["rms_norm_eps"])
        # Defaults differ between libraries: without the key, what the files hold decides.
        self.tied: bool | None = config.get("tie_word_embeddings")
        # transformers 5 moved rope_theta and rope_scaling into rope_parameters.
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        self.rope_base = float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0)
        kind = rope.get("rope_type") or rope.get("type") or "default"
        if kind != "default":
            raise ModelError(f"RoPE scaling '{kind}' is not supported", hint=_OTHER_CONVERTER)
        if config.get("use_sliding_window"):
            raise ModelError("sliding-window attention is not supported", hint=_OTHER_CONVERTER)

    def write_to(self, writer: gguf.GGUFWriter, file_type: gguf.LlamaFileType) -> None:
        writer.add_file_type(file_type)
        writer.add_context_length(self.context)
        writer.add_embedding_length(self.width)
        writer.add_block_count(self.layers)
        writer.add_feed_forward_length(self.feed_forward)
        writer.add_head_count(self.heads)
        writer.add_head_count_kv(self.kv_heads)
        writer.add_key_length(self.head_dim)
        writer.add_value_length(self.head_dim)
        writer.add_rope_dimension_count(self.head_dim)
        writer.add_rope_freq_base(self.rope_base)
        writer.add_layer_norm_rms_eps(self.epsilon)
        writer.add_vocab_size(self.vocab_size)


def _add_tensors(
    writer: gguf.GGUFWriter, hf_dir: Path, architecture: str, shape: _Shape, dtype: WeightType
) -> None:
    seen: set[str] = set()
    for name, tensor in read_model_tensors(hf_dir):
        if name.endswith("rotary_emb.inv_freq") or (name == "lm_head.weight" and shape.tied):
            continue
        target = gguf_name(architecture, shape.layers, name)
        if target is None:
            raise ModelError(
                f"tensor '{name}' has no place in a GGUF of architecture '{architecture}'",
                hint="Adapters must be fused and weights unquantized before conversion.",
            )
        heads = rotated_heads(target, shape.heads, shape.kv_heads)
        if heads and permutes(architecture):
            tensor = permute_rows(tensor, heads)
        if target == "token_embd.weight" and tensor.shape[0] != shape.vocab_size:
            raise ModelError(
                f"the embedding has {tensor.shape[0]} rows, but config.json says vocab_size"
                f" {shape.vocab_size}"
            )
        seen.add(target)
        _add_tensor(writer, target, tensor, dtype)
    needed = {"token_embd.weight", "output_norm.weight"}
    needed |= {f"blk.{layer}.attn_q.weight" for layer in range(shape.layers)}
    if shape.tied is False:
        needed.add("output.weight")
    if missing := sorted(needed - seen):
        raise ModelError(f"{hf_dir} lacks the tensors for {', '.join(missing)}")


def _add_tensor(writer: gguf.GGUFWriter, name: str, tensor: FloatArray, dtype: WeightType) -> None:
    if tensor.ndim == 1 or dtype == "f32":
        writer.add_tensor(name, tensor.astype(np.float32))
    elif dtype == "f16" or tensor.shape[-1] % _Q8_0_BLOCK:
        writer.add_tensor(name, tensor.astype(np.float16))
    else:
        kind = _TYPES["q8_0"][0]
        writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
