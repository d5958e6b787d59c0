"""Tiny random Gemma 4 models in both formats, with one and the same weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np

from agentr_lite.convert.tokenizer import read_tokenizer
from tests.support.tiny_hf import make_tiny_hf

Kind = Literal["small", "large"]
"""``small``: as E2B, with inputs for each layer, and last layers without keys of their own.
``large``: as 31B, whose layers without a window use their keys as values."""

_VOCABULARY = 400
_SLIDING, _FULL = "sliding_attention", "full_attention"
_SHARED: dict[str, Any] = {
    "model_type": "gemma4_text",
    "architectures": ["Gemma4ForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "head_dim": 16,
    "global_head_dim": 32,
    "rms_norm_eps": 1e-6,
    "vocab_size": _VOCABULARY,
    "vocab_size_per_layer_input": _VOCABULARY,
    "sliding_window": 24,
    "max_position_embeddings": 2048,
    "final_logit_softcapping": 30.0,
    "tie_word_embeddings": True,
    "eos_token_id": 4,
    "rope_parameters": {
        _FULL: {
            "partial_rotary_factor": 0.25,
            "rope_theta": 1_000_000.0,
            "rope_type": "proportional",
        },
        _SLIDING: {"rope_theta": 10_000.0, "rope_type": "default"},
    },
}
_KINDS: dict[Kind, dict[str, Any]] = {
    "small": {
        "num_hidden_layers": 6,
        "layer_types": [_SLIDING, _SLIDING, _SLIDING, _FULL, _SLIDING, _FULL],
        "num_kv_shared_layers": 2,
        "num_key_value_heads": 1,
        "hidden_size_per_layer_input": 16,
        "use_double_wide_mlp": True,
    },
    "large": {
        "num_hidden_layers": 4,
        "layer_types": [_SLIDING, _FULL, _SLIDING, _FULL],
        "num_kv_shared_layers": 0,
        "num_key_value_heads": 2,
        "num_global_key_value_heads": 1,
        "hidden_size_per_layer_input": 0,
        "use_double_wide_mlp": False,
        "attention_k_eq_v": True,
    },
}


def make_tiny_gemma4(folder: Path, kind: Kind, *, seed: int = 0) -> tuple[Path, Path]:
    """Write a random model.

    Args:
        folder: must exist.
        kind: of the model.
        seed: of its weights.

    Returns:
        A directory for MLX, and a GGUF file.
    """
    from agentr_lite.actors.mlx.blas import use_fast_blas

    use_fast_blas()
    from mlx.utils import tree_flatten
    from mlx_lm.models.gemma4_text import Model, ModelArgs
    from safetensors.numpy import save_file

    config = _SHARED | _KINDS[kind]
    # Its tokenizer is used; everything else is written anew.
    directory = make_tiny_hf(folder / "hf", vocab_size=_VOCABULARY)
    (directory / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(seed)
    model = Model(ModelArgs.from_dict(json.loads(json.dumps(config))))
    weights = {
        name: _values(rng, name, array.shape) for name, array in tree_flatten(model.parameters())
    }
    save_file(weights, str(directory / "model.safetensors"), metadata={"format": "mlx"})
    _write_gguf(folder / "m.gguf", directory, config, weights)
    return directory, folder / "m.gguf"


def _values(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith("layer_scalar"):
        values = rng.uniform(0.6, 1.0, shape)
    elif name.endswith(("q_norm.weight", "k_norm.weight")):
        # Attention is not divided by the root of a head's width.
        values = rng.normal(0.6, 0.1, shape)
    elif "norm" in name:
        values = rng.normal(1.0, 0.2, shape)
    else:
        values = rng.normal(0.0, 1.5 / np.sqrt(shape[-1]), shape)
    return values.astype(np.float32)


def _write_gguf(
    path: Path, directory: Path, config: dict[str, Any], weights: dict[str, np.ndarray]
) -> None:
    layers = config["num_hidden_layers"]
    windows = [kind == _SLIDING for kind in config["layer_types"]]
    own = layers - config["num_kv_shared_layers"]
    wide = 2 if config["use_double_wide_mlp"] else 1
    heads = config["num_key_value_heads"]
    everywhere = config.get("num_global_key_value_heads", heads)
    writer = gguf.GGUFWriter(path, "gemma4")
    writer.add_name("tiny")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(layers)
    writer.add_feed_forward_length(
        [config["intermediate_size"] * (wide if n >= own else 1) for n in range(layers)]
    )
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv([heads if window else everywhere for window in windows])
    writer.add_key_length(config["global_head_dim"])
    writer.add_value_length(config["global_head_dim"])
    writer.add_key_length_swa(config["head_dim"])
    writer.add_value_length_swa(config["head_dim"])
    writer.add_rope_dimension_count(config["global_head_dim"])
    writer.add_rope_dimension_count_swa(config["head_dim"])
    writer.add_rope_freq_base(1_000_000.0)
    writer.add_rope_freq_base_swa(10_000.0)
    writer.add_sliding_window(config["sliding_window"])
    writer.add_sliding_window_pattern(windows)
    writer.add_shared_kv_layers(config["num_kv_shared_layers"])
    writer.add_embedding_length_per_layer_input(config["hidden_size_per_layer_input"])
    writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(_VOCABULARY)
    read_tokenizer(directory, _VOCABULARY).write_to(writer)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA4, layers)
    for name, values in weights.items():
        # One number for a layer, whose name ends without ".weight".
        known = f"{name}.weight" if name.endswith("layer_scalar") else name
        target = names.get_name(known, try_suffixes=(".weight",))
        assert target is not None, name
        writer.add_tensor(target, values)
    half = config["global_head_dim"] // 2
    turned = int(half * 0.25)
    rates = np.array([1.0] * turned + [1e30] * (half - turned), np.float32)
    writer.add_tensor("rope_freqs.weight", rates)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
