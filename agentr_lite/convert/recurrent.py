"""Models with recurrent layers: what a GGUF file holds, and the same in MLX's format.

Source: llama.cpp's converter (conversion/qwen.py, lfm2.py, granite.py, mamba.py) and its loaders
(src/models) for the tensors; mlx-lm's models for what they read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from agentr_lite.actors.llamacpp.gguf_header import Header
from agentr_lite.actors.llamacpp.recurrence import recurrent_layers
from agentr_lite.convert.names import permutes, rotated_heads, unpermute_rows
from agentr_lite.convert.orders import LinearHeads, linear_order
from agentr_lite.convert.safetensors_io import FloatArray
from agentr_lite.core.errors import ModelError

OPTIONAL = frozenset({"output.weight"})
"""GGUF's names of the tensors that a model may lack."""
FAMILIES = {"qwen35": "qwen3_5", "lfm2": "lfm2", "granitehybrid": "granitemoehybrid"}
"""GGUF's architecture -> ``model_type`` in config.json."""
_MOST_LAYERS = 1000


@dataclass(frozen=True)
class Place:
    """Where a tensor of a GGUF file belongs in a model of mlx-lm."""

    name: str
    """MLX's."""
    shape: tuple[int, ...]
    """In the GGUF file, rows first."""
    written: tuple[int, ...]
    """In MLX's format."""


def linear_heads(header: Header) -> LinearHeads | None:
    """The heads of a model's linear attention; None: it has none."""
    if header.architecture != "qwen35":
        return None
    value = header.architecture_value
    values = value("ssm.time_step_rank")
    return LinearHeads(
        value("ssm.group_count"),
        values,
        value("ssm.state_size"),
        value("ssm.inner_size") // max(1, values),
    )


def check_recurrent(header: Header) -> None:
    """Refuse settings that MLX would compute in another way, and sizes that make no sense.

    Raises:
        ModelError: there are such settings.
    """
    path, value = header.path, header.architecture_value
    heads, kv_heads = value("attention.head_count"), value("attention.head_count_kv")
    if not (0 < _layers(header) <= _MOST_LAYERS and heads > 0 and kv_heads > 0):
        raise ModelError(f"{path}: it has no layers or no heads")
    if not any(_attends(header)) or all(_attends(header)):
        raise ModelError(f"{path}: only models with attention in some layers are supported")
    if value("expert_count"):
        raise ModelError(f"{path}: mixtures of experts are not supported")
    scaling = header.metadata.get(f"{header.architecture}.rope.scaling.type", "none")
    if scaling != "none":
        raise ModelError(f"{path}: RoPE scaling '{scaling}' is not supported")
    head = _head(header)
    if header.architecture != "qwen35" and head * heads != value("embedding_length"):
        raise ModelError(f"{path}: heads of {head} numbers do not fill the width")
    if header.architecture == "granitehybrid" and value("ssm.group_count") != 1:
        raise ModelError(f"{path}: mlx-lm computes recurrent layers of several groups otherwise")
    if header.architecture != "lfm2":
        ranks, inner = value("ssm.time_step_rank"), value("ssm.inner_size")
        if min(ranks, inner, value("ssm.group_count"), value("ssm.state_size")) < 1:
            raise ModelError(f"{path}: it lacks the sizes of its recurrent layers")
        if inner % ranks:
            raise ModelError(f"{path}: {ranks} heads do not divide {inner} numbers")
    linear = linear_heads(header)
    if linear is not None:
        if not linear.fit:
            raise ModelError(
                f"{path}: {linear.values} heads of values do not share {linear.keys} heads of keys"
            )
        attends = [
            (layer + 1) % _interval(header) == 0 for layer in range(_layers(header))
        ]  # mlx-lm knows only this pattern.
        if attends != _attends(header):
            raise ModelError(f"{path}: this pattern of layers is not supported")


def places(header: Header, vocabulary: int) -> dict[str, Place]:
    """GGUF's name of each tensor that the model needs or may have -> where it belongs.

    Args:
        header: of the file, checked.
        vocabulary: rows of the embedding.
    """
    width = header.architecture_value("embedding_length")
    final = "model.embedding_norm.weight" if header.architecture == "lfm2" else "model.norm.weight"
    found = {
        "token_embd.weight": _place("model.embed_tokens.weight", (vocabulary, width)),
        final_norm(header): _place(final, (width,)),
    }
    if header.architecture != "lfm2":
        found["output.weight"] = _place("lm_head.weight", (vocabulary, width))
    for layer, attends in enumerate(_attends(header)):
        for name, place in _layer(header, attends).items():
            found[f"blk.{layer}.{name}"] = Place(
                f"model.layers.{layer}.{place.name}", place.shape, place.written
            )
    return found


def final_norm(header: Header) -> str:
    """GGUF's name of the last norm."""
    return "token_embd_norm.weight" if header.architecture == "lfm2" else "output_norm.weight"


def is_left_out(header: Header, name: str) -> bool:
    """Whether a tensor is of the layers that predict further tokens, which nothing here uses."""
    block, _, rest = name.partition(".")
    number = rest.partition(".")[0]
    return block == "blk" and number.isdigit() and int(number) >= _layers(header)


def to_mlx(header: Header, name: str, values: FloatArray) -> FloatArray:
    """A tensor's values as mlx-lm's model needs them.

    Args:
        header: of the file, checked.
        name: GGUF's.
        values: of the whole tensor, rows first.
    """
    if name.endswith("ssm_a"):
        values = np.log(np.maximum(-values, np.finfo(np.float32).tiny))
    heads = rotated_heads(name, *_heads(header)) if permutes(header.architecture) else 0
    if heads:
        values = unpermute_rows(values, heads)
    linear = linear_heads(header)
    if linear is not None:
        order = linear_order(name, linear)
        if order.rows is not None:
            values = values[np.argsort(order.rows)]
        if order.columns is not None:
            values = values[:, np.argsort(order.columns)]
    return np.ascontiguousarray(values)


def is_small(name: str) -> bool:
    """Whether a tensor of two dimensions is no matrix, and f32 in every file.

    Such tensors stay f32, as vectors do: rounded to 16 bits, they would change what a random
    model's recurrent layers compute by 0.1 nats.
    """
    return name.endswith(("conv1d.weight", "conv.weight", "ssm_a", "ssm_d", "ssm_norm.weight"))


def config_of(header: Header, tensors: Mapping[str, Any], vocabulary: int) -> dict[str, Any]:
    """The contents of config.json.

    Args:
        header: of the file, checked.
        tensors: whatever, by GGUF's names.
        vocabulary: rows of the embedding.
    """
    value, metadata, architecture = header.architecture_value, header.metadata, header.architecture
    heads, kv_heads = _heads(header)
    base = _short(metadata.get(f"{architecture}.rope.freq_base", 10_000.0))
    epsilon = _short(metadata[f"{architecture}.attention.layer_norm_rms_epsilon"])
    config: dict[str, Any] = {
        "model_type": FAMILIES[architecture],
        "hidden_size": value("embedding_length"),
        "num_hidden_layers": _layers(header),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": _head(header),
        "intermediate_size": value("feed_forward_length"),
        "vocab_size": vocabulary,
        "max_position_embeddings": value("context_length"),
        "rms_norm_eps": epsilon,
        "rope_theta": base,
        "tie_word_embeddings": "output.weight" not in tensors,
        "hidden_act": "silu",
    }
    for name in ("eos", "bos"):
        token = metadata.get(f"tokenizer.ggml.{name}_token_id")
        if token is not None:
            config[f"{name}_token_id"] = int(token)
    more = {"qwen35": _qwen, "lfm2": _lfm, "granitehybrid": _granite}[architecture]
    return config | more(header, config)


def _qwen(header: Header, config: Mapping[str, Any]) -> dict[str, Any]:
    linear = linear_heads(header)
    assert linear is not None
    head = _head(header)
    rotated = header.architecture_value("rope.dimension_count", head)
    return {
        "architectures": ["Qwen3_5ForCausalLM"],
        "linear_num_key_heads": linear.keys,
        "linear_num_value_heads": linear.values,
        "linear_key_head_dim": linear.key_width,
        "linear_value_head_dim": linear.value_width,
        "linear_conv_kernel_dim": header.architecture_value("ssm.conv_kernel"),
        "full_attention_interval": _interval(header),
        "attention_bias": False,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": config["rope_theta"],
            "partial_rotary_factor": rotated / head,
        },
    }


def _lfm(header: Header, config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["Lfm2ForCausalLM"],
        "norm_eps": config["rms_norm_eps"],
        "conv_bias": False,
        "conv_L_cache": header.architecture_value("shortconv.l_cache"),
        "block_dim": config["hidden_size"],
        "block_ff_dim": config["intermediate_size"],
        "block_multiple_of": 1,
        "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": False,
        "layer_types": ["full_attention" if attends else "conv" for attends in _attends(header)],
        "rope_parameters": {"rope_type": "default", "rope_theta": config["rope_theta"]},
    }


def _granite(header: Header, config: Mapping[str, Any]) -> dict[str, Any]:
    value, metadata = header.architecture_value, header.metadata

    def scale(key: str, default: float) -> float:
        # llama.cpp leaves a factor of 0 out.
        return _short(metadata.get(f"granitehybrid.{key}") or default)

    inner, ranks = value("ssm.inner_size"), value("ssm.time_step_rank")
    rotates = bool(metadata.get("granitehybrid.rope.scaling.finetuned", True))
    return {
        "architectures": ["GraniteMoeHybridForCausalLM"],
        "layer_types": ["attention" if attends else "mamba" for attends in _attends(header)],
        "position_embedding_type": "rope" if rotates else "nope",
        "attention_bias": False,
        "mlp_bias": False,
        "attention_multiplier": scale("attention.scale", 1 / math.sqrt(_head(header))),
        "embedding_multiplier": scale("embedding_scale", 1.0),
        "residual_multiplier": scale("residual_scale", 1.0),
        "logits_scaling": scale("logit_scale", 1.0),
        "num_local_experts": 0,
        "num_experts_per_tok": 0,
        "shared_intermediate_size": config["intermediate_size"],
        "mamba_n_heads": ranks,
        "mamba_d_head": inner // ranks,
        "mamba_d_state": value("ssm.state_size"),
        "mamba_d_conv": value("ssm.conv_kernel"),
        "mamba_n_groups": value("ssm.group_count"),
        "mamba_expand": max(1, inner // config["hidden_size"]),
        "mamba_conv_bias": True,
        "mamba_proj_bias": False,
    }


def _layer(header: Header, attends: bool) -> dict[str, Place]:
    """The tensors of one layer."""
    value = header.architecture_value
    d, ff = value("embedding_length"), value("feed_forward_length")
    lfm = header.architecture == "lfm2"
    gate, up, down = ("w1", "w3", "w2") if lfm else ("gate_proj", "up_proj", "down_proj")
    mlp = "feed_forward" if lfm else "mlp"
    first = "operator_norm" if lfm else "input_layernorm"
    second = "ffn_norm" if lfm else "post_attention_layernorm"
    norm = "post_attention_norm" if header.architecture == "qwen35" else "ffn_norm"
    layer = {
        "attn_norm.weight": _place(f"{first}.weight", (d,)),
        f"{norm}.weight": _place(f"{second}.weight", (d,)),
        "ffn_gate.weight": _place(f"{mlp}.{gate}.weight", (ff, d)),
        "ffn_up.weight": _place(f"{mlp}.{up}.weight", (ff, d)),
        "ffn_down.weight": _place(f"{mlp}.{down}.weight", (d, ff)),
    }
    return layer | (_attention(header) if attends else _recurrence(header))


def _attention(header: Header) -> dict[str, Place]:
    architecture = header.architecture
    d, head = header.architecture_value("embedding_length"), _head(header)
    heads, kv_heads = (count * head for count in _heads(header))
    # Each head of Qwen3.5's queries is followed by its gate.
    queries = 2 * heads if architecture == "qwen35" else heads
    out = "out_proj" if architecture == "lfm2" else "o_proj"
    norm = "layernorm" if architecture == "lfm2" else "norm"
    found = {
        "attn_q.weight": _place("self_attn.q_proj.weight", (queries, d)),
        "attn_k.weight": _place("self_attn.k_proj.weight", (kv_heads, d)),
        "attn_v.weight": _place("self_attn.v_proj.weight", (kv_heads, d)),
        "attn_output.weight": _place(f"self_attn.{out}.weight", (d, heads)),
    }
    if architecture != "granitehybrid":
        found |= {
            f"attn_{part}_norm.weight": _place(f"self_attn.{part}_{norm}.weight", (head,))
            for part in "qk"
        }
    return found


def _recurrence(header: Header) -> dict[str, Place]:
    value = header.architecture_value
    d, kernel = value("embedding_length"), value("ssm.conv_kernel")
    if header.architecture == "lfm2":
        kernel = value("shortconv.l_cache")
        return {
            "shortconv.conv.weight": _convolution("conv.conv.weight", d, kernel),
            "shortconv.in_proj.weight": _place("conv.in_proj.weight", (3 * d, d)),
            "shortconv.out_proj.weight": _place("conv.out_proj.weight", (d, d)),
        }
    inner, state = value("ssm.inner_size"), value("ssm.state_size")
    ranks, groups = value("ssm.time_step_rank"), value("ssm.group_count")
    mixed = inner + 2 * groups * state
    if header.architecture == "qwen35":
        return {
            "attn_qkv.weight": _place("linear_attn.in_proj_qkv.weight", (mixed, d)),
            "attn_gate.weight": _place("linear_attn.in_proj_z.weight", (inner, d)),
            "ssm_beta.weight": _place("linear_attn.in_proj_b.weight", (ranks, d)),
            "ssm_alpha.weight": _place("linear_attn.in_proj_a.weight", (ranks, d)),
            "ssm_conv1d.weight": _convolution("linear_attn.conv1d.weight", mixed, kernel),
            "ssm_dt.bias": _place("linear_attn.dt_bias", (ranks,)),
            "ssm_a": _place("linear_attn.A_log", (ranks,)),
            "ssm_norm.weight": _place("linear_attn.norm.weight", (inner // ranks,)),
            "ssm_out.weight": _place("linear_attn.out_proj.weight", (d, inner)),
        }
    return {
        "ssm_in.weight": _place("mamba.in_proj.weight", (inner + mixed + ranks, d)),
        "ssm_conv1d.weight": _convolution("mamba.conv1d.weight", mixed, kernel),
        "ssm_conv1d.bias": _place("mamba.conv1d.bias", (mixed,)),
        "ssm_dt.bias": _place("mamba.dt_bias", (ranks,)),
        "ssm_a": Place("mamba.A_log", (ranks, 1), (ranks,)),
        "ssm_d": Place("mamba.D", (ranks, 1), (ranks,)),
        "ssm_norm.weight": Place("mamba.norm.weight", (groups, inner // groups), (inner,)),
        "ssm_out.weight": _place("mamba.out_proj.weight", (d, inner)),
    }


def _place(name: str, shape: tuple[int, ...]) -> Place:
    return Place(name, shape, shape)


def _convolution(name: str, channels: int, kernel: int) -> Place:
    return Place(name, (channels, kernel), (channels, kernel, 1))


def _layers(header: Header) -> int:
    """Layers of the model itself."""
    more = header.architecture_value("nextn_predict_layers")
    return header.architecture_value("block_count") - more


def _attends(header: Header) -> list[bool]:
    """For each layer, whether it has attention."""
    return [not recurrent for recurrent in recurrent_layers(header)[: _layers(header)]]


def _interval(header: Header) -> int:
    return max(1, header.architecture_value("full_attention_interval", 4))


def _heads(header: Header) -> tuple[int, int]:
    """(query heads, key-value heads) of a layer with attention."""
    heads = header.architecture_value("attention.head_count")
    return heads, header.architecture_value("attention.head_count_kv", heads)


def _head(header: Header) -> int:
    """The width of a head."""
    value = header.architecture_value
    width = value("embedding_length") // max(1, value("attention.head_count"))
    return value("attention.key_length", width)


def _short(value: float) -> float:
    """The float with the shortest text for a float32: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))
