"""An mlx-lm LoRA adapter to a GGUF adapter that llama.cpp loads on the (quantized) base.

Source: https://github.com/ml-explore/mlx-lm (tuner/lora.py) for the input;
https://github.com/ggml-org/llama.cpp (convert_lora_to_gguf.py, llama-adapter.cpp) for the output.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from agentr_lite.actors.llamacpp.gguf_header import check_model_file
from agentr_lite.convert.gguf_settings import whole_number
from agentr_lite.convert.names import gguf_name, permute_rows, permutes, rotated_heads
from agentr_lite.convert.orders import LinearHeads, linear_order
from agentr_lite.convert.recurrent import linear_heads
from agentr_lite.convert.safetensors_io import FloatArray, SafetensorsFile
from agentr_lite.convert.shapes import SHAPED, Sizes, tensor_shapes
from agentr_lite.convert.tokenizer import read_json
from agentr_lite.core.damaged import damage_explained
from agentr_lite.core.errors import ModelError, UsageError

ADAPTER_FILE = "adapters.safetensors"
CONFIG_FILE = "adapter_config.json"

_ARCHITECTURE_OF_TYPE = {
    "mistral": "llama",
    "gemma3_text": "gemma3",
    "gemma4_text": "gemma4",
    "granitemoehybrid": "granitehybrid",
    "qwen3_5": "qwen35",
    "qwen3_5_text": "qwen35",
}
"""``model_type`` in config.json -> GGUF's architecture, if the names differ."""
_MOST_RANK = 65_536
_F32_MAX = 3e38
_PEFT = re.compile(r"\.lora_[AB]\.")
_WRAPPER = re.compile(r"^language_model\.")


@dataclass(frozen=True)
class BaseInfo:
    """The facts of the base model that decide an adapter's layout."""

    architecture: str
    """GGUF's name of the architecture."""
    layers: int
    heads: int
    kv_heads: int
    shapes: Mapping[str, tuple[int, ...]] | None = None
    """GGUF tensor name -> (rows, columns); None: not known, and not checked."""
    linear: LinearHeads | None = None
    """The heads of its linear attention, if it has any."""


@dataclass(frozen=True)
class AdapterSummary:
    """A summary of the converted adapter."""

    architecture: str
    rank: int
    alpha: float
    tensors: int
    """Number of adapted matrices of the base."""
    parameters: int


def base_info(base: Path) -> BaseInfo:
    """The base model's facts, from its GGUF file or from its directory in Hugging Face's format.

    Raises:
        ModelError: the base is missing, corrupt, or no model.
    """
    if base.is_dir():
        return _info_from_directory(base)
    header = check_model_file(base)
    heads = header.architecture_value("attention.head_count")
    linear = linear_heads(header)
    if linear is not None and not linear.fit:
        raise ModelError(
            f"{base} is damaged: its heads of linear attention do not fit together",
            hint="Download or convert the file again.",
        )
    return BaseInfo(
        architecture=header.architecture,
        layers=header.architecture_value("block_count"),
        heads=heads,
        kv_heads=header.architecture_value("attention.head_count_kv", heads),
        # ggml names the fastest dimension first.
        shapes={tensor.name: tensor.shape[::-1] for tensor in header.tensors},
        linear=linear,
    )


def check_adaptable(model_dir: Path) -> None:
    """Refuse a model whose adapters cannot be converted.

    Raises:
        ModelError: the architecture is not supported.
    """
    config = _language_model(model_dir)
    if config.get("model_type"):
        permutes(_architecture(config))
        _refuse_experts(config)


def _architecture(config: Mapping[str, Any]) -> str:
    """GGUF's name of the architecture, by config.json."""
    kind = str(config.get("model_type"))
    if kind == "granitemoehybrid" and "mamba" not in (config.get("layer_types") or ()):
        # llama.cpp's converter writes those without recurrent layers so.
        return "granite"
    return _ARCHITECTURE_OF_TYPE.get(kind, kind)


def _refuse_experts(config: Mapping[str, Any]) -> None:
    keys = ("num_local_experts", "num_experts")
    if any(config.get(key) for key in keys) or config.get("enable_moe_block"):
        raise ModelError(
            f"adapters for mixtures of experts are not supported (a '{config.get('model_type')}'"
            " model with experts)",
            hint="Use a model without experts.",
        )


def _language_model(model_dir: Path) -> dict[str, Any]:
    """The settings in config.json.

    A model for images and text keeps its language model's settings in ``text_config``.
    """
    config = read_json(model_dir / "config.json")
    inner = config.get("text_config")
    return config | inner if isinstance(inner, dict) else config


def convert_adapter(
    adapter: Path, base: Path | BaseInfo, out: Path, *, config: Mapping[str, Any] | None = None
) -> AdapterSummary:
    """Convert a LoRA adapter.

    MLX computes ``x @ lora_a @ lora_b * scale``. llama.cpp computes ``B (A x) * alpha / rank`` with
    the transposed matrices, so alpha = scale * rank. If the base's q and k rows are permuted, the
    rows of B are permuted too.

    Args:
        adapter: mlx-lm's adapter directory, or a safetensors file with adapter_config.json
            beside it.
        base: the base's GGUF file or model directory, or its facts.
        out: the file to write; it appears only when it is complete.
        config: used instead of adapter_config.json.

    Raises:
        ModelError: the adapter is incomplete, of a kind that GGUF cannot express (DoRA, full
            weights, embeddings, mixtures of experts), or made for another base.
        UsageError: ``out`` cannot be written.
    """
    info = base if isinstance(base, BaseInfo) else base_info(base)
    with damage_explained(adapter):
        return _convert_adapter(adapter, info, out, config)


def _convert_adapter(
    adapter: Path, info: BaseInfo, out: Path, config: Mapping[str, Any] | None
) -> AdapterSummary:
    permuted = permutes(info.architecture)
    path = adapter / ADAPTER_FILE if adapter.is_dir() else adapter
    rank, scale = _rank_and_scale(
        config if config is not None else read_json(path.with_name(CONFIG_FILE))
    )
    pairs = _read_pairs(SafetensorsFile(path), info)
    tensors: dict[str, FloatArray] = {}
    for name, (mlx_a, mlx_b) in sorted(pairs.items()):
        _check_pair(name, mlx_a, mlx_b, rank, info)
        lora_a, lora_b = np.ascontiguousarray(mlx_a.T), np.ascontiguousarray(mlx_b.T)
        heads = rotated_heads(name, info.heads, info.kv_heads)
        if heads and permuted:
            lora_b = permute_rows(lora_b, heads)
        if info.linear is not None:
            order = linear_order(name, info.linear)
            lora_b = lora_b if order.rows is None else lora_b[order.rows]
            lora_a = lora_a if order.columns is None else lora_a[:, order.columns]
        tensors[f"{name}.lora_a"] = lora_a
        tensors[f"{name}.lora_b"] = lora_b
    summary = AdapterSummary(
        architecture=info.architecture,
        rank=rank,
        alpha=scale * rank,
        tensors=len(pairs),
        parameters=sum(tensor.size for tensor in tensors.values()),
    )
    _write(out, summary, tensors)
    return summary


def _write(out: Path, summary: AdapterSummary, tensors: Mapping[str, FloatArray]) -> None:
    partial = out.with_name(out.name + ".partial")
    try:
        writer = gguf.GGUFWriter(partial, summary.architecture)
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, summary.alpha)
        for name, tensor in tensors.items():
            writer.add_tensor(name, tensor)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        partial.replace(out)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _rank_and_scale(config: Mapping[str, Any]) -> tuple[int, float]:
    if "peft_type" in config:
        raise ModelError(
            "this is a PEFT adapter, not an MLX one",
            hint="llama.cpp's convert_lora_to_gguf.py converts PEFT adapters.",
        )
    kind = config.get("fine_tune_type", "lora")
    if kind != "lora":
        raise ModelError(
            f"an adapter of type '{kind}' has no counterpart in GGUF",
            hint="Train with fine_tune_type lora, or fuse it with mlx_lm.fuse and convert the"
            " model.",
        )
    parameters = config.get("lora_parameters")
    try:
        rank, scale = int(parameters["rank"]), float(parameters["scale"])  # type: ignore[index]
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise ModelError(
            f"{CONFIG_FILE} lacks lora_parameters with rank and scale ({error})",
            hint="Give the adapter directory that mlx-lm wrote.",
        ) from error
    if not 1 <= rank <= _MOST_RANK or not abs(scale * rank) < _F32_MAX:
        raise ModelError(f"{CONFIG_FILE}: rank {rank} or scale {scale:g} is out of range")
    return rank, scale


def _read_pairs(file: SafetensorsFile, info: BaseInfo) -> dict[str, tuple[FloatArray, FloatArray]]:
    """GGUF tensor name -> (lora_a, lora_b) in MLX's layout."""
    halves: dict[str, dict[str, FloatArray]] = {}
    for name in file.names():
        module, _, leaf = name.rpartition(".")
        if _PEFT.search(name):
            raise ModelError(
                f"{file.path} holds PEFT's tensor '{name}', not MLX's",
                hint="llama.cpp's convert_lora_to_gguf.py converts PEFT adapters.",
            )
        if leaf == "m":
            raise ModelError(
                f"tensor '{name}' belongs to a DoRA adapter, which has no counterpart in GGUF",
                hint="Train with fine_tune_type lora.",
            )
        if leaf not in ("lora_a", "lora_b"):
            raise ModelError(
                f"unknown tensor '{name}' in {file.path}: not part of a LoRA adapter",
                hint="Needed: the adapters.safetensors that mlx-lm's LoRA training wrote.",
            )
        halves.setdefault(_target(module, info), {})[leaf] = file.read(name)
    pairs: dict[str, tuple[FloatArray, FloatArray]] = {}
    for target, pair in halves.items():
        if len(pair) != 2:
            raise ModelError(f"{file.path}: '{target}' has {', '.join(pair)} but not its partner")
        pairs[target] = (pair["lora_a"], pair["lora_b"])
    if not pairs:
        raise ModelError(f"{file.path} holds no LoRA tensors")
    return pairs


def _target(module: str, info: BaseInfo) -> str:
    module = _WRAPPER.sub("", module)
    if module.endswith("embed_tokens"):
        raise ModelError(
            f"'{module}' is an embedding: MLX's adapters for embeddings have no counterpart in"
            " GGUF",
            hint="Train adapters on the attention and MLP projections only.",
        )
    target = gguf_name(info.architecture, info.layers, f"{module}.weight")
    if target is None or (info.shapes is not None and target not in info.shapes):
        raise ModelError(
            f"the adapter's '{module}' does not exist in the base"
            f" ({info.architecture}, {info.layers} layers)",
            hint="Give the base model that the adapter was trained on.",
        )
    return target


def _check_pair(
    name: str, lora_a: FloatArray, lora_b: FloatArray, rank: int, info: BaseInfo
) -> None:
    if lora_a.ndim != 2 or lora_b.ndim != 2:
        raise ModelError(f"'{name}': adapters for mixtures of experts are not supported")
    if lora_a.shape[1] != rank or lora_b.shape[0] != rank:
        raise ModelError(
            f"'{name}': shapes {lora_a.shape} and {lora_b.shape} do not fit rank {rank} of"
            f" {CONFIG_FILE}"
        )
    if info.shapes is not None and info.shapes[name] != (lora_b.shape[1], lora_a.shape[0]):
        raise ModelError(
            f"'{name}': the adapter is for a matrix of {lora_b.shape[1]} x {lora_a.shape[0]},"
            f" the base's is {' x '.join(map(str, info.shapes[name]))}",
            hint="Give the base model that the adapter was trained on.",
        )


def _info_from_directory(model_dir: Path) -> BaseInfo:
    config = _language_model(model_dir)
    architecture = _architecture(config)
    _refuse_experts(config)
    try:
        heads = whole_number(config, "num_attention_heads")
        layers = whole_number(config, "num_hidden_layers", most=1000)
        kv_heads = whole_number(config, "num_key_value_heads", heads)
        shapes = None
        if architecture in SHAPED:
            width = whole_number(config, "hidden_size")
            sizes = Sizes(
                architecture,
                layers,
                width,
                heads,
                kv_heads,
                whole_number(config, "head_dim", width // heads),
                whole_number(config, "intermediate_size"),
                whole_number(config, "vocab_size", most=2_000_000),
            )
            shapes = tensor_shapes(sizes)
        return BaseInfo(
            architecture, layers, heads, kv_heads, shapes, _linear_heads(config, architecture)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{model_dir / 'config.json'}: missing or wrong value ({error})"
        ) from error


def _linear_heads(config: Mapping[str, Any], architecture: str) -> LinearHeads | None:
    """The heads of linear attention, by config.json.

    Raises:
        KeyError, ValueError: one of their numbers is missing or wrong.
    """
    if architecture != "qwen35":
        return None
    keys, values = (whole_number(config, f"linear_num_{side}_heads") for side in ("key", "value"))
    widths = (whole_number(config, f"linear_{side}_head_dim") for side in ("key", "value"))
    linear = LinearHeads(keys, values, *widths)
    if not linear.fit:
        raise ValueError(f"{values} heads of values do not share {keys} heads of keys")
    return linear
