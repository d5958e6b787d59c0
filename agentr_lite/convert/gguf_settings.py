"""A model's settings: what config.json says, as GGUF's keys.

llama.cpp takes some values from the architecture alone. Where config.json says something else,
the file would compute something else, so such models are refused.

Source: https://github.com/ggml-org/llama.cpp (conversion and src/models) for keys and fixed values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import gguf

from agentr_lite.actors.mlx.model_settings import (
    GEMMA3_PATTERN,
    GEMMA3_WINDOW,
    GEMMA_SCALAR,
    rope_settings,
    sliding_pattern,
)
from agentr_lite.convert.rope import llama3_factors
from agentr_lite.convert.shapes import Sizes
from agentr_lite.core.errors import ModelError

OTHER_CONVERTER = "llama.cpp's convert_hf_to_gguf.py supports more models."
GEMMA2_WINDOW = 4096
_UNSCALED_LAYERS = {"gemma2": 46, "gemma3_text": 62}
"""Number of layers by which llama.cpp knows the 27B models. Their attention is scaled by the width
of a head that the other sizes would have, width / heads, and not by ``head_dim``."""
_GELU = ("gelu_pytorch_tanh", "gelu", "gelu_new")
"""Gemma's first files say ``gelu`` and mean the approximation by tanh."""
_NAMES_WITH_RULES = re.compile(r"(phi)-?(3)|(modern)-(bert)", re.IGNORECASE)
"""llama.cpp gives the special tokens of models with such a name other rules, and does not load a
file whose vocabulary lacks the tokens of those models (llama-vocab.cpp)."""


class ModelSettings:
    """The settings of config.json that GGUF needs.

    Raises:
        KeyError, TypeError, ValueError: a setting is missing or no number.
        ModelError: llama.cpp would compute something else.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.layers = whole_number(config, "num_hidden_layers", most=1000)
        self.width = whole_number(config, "hidden_size")
        self.heads = whole_number(config, "num_attention_heads")
        self.kv_heads = whole_number(config, "num_key_value_heads", self.heads)
        self.gemma = str(config["model_type"]).startswith("gemma")
        self.head_dim = whole_number(config, "head_dim", self.width // self.heads)
        self.feed_forward = whole_number(config, "intermediate_size")
        self.vocab_size = whole_number(config, "vocab_size", most=2_000_000)
        self.context = whole_number(config, "max_position_embeddings", 2048, most=2**31 - 1)
        self.epsilon = _positive(config, "rms_norm_eps")
        # Defaults differ between libraries: without the key, what the files hold decides.
        self.tied: bool | None = config.get("tie_word_embeddings")
        if self.tied not in (None, False, True):
            raise ValueError(f"tie_word_embeddings is {str(self.tied)[:40]!r}")
        self.rope = rope_settings(config)
        scaling = self.rope.scaling or {}
        kind = scaling.get("rope_type", "default")
        allowed = {"gemma3_text": ("default", "linear"), "gemma": ("default",)}
        allowed |= {"gemma2": ("default",)}
        if kind not in allowed.get(config["model_type"], ("default", "linear", "llama3")):
            raise ModelError(f"RoPE scaling '{kind}' is not supported", hint=OTHER_CONVERTER)
        self.rope_linear = float(scaling["factor"]) if kind == "linear" else None
        self.rope_factors = (
            llama3_factors(scaling, self.rope.base, self.head_dim) if kind == "llama3" else None
        )
        self.pattern: int | None = None
        self.window = self._window(config)
        self.caps = _caps(config)
        self._check_fixed_values(config)

    def sizes(self, architecture: str) -> Sizes:
        """The sizes of a model of GGUF's ``architecture``."""
        return Sizes(
            architecture,
            self.layers,
            self.width,
            self.heads,
            self.kv_heads,
            self.head_dim,
            self.feed_forward,
            self.vocab_size,
        )

    def write_to(self, writer: gguf.GGUFWriter, file_type: gguf.LlamaFileType) -> None:
        """Add the settings' keys to a GGUF file."""
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
        writer.add_rope_freq_base(self.rope.base)
        writer.add_layer_norm_rms_eps(self.epsilon)
        writer.add_vocab_size(self.vocab_size)
        if self.rope_linear is not None:
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(self.rope_linear)
        if self.window is not None:
            writer.add_sliding_window(self.window)
        # Not where it is what llama.cpp assumes, as its own converter leaves it out.
        if self.pattern not in (None, GEMMA3_PATTERN):
            writer.add_sliding_window_pattern(self.pattern)
        if self.rope.local_base is not None:
            writer.add_rope_freq_base_swa(self.rope.local_base)
        if self.caps is not None:
            writer.add_attn_logit_softcapping(self.caps[0])
            writer.add_final_logit_softcapping(self.caps[1])

    def _window(self, config: Mapping[str, Any]) -> int | None:
        """The window of attention in tokens; None: there is none."""
        kind = config["model_type"]
        types = config.get("layer_types") or []
        if kind == "gemma3_text":
            self.pattern = sliding_pattern(config)
            return whole_number(config, "sliding_window", GEMMA3_WINDOW, most=2**31 - 1)
        if kind == "gemma2":
            if types and any((t == "full_attention") != bool(i % 2) for i, t in enumerate(types)):
                raise ModelError(
                    "a gemma2 model is supported only with a window in every other layer, the"
                    " first one included",
                    hint=OTHER_CONVERTER,
                )
            return whole_number(config, "sliding_window", GEMMA2_WINDOW, most=2**31 - 1)
        if config.get("use_sliding_window") or "sliding_attention" in types:
            raise ModelError("sliding-window attention is not supported", hint=OTHER_CONVERTER)
        return None

    def _check_fixed_values(self, config: Mapping[str, Any]) -> None:
        """Refuse values other than those that llama.cpp takes from the architecture.

        Raises:
            ModelError: there is such a value.
        """
        kind = str(config["model_type"])
        scalar = fixed_scalar(kind, self.layers, self.width, self.heads, self.head_dim)
        if scalar and float(config.get("query_pre_attn_scalar") or GEMMA_SCALAR) != scalar:
            raise ModelError(
                f"query_pre_attn_scalar other than {scalar} is not supported in a '{kind}' model"
                f" of {self.layers} layers",
                hint=OTHER_CONVERTER,
            )
        if config.get("use_bidirectional_attention"):
            raise ModelError("bidirectional attention is not supported", hint=OTHER_CONVERTER)
        if kind == "gemma3_text" and (
            config.get("final_logit_softcapping") or config.get("attn_logit_softcapping")
        ):
            raise ModelError("soft caps in a gemma3 model are not supported", hint=OTHER_CONVERTER)
        function = config.get("hidden_activation") or config.get("hidden_act")
        if function is not None and function not in (_GELU if self.gemma else ("silu",)):
            raise ModelError(
                f"activation '{function}' in a '{kind}' model is not supported",
                hint=OTHER_CONVERTER,
            )


def whole_number(
    config: Mapping[str, Any], key: str, default: int | None = None, *, most: int = 1_000_000
) -> int:
    """A size: a positive whole number.

    Raises:
        KeyError: it is missing and has no default.
        ValueError: it is something else, or too large for any model.
    """
    value = config[key] if default is None else config.get(key)
    # Some files give null, or 0, for what has a default.
    value = default if default is not None and value in (None, 0) else value
    if type(value) is not int or not 0 < value <= most:
        raise ValueError(f"{key} is {str(value)[:40]!r}; needed: a number from 1 to {most:,}")
    return value


def _positive(config: Mapping[str, Any], key: str) -> float:
    value = config[key]
    if type(value) not in (int, float) or not 0 < value < 1e30:
        raise ValueError(f"{key} is {str(value)[:40]!r}; needed: a positive number")
    return float(value)


def fixed_scalar(kind: str, layers: int, width: int, heads: int, head_dim: int) -> int | None:
    """What llama.cpp divides the attention of Gemma 2 and 3 by, squared; None: other families.

    Args:
        kind: ``model_type``.
    """
    if kind not in _UNSCALED_LAYERS:
        return None
    return width // heads if layers == _UNSCALED_LAYERS[kind] else head_dim


def model_name(config: Mapping[str, Any], folder: str) -> str:
    """A value of ``general.name`` to which llama.cpp attaches no rules.

    Args:
        config: the contents of config.json, which may hold a name.
        folder: the directory's name.
    """
    name = str(config.get("name") or folder)
    return _NAMES_WITH_RULES.sub(lambda match: " ".join(filter(None, match.groups())), name)


def _caps(config: Mapping[str, Any]) -> tuple[float, float] | None:
    """The soft caps of attention and of the output; None: there are none."""
    if config["model_type"] != "gemma2":
        return None
    caps = [
        config.get("attn_logit_softcapping", 50.0),
        config.get("final_logit_softcapping", 30.0),
    ]
    if not all(caps):
        raise ModelError("a gemma2 model without soft caps is not supported", hint=OTHER_CONVERTER)
    return float(caps[0]), float(caps[1])
