"""What must hold of a GGUF file's header, whatever the architecture.

Most of these mistakes llama.cpp reports itself; at others it divides by zero, reads beyond an
array, asks for terabytes or aborts the process. What depends on the architecture is left to
llama.cpp, which opens an unknown file in a child process (``trial``).
"""

from __future__ import annotations

import math
import re
from typing import Any

from agentr_lite.actors.llamacpp.gguf_records import Header, TensorInfo

_NAME = re.compile(r"[\w.-]{1,64}")
_RANGES = {
    "block_count": (1, 10_000),
    "embedding_length": (1, 1 << 20),
    "context_length": (1, (1 << 31) - 1),
    "vocab_size": (1, 1 << 26),
    "feed_forward_length": (0, 1 << 24),
    "expert_feed_forward_length": (0, 1 << 24),
    "expert_count": (0, 4_096),
    "expert_used_count": (0, 4_096),
    "attention.head_count": (0, 1 << 14),
    "attention.head_count_kv": (0, 1 << 14),
    "attention.key_length": (1, 1 << 16),
    "attention.value_length": (1, 1 << 16),
    "rope.dimension_count": (0, 1 << 16),
    "ssm.conv_kernel": (1, 1 << 10),
    "ssm.inner_size": (1, 1 << 20),
    "ssm.state_size": (1, 1 << 16),
    "ssm.time_step_rank": (1, 1 << 16),
    "ssm.group_count": (0, 1 << 16),
    "shortconv.l_cache": (1, 1 << 10),
    "wkv.head_size": (1, 1 << 16),
    "token_shift_count": (1, 16),
    "kda.head_dim": (1, 1 << 16),
    "full_attention_interval": (1, 10_000),
    "nextn_predict_layers": (0, 10_000),
}
"""Whole numbers, or lists of one for each layer, each with its least and greatest value."""
_POSITIVE = ("rope.freq_base", "rope.freq_base_swa", "rope.scaling.factor")
_FRACTIONS = ("attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon")
_RECURRENT = ("ssm.conv_kernel", "ssm.state_size", "wkv.head_size", "shortconv.l_cache")
_MOST_STATE_BYTES = 1 << 34
_MAX_DIMENSIONS = 4
_MAX_NAME = 63
_MAX_ELEMENTS = 1 << 48
_MAX_ALIGNMENT = 1 << 20
_STRING, _FLOAT, _INTEGERS = 8, 6, (4, 5)


class Damage(ValueError):
    """What is wrong with a header, as the end of a sentence."""


def check_model(header: Header) -> None:
    """Refuse a model whose header contradicts itself.

    Raises:
        Damage: it does.
    """
    _check_tensors(header)
    _check_numbers(header)
    _check_heads(header)
    _check_vocabulary(header)


def check_adapter(header: Header) -> None:
    """Refuse an adapter that is none: a matrix A and B of one rank for each tensor, and no more.

    Raises:
        Damage: it is none.
    """
    _check_tensors(header)
    kind = header.metadata.get("adapter.type")
    if kind != "lora":
        raise Damage(f"adapter.type is {_shown(kind)}, not 'lora'")
    alpha = header.metadata.get("adapter.lora.alpha")
    if not isinstance(alpha, float) or not math.isfinite(alpha):
        raise Damage(f"adapter.lora.alpha is {_shown(alpha)}")
    if not header.tensors:
        raise Damage("it has no tensors")
    sides: dict[str, dict[str, TensorInfo]] = {}
    for tensor in header.tensors:
        name, _, side = tensor.name.rpartition(".lora_")
        if side not in ("a", "b") or len(tensor.shape) != 2:
            raise Damage(f"{tensor.name} {list(tensor.shape)} is no matrix of an adapter")
        sides.setdefault(name, {})[side] = tensor
    for name, pair in sides.items():
        if len(pair) != 2:
            raise Damage(f"of {name}, one of the matrices A and B is missing")
        # The embedding's A is stored transposed.
        rank = pair["a"].shape[0 if name == "token_embd.weight" else 1]
        if rank != pair["b"].shape[0]:
            raise Damage(f"the matrices A and B of {name} have different ranks")


def _check_tensors(header: Header) -> None:
    architecture = header.metadata.get("general.architecture")
    if not isinstance(architecture, str) or not _NAME.fullmatch(architecture):
        raise Damage(f"general.architecture is {_shown(architecture)}")
    alignment = header.metadata.get("general.alignment", 32)
    if not _is_whole(alignment) or alignment & (alignment - 1) or alignment > _MAX_ALIGNMENT:
        raise Damage(f"general.alignment is {_shown(alignment)}, not a power of two")
    seen: set[str] = set()
    for tensor in header.tensors:
        name = _shown(tensor.name)
        if not tensor.name or len(tensor.name.encode()) > _MAX_NAME or tensor.name in seen:
            raise Damage(f"a tensor's name {name} is empty, too long or there twice")
        seen.add(tensor.name)
        if not 1 <= len(tensor.shape) <= _MAX_DIMENSIONS:
            raise Damage(f"tensor {name} has {len(tensor.shape)} dimensions")
        if min(tensor.shape) < 1 or math.prod(tensor.shape) > _MAX_ELEMENTS:
            raise Damage(f"tensor {name} has the shape {list(tensor.shape)}")
        if tensor.offset % alignment:
            raise Damage(f"tensor {name} is not aligned")
        block = _block_size(tensor.kind)
        if block and tensor.shape[0] % block:
            raise Damage(f"tensor {name} has rows of {tensor.shape[0]:,} in blocks of {block}")


def _block_size(kind: int) -> int:
    """Elements in a block of a type; 0: a type that is newer than the gguf package."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        return GGML_QUANT_SIZES[GGMLQuantizationType(kind)][0]
    except (ValueError, KeyError):
        return 0


def _check_numbers(header: Header) -> None:
    for key, (low, high) in _RANGES.items():
        for value in _values(header, key):
            if not _is_whole(value) or not low <= value <= high:
                raise Damage(f"{header.architecture}.{key} is {_shown(value)}")
    for key in (*_POSITIVE, *_FRACTIONS):
        for value in _values(header, key):
            greatest = 1.0 if key in _FRACTIONS else math.inf
            # Comparisons with NaN are false.
            if not isinstance(value, float) or not 0.0 <= value < greatest:
                raise Damage(f"{header.architecture}.{key} is {_shown(value)}")
    layers = header.architecture_value("block_count")
    # The first of several files has only some of the tensors.
    if layers > len(header.tensors) and header.metadata.get("split.count", 1) in (0, 1):
        raise Damage(f"it has {layers:,} layers, but {len(header.tensors):,} tensors")
    if header.state_bytes() > _MOST_STATE_BYTES:
        raise Damage(f"the state of its recurrent layers takes {header.state_bytes():,} bytes")
    if header.architecture_value("expert_used_count") > header.architecture_value("expert_count"):
        raise Damage("it uses more experts than it has")


def _check_heads(header: Header) -> None:
    count = header.metadata.get(f"{header.architecture}.attention.head_count")
    if count is None or isinstance(count, list):
        return
    if count == 0:
        if any(_values(header, key) for key in _RECURRENT):
            return  # without attention
        raise Damage("it has no attention heads")
    groups = header.metadata.get(f"{header.architecture}.attention.head_count_kv", count)
    if not isinstance(groups, list) and (groups == 0 or count % groups):
        raise Damage(f"its {count} attention heads cannot share {groups} keys")
    width = header.architecture_value("embedding_length")
    length = header.architecture_value("attention.key_length")
    if not length and width % count:
        raise Damage(f"its width of {width} is no multiple of its {count} attention heads")
    rotated = header.architecture_value("rope.dimension_count")
    if width and (rotated % 2 or rotated > (length or width // count)):
        raise Damage(f"it rotates {rotated} of {length or width // count} dimensions of a head")


def _check_vocabulary(header: Header) -> None:
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if tokens is None:
        return
    count = _items(tokens, _STRING)
    if not count:
        raise Damage("its vocabulary is no list of texts")
    for key, kinds in (("scores", (_FLOAT,)), ("token_type", _INTEGERS)):
        beside = header.metadata.get(f"tokenizer.ggml.{key}")
        if beside is not None and _items(beside, *kinds) != count:
            raise Damage(f"its vocabulary has {count:,} tokens, but not as many {key}")
    merges = header.metadata.get("tokenizer.ggml.merges")
    if merges is not None and merges != [] and not _items(merges, _STRING):
        raise Damage("its vocabulary's merges are no texts")
    for tensor in header.tensors:
        if tensor.name == "token_embd.weight" and (
            len(tensor.shape) != 2 or tensor.shape[1] != count
        ):
            raise Damage(
                f"its vocabulary has {count:,} tokens, but {tensor.name} is {list(tensor.shape)}"
            )


def _items(array: Any, *kinds: int) -> int:
    """How many items an array of one of the types has; 0: it is another thing."""
    if isinstance(array, list):
        wanted: type = {_STRING: str, _FLOAT: float}.get(kinds[0], int)
        return len(array) if all(isinstance(item, wanted) for item in array) else 0
    return array.items if getattr(array, "kind", None) in kinds else 0


def _values(header: Header, key: str) -> list[Any]:
    """The values of a key that may be one for each layer; empty where there is none."""
    value = header.metadata.get(f"{header.architecture}.{key}")
    if value is None:
        return []
    return value if isinstance(value, list) and value else [value]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return ascii(value)[:60]
