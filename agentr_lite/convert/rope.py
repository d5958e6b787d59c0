"""Llama 3's scaled rotary frequencies: parameters in config.json, factors in a GGUF file.

Source: ``_compute_llama3_parameters`` of https://github.com/huggingface/transformers
(modeling_rope_utils.py); llama.cpp stores its result as the tensor ``rope_freqs.weight``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from agentr_lite.convert.safetensors_io import FloatArray
from agentr_lite.core.errors import ModelError

_USUAL = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
_CONTEXTS = (8192, 4096, 16384, 32768, 2048)
"""Values of ``original_max_position_embeddings`` to try, the usual one first."""


def llama3_factors(scaling: Mapping[str, Any], base: float, head_dim: int) -> FloatArray:
    """The divisor of each frequency, shape (head_dim / 2,).

    Args:
        scaling: ``rope_scaling`` of config.json.
        base: ``rope_theta``.
        head_dim: size of a head.

    Raises:
        ModelError: a parameter is missing.
    """
    try:
        factor = float(scaling["factor"])
        low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
        original = float(scaling["original_max_position_embeddings"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"rope_scaling of type llama3: missing or wrong value ({error})"
        ) from error
    if not (factor > 0 and 0 < low < high and original > 0 and base > 0):
        raise ModelError("rope_scaling of type llama3: its values cannot be used together")
    with np.errstate(all="ignore"):
        exponents = np.arange(0, head_dim, 2, dtype=np.float64) / head_dim
        wavelengths = 2 * math.pi * base**exponents
        smooth = (original / wavelengths - low) / (high - low)
        between = 1 / ((1 - smooth) / factor + smooth)
        factors = np.where(wavelengths < original / high, 1.0, between)
        factors = np.where(wavelengths > original / low, factor, factors).astype(np.float32)
    if not np.isfinite(factors).all():
        raise ModelError("rope_scaling of type llama3: its factors are not finite numbers")
    return factors


def llama3_scaling(factors: FloatArray, base: float, head_dim: int) -> dict[str, Any]:
    """The ``rope_scaling`` that gives these factors.

    Raises:
        ModelError: no usual setting gives these factors.
    """
    for original in _CONTEXTS:
        scaling = {
            "rope_type": "llama3",
            "factor": round(float(factors.max()), 4),
            **_USUAL,
            "original_max_position_embeddings": original,
        }
        expected = llama3_factors(scaling, base, head_dim)
        if expected.shape == factors.shape and np.allclose(expected, factors, rtol=1e-4):
            return scaling
    raise ModelError(
        "the scaling of the model's rotary frequencies is not supported",
        hint="Give the same model in the MLX/HF layout: --set train_model=/path/to/dir",
    )
