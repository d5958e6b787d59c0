"""Which layers of a model are recurrent, and how large their state is, by its file's header.

Source: ``llama_hparams::n_embd_r``, ``n_embd_s`` and the models' ``load_arch_hparams`` in llama.cpp
as of llama-cpp-python 0.3.36.
"""

from __future__ import annotations

from typing import Any, Protocol

_PURE = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
"""All layers are recurrent, and none has attention."""
_BOTH = frozenset({"falcon-h1"})
"""Each layer has both."""
_INTERVALS = frozenset({"qwen3next", "qwen35", "qwen35moe"})
"""Each n-th layer has attention, and the others are recurrent."""
_WITHOUT_KEYS = frozenset(
    {
        "jamba",
        "plamo2",
        "granitehybrid",
        "lfm2",
        "lfm2moe",
        "nemotron_h",
        "nemotron_h_moe",
        "kimi-linear",
    }
)
"""A layer without heads of keys is recurrent."""
_FLOAT_BYTES = 4


class Described(Protocol):
    """The part of a header that is looked at."""

    @property
    def metadata(self) -> dict[str, Any]:
        """All keys and values."""

    @property
    def architecture(self) -> str:
        """``general.architecture``."""

    def architecture_value(self, key: str, default: int = 0) -> int:
        """``{architecture}.{key}``."""

    def layer_values(self, key: str, default: int = 0) -> list[int]:
        """``{architecture}.{key}`` of each layer."""


def is_recurrent(header: Described) -> bool:
    """Whether some layers keep a state of the whole text, in the architectures known here."""
    return header.architecture in _PURE | _BOTH | _INTERVALS | _WITHOUT_KEYS


def attention_layers(header: Described) -> list[bool]:
    """For each layer, whether it keeps keys and values."""
    recurrent = recurrent_layers(header)
    if header.architecture in _BOTH:
        return [True] * len(recurrent)
    predicts = _predicting(header)
    projects = _projections(header)
    return [
        not (recurrent[layer] or projects[layer] or layer in predicts)
        for layer in range(len(recurrent))
    ]


def recurrent_layers(header: Described) -> list[bool]:
    """For each layer, whether it keeps a state."""
    architecture = header.architecture
    heads = header.layer_values("attention.head_count_kv", 1)
    count = len(heads)
    predicts = _predicting(header)
    if architecture in _PURE | _BOTH:
        return [True] * count
    if architecture in _INTERVALS:
        listed = header.metadata.get(f"{architecture}.attention.recurrent_layers")
        if isinstance(listed, list) and len(listed) >= count:
            return [bool(here) for here in listed[:count]]
        interval = max(1, header.architecture_value("full_attention_interval", 4))
        return [layer not in predicts and (layer + 1) % interval > 0 for layer in range(count)]
    projects = _projections(header)
    return [
        layer not in predicts and not heads[layer] and not projects[layer] for layer in range(count)
    ]


def state_bytes(header: Described) -> int:
    """Bytes of one conversation's f32 state over all recurrent layers."""
    value = header.architecture_value
    width = value("embedding_length")
    convolution, state = value("ssm.conv_kernel"), value("ssm.state_size")
    inner = value("ssm.inner_size")
    if head := value("wkv.head_size"):
        numbers = value("token_shift_count", 2) * width + width * head
    elif window := value("shortconv.l_cache"):
        numbers = width * (window - 1)
    elif head := value("kda.head_dim"):
        projected = value("attention.head_count") * head
        numbers = 3 * max(convolution - 1, 0) * projected + head * projected
    else:
        mixed = inner + 2 * value("ssm.group_count") * state
        numbers = max(convolution - 1, 0) * mixed + state * inner
    return _FLOAT_BYTES * numbers * sum(recurrent_layers(header))


def _predicting(header: Described) -> range:
    """Layers at the end that predict further tokens; the engine does not use them."""
    layers = header.architecture_value("block_count")
    return range(layers - header.architecture_value("nextn_predict_layers"), layers)


def _projections(header: Described) -> list[bool]:
    """For each layer, whether it is a projection alone, as Nemotron-H has them."""
    wide = header.layer_values("feed_forward_length")
    return [header.architecture.startswith("nemotron_h") and bool(size) for size in wide]
