"""A model in Hugging Face's format, which MLX also reads, to GGUF.

Source: https://github.com/ggml-org/llama.cpp (convert_hf_to_gguf.py) for keys and row orders.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np

from agentr_lite.convert.names import gguf_name, permute_rows, permutes, rotated_heads
from agentr_lite.convert.rope import llama3_factors
from agentr_lite.convert.safetensors_io import FloatArray, read_model_tensors
from agentr_lite.convert.tokenizer import read_json, read_tokenizer
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
_OTHER_CONVERTER = "llama.cpp's convert_hf_to_gguf.py supports more models."


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
    kind = str(config.get("model_type"))
    if kind not in ARCHITECTURES:
        raise ModelError(
            f"cannot convert a model of type '{kind}'; supported types: {', '.join(ARCHITECTURES)}",
            hint=_OTHER_CONVERTER,
        )
    architecture = ARCHITECTURES[kind]
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
    """The settings of config.json that GGUF needs."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.layers = int(config["num_hidden_layers"])
        self.width = int(config["hidden_size"])
        self.heads = int(config["num_attention_heads"])
        self.kv_heads = int(config.get("num_key_value_heads") or self.heads)
        self.gemma = str(config["model_type"]).startswith("gemma")
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
        self.rope_linear = float(rope["factor"]) if kind == "linear" else None
        self.rope_factors = (
            llama3_factors(rope, self.rope_base, self.head_dim) if kind == "llama3" else None
        )
        if kind not in ("default", "linear", "llama3") or (self.gemma and kind != "default"):
            raise ModelError(f"RoPE scaling '{kind}' is not supported", hint=_OTHER_CONVERTER)
        if config.get("use_sliding_window"):
            raise ModelError("sliding-window attention is not supported", hint=_OTHER_CONVERTER)
        self.window, self.caps = _gemma_settings(config, self.head_dim)

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
        if self.rope_linear is not None:
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(self.rope_linear)
        if self.window is not None:
            writer.add_sliding_window(self.window)
        if self.caps is not None:
            writer.add_attn_logit_softcapping(self.caps[0])
            writer.add_final_logit_softcapping(self.caps[1])


def _gemma_settings(
    config: dict[str, Any], head_dim: int
) -> tuple[int | None, tuple[float, float] | None]:
    """Gemma's window in tokens, and the caps of attention and output; None if there are none.

    llama.cpp takes all other values from the architecture, so they must be the usual ones.
    """
    kind = config["model_type"]
    if kind not in ("gemma2", "gemma3_text"):
        return None, None
    if float(config.get("query_pre_attn_scalar", head_dim)) != head_dim:
        raise ModelError(
            "query_pre_attn_scalar other than head_dim is not supported", hint=_OTHER_CONVERTER
        )
    if kind == "gemma2":
        caps = (
            config.get("attn_logit_softcapping", 50.0),
            config.get("final_logit_softcapping", 30.0),
        )
        return int(config.get("sliding_window", 4096)), (float(caps[0]), float(caps[1]))
    pattern = config.get("sliding_window_pattern", 6)
    local = config.get("rope_local_base_freq", 10_000.0)
    if int(pattern) != 6 or float(local) != 10_000.0:
        raise ModelError(
            "a gemma3 model is supported only with sliding_window_pattern 6 and"
            " rope_local_base_freq 10,000",
            hint=_OTHER_CONVERTER,
        )
    return int(config.get("sliding_window", 512)), None


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
                hint="Fuse adapters and use unquantized weights before the conversion.",
            )
        heads = rotated_heads(target, shape.heads, shape.kv_heads)
        if heads and permutes(architecture):
            tensor = permute_rows(tensor, heads)
        if target == "token_embd.weight" and tensor.shape[0] != shape.vocab_size:
            raise ModelError(
                f"the embedding has {tensor.shape[0]} rows, but config.json says vocab_size"
                f" {shape.vocab_size}"
            )
        if shape.gemma and target.endswith("norm.weight"):
            # Gemma multiplies by 1 + weight, llama.cpp by the stored value.
            tensor = tensor + np.float32(1)
        seen.add(target)
        _add_tensor(writer, target, tensor, dtype)
    if shape.rope_factors is not None:
        writer.add_tensor("rope_freqs.weight", shape.rope_factors)
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
