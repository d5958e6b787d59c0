"""config.json means what transformers' own configuration classes say that it means."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from agentr_lite.actors.mlx.model_settings import mlx_settings, rope_settings, sliding_pattern
from agentr_lite.core.errors import ModelError

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}
FULL, SLIDING = "full_attention", "sliding_attention"


def theirs(config: dict[str, Any]) -> dict[str, Any]:
    from transformers import AutoConfig

    # It changes what it is given.
    settings = copy.deepcopy({k: v for k, v in config.items() if k != "model_type"})
    made = AutoConfig.for_model(config["model_type"], **settings)
    parameters: dict[str, Any] = made.rope_parameters
    return parameters


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gemma", "gemma2"])
@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"rope_theta": 500_000.0},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0}},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 500_000.0}},
        {"rope_theta": 500_000.0, "rope_scaling": {"type": "linear", "factor": 4.0}},
        {"rope_theta": 500_000.0, "rope_scaling": LLAMA3},
        {"rope_parameters": LLAMA3 | {"rope_theta": 500_000.0}},
        {
            "max_position_embeddings": 8192,
            "rope_parameters": {
                key: value for key, value in LLAMA3.items() if not key.startswith("original")
            }
            | {"rope_theta": 500_000.0},
        },
    ],
)
def test_one_kind_of_layers(kind: str, keys: dict[str, Any]) -> None:
    config = {"model_type": kind, **keys}
    expected, ours = theirs(config), rope_settings(config)
    assert ours.base == expected["rope_theta"] and ours.local_base is None
    scaling = {k: v for k, v in expected.items() if k not in ("rope_theta", "type")}
    assert (ours.scaling or {"rope_type": "default"}) == scaling


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"rope_theta": 2_000_000.0, "rope_local_base_freq": 20_000.0},
        {"rope_scaling": {"rope_type": "linear", "factor": 8.0}},
        {"rope_parameters": {FULL: {"rope_type": "default", "rope_theta": 3e6}}},
        {
            "rope_parameters": {
                FULL: {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                SLIDING: {"rope_type": "default", "rope_theta": 5e3},
            }
        },
        {"rope_parameters": {FULL: {"rope_type": "linear", "factor": 8.0}, SLIDING: None}},
    ],
)
def test_gemma3_has_two_kinds(keys: dict[str, Any]) -> None:
    config = {"model_type": "gemma3_text", **keys}
    ours = rope_settings(config)
    expected = theirs(config)
    assert ours.base == expected[FULL]["rope_theta"]
    assert ours.local_base == expected[SLIDING]["rope_theta"]
    scaled = ours.scaling or {}
    assert scaled.get("rope_type", "default") == expected[FULL]["rope_type"]
    assert scaled.get("factor") == expected[FULL].get("factor")
    changes = mlx_settings(config)
    assert changes["rope_theta"] == ours.base
    assert changes["rope_local_base_freq"] == ours.local_base
    assert changes["rope_scaling"] == ours.scaling


def test_the_pattern_of_layers() -> None:
    def layers(period: int) -> list[str]:
        return [FULL if (layer + 1) % period == 0 else SLIDING for layer in range(12)]

    assert sliding_pattern({}) == 6
    assert sliding_pattern({"sliding_window_pattern": 3}) == 3
    assert sliding_pattern({"layer_types": layers(6)}) == 6
    assert sliding_pattern({"layer_types": layers(4), "_sliding_window_pattern": 4}) == 4
    assert sliding_pattern({"layer_types": layers(4)}) == 4
    assert sliding_pattern({"layer_types": [SLIDING] * 3}) == 6
    with pytest.raises(ModelError, match="no period"):
        sliding_pattern({"layer_types": [FULL, *layers(4)]})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {"model_type": "gemma3_text", "rope_parameters": {SLIDING: {"rope_type": "linear"}}},
            "layers with a window",
        ),
        ({"model_type": "llama", "partial_rotary_factor": 0.5}, "partly rotated"),
        (
            {
                "model_type": "qwen3",
                "rope_parameters": {FULL: {"rope_theta": 1e6}, SLIDING: {"rope_theta": 1e4}},
            },
            "two kinds",
        ),
        (
            {"model_type": "gemma2", "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
            "leaves out the RoPE scaling",
        ),
    ],
)
def test_what_cannot_be_computed_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        mlx_settings(config)


def test_models_of_other_kinds_keep_what_mlx_reads_itself() -> None:
    assert mlx_settings({"model_type": "smollm3", "rope_theta": 5e6}) == {}
    written = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 5e6}
    changes = mlx_settings({"model_type": "smollm3", "rope_parameters": written})
    assert changes == {"rope_theta": 5e6, "rope_scaling": written}
    inner = {"model_type": "gemma3_text", "hidden_size": 8}
    changes = mlx_settings({"model_type": "gemma3", "text_config": inner})
    assert changes["text_config"]["rope_theta"] == 1e6
    assert changes["text_config"]["hidden_size"] == 8


def test_granites_time_steps_have_no_limits() -> None:
    changes = mlx_settings({"model_type": "granitemoehybrid", "rope_theta": 1e4})
    assert changes == {"time_step_limit": (0.0, math.inf)}


@pytest.mark.parametrize("key", ["key_multiplier", "attention_in_multiplier"])
def test_falcons_factors_that_mlx_leaves_out(key: str) -> None:
    with pytest.raises(ModelError, match=key):
        mlx_settings({"model_type": "falcon_h1", key: 0.39})
    assert mlx_settings({"model_type": "falcon_h1", key: 1.0}) == {}
