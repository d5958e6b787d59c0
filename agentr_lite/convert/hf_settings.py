"""A GGUF file's settings as config.json, in the keys that transformers 4 and 5 and mlx-lm read."""

from __future__ import annotations

from typing import Any

import numpy as np

from agentr_lite.actors.llamacpp.gguf_header import Header
from agentr_lite.actors.mlx.model_settings import GEMMA3_PATTERN
from agentr_lite.convert import recurrent
from agentr_lite.convert.gguf_settings import GEMMA2_WINDOW, fixed_scalar
from agentr_lite.convert.rope import llama3_scaling
from agentr_lite.core.errors import ModelError

ARCHITECTURES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
    **recurrent.FAMILIES,
}
"""Supported values of ``general.architecture`` -> ``model_type`` in config.json."""
ROPE_FACTORS = "rope_freqs.weight"
HINT = "Give the same model in the MLX/HF layout: --set train_model=/path/to/dir"
_WINDOWED = ("gemma2", "gemma3")


def check_settings(header: Header) -> None:
    """Refuse settings that MLX would compute in another way.

    Raises:
        ModelError: there are such settings.
    """
    path, architecture = header.path, header.architecture
    if architecture not in ARCHITECTURES:
        raise ModelError(
            f"{path}: weights of architecture '{architecture}' cannot be taken from a GGUF file;"
            f" supported architectures: {', '.join(ARCHITECTURES)}",
            hint=HINT,
        )
    if architecture in recurrent.FAMILIES:
        try:
            recurrent.check_recurrent(header)
        except ModelError as error:
            error.hint = HINT
            raise
        return
    scaling = header.metadata.get(f"{architecture}.rope.scaling.type", "none")
    scalable = architecture not in ("gemma", "gemma2")
    if scaling != "none" and not (scaling == "linear" and scalable):
        raise ModelError(f"{path}: RoPE scaling '{scaling}' is not supported", hint=HINT)
    window = header.architecture_value("attention.sliding_window")
    if architecture not in _WINDOWED and 0 < window < header.architecture_value("context_length"):
        raise ModelError(f"{path}: sliding-window attention is not supported", hint=HINT)
    pattern = header.metadata.get(f"{architecture}.attention.sliding_window_pattern")
    if pattern is not None and (architecture != "gemma3" or not isinstance(pattern, int)):
        raise ModelError(f"{path}: this pattern of layers is not supported", hint=HINT)
    if architecture == "gemma3" and (
        not window or header.architecture_value("final_logit_softcapping")
    ):
        raise ModelError(
            f"{path}: a gemma3 model without windows or with soft caps is not supported", hint=HINT
        )
    head = head_dim(header)
    if header.architecture_value("rope.dimension_count", head) != head:
        raise ModelError(f"{path}: partly rotated heads are not supported", hint=HINT)


def head_dim(header: Header) -> int:
    """The width of a head."""
    width, heads = header.architecture_value("embedding_length"), head_counts(header)[0]
    return header.architecture_value("attention.key_length", width // max(1, heads))


def head_counts(header: Header) -> tuple[int, int]:
    """(query heads, key-value heads)."""
    heads = header.architecture_value("attention.head_count", 1)
    return heads, header.architecture_value("attention.head_count_kv", heads)


def config_of(header: Header, tensors: dict[str, Any]) -> dict[str, Any]:
    """The contents of config.json.

    Args:
        header: the file's header, checked.
        tensors: gguf's tensors by name.

    Raises:
        ModelError: the file is incomplete, or its scaling of frequencies is unknown.
    """
    architecture = header.architecture
    if architecture in recurrent.FAMILIES:
        return recurrent.config_of(header, tensors, int(tensors["token_embd.weight"].shape[1]))
    heads, kv_heads = head_counts(header)
    metadata = header.metadata
    # llama.cpp's default, whatever the architecture.
    base = float(metadata.get(f"{architecture}.rope.freq_base", 10_000.0))
    embedding = tensors.get("token_embd.weight")
    needed = ["token_embd.weight", "output_norm.weight"]
    layers = header.architecture_value("block_count")
    needed += [f"blk.{layer}.ffn_down.weight" for layer in range(layers)]
    missing = [name for name in needed if name not in tensors]
    if missing or embedding is None:
        raise ModelError(f"{header.path} lacks the tensors {', '.join(missing)}")
    kind = ARCHITECTURES[architecture]
    config: dict[str, Any] = {
        "model_type": kind,
        "architectures": [f"{architecture.capitalize()}ForCausalLM"],
        "hidden_size": header.architecture_value("embedding_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim(header),
        "intermediate_size": header.architecture_value("feed_forward_length"),
        "vocab_size": int(embedding.shape[1]),
        "max_position_embeddings": header.architecture_value("context_length"),
        "rms_norm_eps": _short(metadata[f"{architecture}.attention.layer_norm_rms_epsilon"]),
        "rope_theta": _short(base),
        "tie_word_embeddings": "output.weight" not in tensors,
        "attention_bias": "blk.0.attn_q.bias" in tensors,
    }
    if architecture.startswith("gemma"):
        config |= {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh"}
        config |= _gemma_settings(header, layers, heads)
    else:
        config["hidden_act"] = "silu"
    for name in ("eos", "bos"):
        token = metadata.get(f"tokenizer.ggml.{name}_token_id")
        if token is not None:
            config[f"{name}_token_id"] = int(token)
    if metadata.get(f"{architecture}.rope.scaling.type") == "linear":
        factor = _short(metadata.get(f"{architecture}.rope.scaling.factor", 1.0))
        config["rope_scaling"] = {"rope_type": "linear", "factor": factor}
    if ROPE_FACTORS in tensors:
        factors = np.asarray(tensors[ROPE_FACTORS].data, np.float32)
        config["rope_scaling"] = llama3_scaling(factors, base, config["head_dim"])
    return config


def _gemma_settings(header: Header, layers: int, heads: int) -> dict[str, Any]:
    """What Gemma's later generations have besides."""
    architecture = header.architecture
    kind = ARCHITECTURES[architecture]
    width = header.architecture_value("embedding_length")
    scalar = fixed_scalar(kind, layers, width, heads, head_dim(header))
    if scalar is None:
        return {}
    settings: dict[str, Any] = {"query_pre_attn_scalar": scalar}
    if architecture == "gemma2":
        window = header.architecture_value("attention.sliding_window", GEMMA2_WINDOW)
        settings["sliding_window"] = window
        for key, default in (("attn", 50.0), ("final", 30.0)):
            value = header.metadata.get(f"gemma2.{key}_logit_softcapping", default)
            settings[f"{key}_logit_softcapping"] = _short(value)
        return settings
    local = header.metadata.get("gemma3.rope.freq_base_swa", 10_000.0)
    pattern = header.architecture_value("attention.sliding_window_pattern", GEMMA3_PATTERN)
    return settings | {
        "sliding_window": header.architecture_value("attention.sliding_window"),
        "sliding_window_pattern": pattern,
        "rope_local_base_freq": _short(local),
    }


def _short(value: float) -> float:
    """The float with the shortest text for a float32: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))
