"""Wrong conversions that ``--check`` must notice, each planted alone into a right file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentr_lite.convert.check import LIKELIHOOD_LIMIT, check_copy
from agentr_lite.convert.hf_to_gguf import convert_to_gguf
from agentr_lite.convert.names import unpermute_rows
from agentr_lite.core.errors import ModelError
from tests.support.edited_gguf import Tensors, edited
from tests.support.tiny_hf import like_a_real_one, make_tiny_hf

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama, untied": {"tied": False},
    "llama, linear": {},
    "llama, llama3": {},
    "qwen2": {"model_type": "qwen2"},
    "qwen3": {"model_type": "qwen3"},
    "gemma": {"model_type": "gemma"},
    "gemma2": {"model_type": "gemma2"},
    "gemma3": {"model_type": "gemma3_text", "layers": 6},
    "gemma3, linear": {"model_type": "gemma3_text", "layers": 6},
}
ROPE_PARAMETERS: dict[str, dict[str, Any]] = {
    "gemma3": {
        "full_attention": {"rope_type": "default", "rope_theta": 1_000_000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
    },
    "gemma3, linear": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
    },
    "qwen3": {"rope_type": "default", "rope_theta": 1_000_000.0},
    "llama, linear": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0},
    "llama, llama3": LLAMA3 | {"rope_theta": 10_000.0},
}


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """A function that gives (directory, file made of it) of one of ``MODELS``."""
    made: dict[str, tuple[Path, Path]] = {}

    def pair(name: str) -> tuple[Path, Path]:
        if name not in made:
            folder = tmp_path_factory.mktemp("right")
            model = make_tiny_hf(folder / "model", **MODELS[name])
            like_a_real_one(model)
            if name in ROPE_PARAMETERS:
                as_transformers_5_writes_it(model, ROPE_PARAMETERS[name])
            convert_to_gguf(model, folder / "m.gguf", dtype="f32")
            made[name] = model, folder / "m.gguf"
        return made[name]

    return pair


def as_transformers_5_writes_it(model: Path, parameters: dict[str, Any]) -> None:
    """``rope_parameters`` in place of ``rope_theta`` and ``rope_scaling``."""
    config = json.loads((model / "config.json").read_text())
    del config["rope_theta"]
    (model / "config.json").write_text(json.dumps(config | {"rope_parameters": parameters}))


@dataclass(frozen=True)
class Mistake:
    """One wrong conversion."""

    kind: str
    model: str
    keys: dict[str, Any] = field(default_factory=dict)
    tensors: Callable[[Tensors], Tensors | None] | None = None
    words: str = "log-likelihoods differ by up to"


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def changed(ending: str, change: Callable[[Any], Any]) -> Callable[[Tensors], Tensors]:
    def change_all(tensors: Tensors) -> Tensors:
        assert any(name.endswith(ending) for name in tensors)
        return {
            name: change(value) if name.endswith(ending) else value
            for name, value in tensors.items()
        }

    return change_all


def swap(tokens: list[str]) -> list[str]:
    """Two ordinary tokens in each other's place."""
    tokens[300], tokens[301] = tokens[301], tokens[300]
    return tokens


SWAPPED = {"tokenizer.ggml.tokens": swap}
MISTAKES = (
    Mistake("RoPE base", "llama", {"{arch}.rope.freq_base": 20_000.0}),
    Mistake("RoPE base", "qwen3", {"{arch}.rope.freq_base": 20_000.0}),
    Mistake("RoPE base", "gemma3", {"{arch}.rope.freq_base": 10_000.0}),
    Mistake("RoPE base of local layers", "gemma3", {"{arch}.rope.freq_base_swa": 20_000.0}),
    Mistake("RoPE scaling", "gemma3, linear", {"{arch}.rope.scaling.type": "none"}),
    Mistake("RoPE scaling", "gemma3, linear", {"{arch}.rope.scaling.factor": 4.0}),
    Mistake("RoPE scaling", "llama, linear", {"{arch}.rope.scaling.type": "none"}),
    Mistake("RoPE scaling", "llama, llama3", tensors=without("rope_freqs.weight")),
    Mistake(
        "q permutation", "llama", tensors=changed("attn_q.weight", lambda w: unpermute_rows(w, 4))
    ),
    Mistake(
        "k permutation", "llama", tensors=changed("attn_k.weight", lambda w: unpermute_rows(w, 2))
    ),
    Mistake("norm epsilon", "llama", {"{arch}.attention.layer_norm_rms_epsilon": 1e-6}),
    Mistake("tied head", "llama, untied", tensors=without("output.weight")),
    Mistake("missing bias", "qwen2", tensors=changed("attn_k.bias", np.zeros_like)),
    Mistake("missing bias", "qwen2", tensors=changed("attn_q.bias", np.zeros_like)),
    Mistake("missing bias", "qwen2", tensors=changed("attn_v.bias", np.zeros_like)),
    Mistake("sliding window", "gemma3", {"{arch}.attention.sliding_window": 65}),
    Mistake("sliding window", "gemma3", {"{arch}.attention.sliding_window": 4096}),
    Mistake("sliding window", "gemma2", {"{arch}.attention.sliding_window": 512}),
    Mistake("soft cap of the output", "gemma2", {"{arch}.final_logit_softcapping": 50.0}),
    Mistake("soft cap of attention", "gemma2", {"{arch}.attn_logit_softcapping": 30.0}),
    Mistake("norm without its one", "gemma", tensors=changed("norm.weight", lambda w: w - 1)),
    Mistake("norm of q", "qwen3", tensors=changed("attn_q_norm.weight", np.ones_like)),
    Mistake("embedding scale", "gemma", tensors=changed("token_embd.weight", lambda w: w / 8)),
    Mistake(
        "BOS", "llama", {"tokenizer.ggml.add_bos_token": False}, words="begins every text with"
    ),
    Mistake("BOS", "llama", {"tokenizer.ggml.bos_token_id": 7}, words="begins every text with"),
    Mistake("end of turn", "llama", {"tokenizer.ggml.eos_token_id": 7}, words="end-of-turn tokens"),
    Mistake("vocabulary order", "llama", SWAPPED, words="differ: token 300 is"),
    Mistake(
        "head count",
        "llama",
        {
            "{arch}.attention.head_count": 2,
            "{arch}.attention.head_count_kv": 1,
            "{arch}.attention.key_length": 32,
            "{arch}.attention.value_length": 32,
            "{arch}.rope.dimension_count": 32,
        },
    ),
)


@pytest.mark.parametrize("model", MODELS)
def test_a_right_conversion_passes(right: Callable[[str], tuple[Path, Path]], model: str) -> None:
    folder, file = right(model)
    checked = check_copy(file, folder)
    assert checked.rounding is None and checked.limit == LIKELIHOOD_LIMIT
    assert checked.agreement.tokens == 1536
    assert checked.agreement.likelihood < LIKELIHOOD_LIMIT / 3
    assert checked.agreement.spread > 2


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: f"{m.kind}, {m.model}")
def test_a_wrong_conversion_is_caught(
    right: Callable[[str], tuple[Path, Path]], mistake: Mistake, tmp_path: Path
) -> None:
    folder, file = right(mistake.model)
    wrong = edited(file, tmp_path / "wrong.gguf", keys=mistake.keys, tensors=mistake.tensors)
    with pytest.raises(ModelError, match=mistake.words):
        check_copy(wrong, folder)
