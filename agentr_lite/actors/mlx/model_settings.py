"""The settings in ``config.json`` that libraries spell in different ways.

transformers 5 writes ``rope_parameters``, which mlx-lm leaves unread for most architectures: it
would compute with default frequencies and say nothing. Here the settings are read once, for MLX
and for the conversions.

Source: transformers' configuration classes (``RotaryEmbeddingConfigMixin``, ``Gemma3TextConfig``)
for keys, defaults and their precedence; mlx-lm's ``ModelArgs`` for the names that it reads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentr_lite.core.errors import ModelError

_BASE = 10_000.0
_GEMMA3_BASE = 1_000_000.0
GEMMA3_PATTERN = 6
"""Gemma 3's usual period: five layers with a window, then one without."""
GEMMA3_WINDOW = 4096
"""transformers' default; mlx-lm has another one. Real files name theirs."""
GEMMA_SCALAR = 256.0
"""The same for ``query_pre_attn_scalar`` of Gemma 2."""
_FULL, _SLIDING = "full_attention", "sliding_attention"
_READ_HERE = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"})
"""Values of ``model_type`` whose rotary settings are all understood here."""
_WITHOUT_SCALING = frozenset({"gemma", "gemma2"})
"""Those for which mlx-lm reads no scaling."""


@dataclass(frozen=True)
class RopeSettings:
    """Rotary position embeddings."""

    base: float
    """Of the layers without a window."""
    scaling: dict[str, Any] | None = None
    """Of the same layers, with ``rope_type``; None: not scaled."""
    local_base: float | None = None
    """Of the layers with a window, if they have their own (Gemma 3)."""


def rope_settings(config: Mapping[str, Any]) -> RopeSettings:
    """Read the rotary settings of a model, as transformers 4 or 5 writes them.

    Args:
        config: the contents of config.json.

    Raises:
        ModelError: layers are rotated in ways that no setting here can express.
    """
    local = config.get("model_type") == "gemma3_text"
    written = dict(config.get("rope_parameters") or {})
    nested = any(isinstance(written.get(key), Mapping) for key in (_FULL, _SLIDING))
    full = dict(written.get(_FULL) or {}) if nested else written
    sliding = dict(written.get(_SLIDING) or {}) if nested else {}
    if not local and sliding and full and sliding != full:
        raise ModelError(
            f"a '{config.get('model_type')}' model with two kinds of rotary embeddings is not"
            " supported"
        )
    full |= config.get("rope_scaling") or {}
    default = _GEMMA3_BASE if local else _BASE
    base = float(full.get("rope_theta") or config.get("rope_theta") or default)
    if not 0 < base < 1e30:
        raise ModelError(f"rope_theta {base:g} is not a positive number")
    local_base = None
    if local:
        if _kind(sliding) != "default":
            raise ModelError("RoPE scaling of Gemma 3's layers with a window is not supported")
        local_base = float(sliding.get("rope_theta") or config.get("rope_local_base_freq") or _BASE)
    if float(full.get("partial_rotary_factor", config.get("partial_rotary_factor")) or 1.0) != 1.0:
        raise ModelError("partly rotated heads are not supported")
    return RopeSettings(base, _scaling(full, config), local_base)


def sliding_pattern(config: Mapping[str, Any]) -> int:
    """The period of Gemma 3's layers: the last one of each period has no window.

    Raises:
        ModelError: the layers have no period.
    """
    given = int(
        config.get("sliding_window_pattern")
        or config.get("_sliding_window_pattern")
        or GEMMA3_PATTERN
    )
    types = config.get("layer_types")
    if not types:
        return given
    for period in (given, *range(1, len(types) + 2)):
        if [kind == _FULL for kind in types] == [
            (layer + 1) % period == 0 for layer in range(len(types))
        ]:
            return period
    raise ModelError("a Gemma 3 model whose layers with a window have no period is not supported")


def mlx_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What to change in config.json so that mlx-lm computes what the file says.

    Raises:
        ModelError: mlx-lm cannot compute it.
    """
    if isinstance(inner := config.get("text_config"), Mapping):
        changes = mlx_settings(inner)
        return {"text_config": {**inner, **changes}} if changes else {}
    kind = config.get("model_type")
    if kind in _READ_HERE:
        rope = rope_settings(config)
        if rope.scaling and kind in _WITHOUT_SCALING:
            raise ModelError(
                f"mlx-lm leaves out the RoPE scaling of a '{kind}' model, which would compute"
                " something else",
                hint="Play it with llama.cpp, from a GGUF file.",
            )
        changes = {
            "rope_theta": rope.base,
            "rope_scaling": rope.scaling,
            "rope_parameters": None,
        }
        if kind == "gemma3_text":
            changes |= {
                "rope_local_base_freq": rope.local_base,
                "sliding_window": int(config.get("sliding_window") or GEMMA3_WINDOW),
                "sliding_window_pattern": sliding_pattern(config),
            }
        if kind == "gemma2":
            changes["query_pre_attn_scalar"] = config.get("query_pre_attn_scalar") or GEMMA_SCALAR
        return changes
    if kind == "granitemoehybrid":
        # transformers and llama.cpp set the time steps no limits; mlx-lm has some of its own.
        return {"time_step_limit": (0.0, math.inf)}
    if kind == "falcon_h1":
        _check_falcon(config)
    written = config.get("rope_parameters")
    if not isinstance(written, Mapping) or "rope_theta" not in written:
        return {}
    # For the architectures of mlx-lm that read the older keys only.
    changes = {} if "rope_theta" in config else {"rope_theta": written["rope_theta"]}
    if _kind(written) != "default" and not config.get("rope_scaling"):
        changes["rope_scaling"] = dict(written)
    return changes


def _check_falcon(config: Mapping[str, Any]) -> None:
    """Refuse factors that mlx-lm leaves out."""
    for key in ("key_multiplier", "attention_in_multiplier"):
        if float(config.get(key) or 1.0) != 1.0:
            raise ModelError(
                f"mlx-lm leaves out the '{key}' of a 'falcon_h1' model, which would compute"
                " something else",
                hint="Play it with llama.cpp, from a GGUF file.",
            )


def _kind(parameters: Mapping[str, Any]) -> str:
    return str(parameters.get("rope_type") or parameters.get("type") or "default")


def _scaling(parameters: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any] | None:
    kind = _kind(parameters)
    if kind == "default":
        return None
    scaling = {k: v for k, v in parameters.items() if k not in ("rope_theta", "type")}
    scaling["rope_type"] = kind
    if kind == "llama3":
        # Where it is missing, transformers and mlx-lm would assume different values.
        scaling.setdefault(
            "original_max_position_embeddings", config.get("max_position_embeddings")
        )
    return scaling
