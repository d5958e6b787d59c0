"""Independent witnesses of the conversions: llama.cpp's own converter, and transformers.

Both need PyTorch, so they run in an environment of their own, which ``make test-models`` makes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from agentr_lite.convert.gguf_to_hf import convert_to_hf
from agentr_lite.convert.hf_to_gguf import convert_to_gguf
from tests.convert.test_convert import mlx_logits
from tests.support.chat_families import FAMILIES
from tests.support.family_models import make_family_model, tiny_base
from tests.support.llama_logits import llama_logits, llama_tokens
from tests.support.tiny_hf import TEXTS, like_a_real_one, make_tiny_hf

pytestmark = pytest.mark.models

PYTHON = (
    Path(os.environ.get("AGENTR_LITE_WITNESS", Path(__file__).parents[2] / ".work" / "witness"))
    / "bin"
    / "python"
)
SCRIPT = Path(__file__).parents[1] / "support" / "witness_process.py"

FULL, SLIDING = "full_attention", "sliding_attention"
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 2048,
}
GEMMA3 = {
    FULL: {"rope_type": "default", "rope_theta": 1_000_000.0},
    SLIDING: {"rope_type": "default", "rope_theta": 10_000.0},
}
GEMMA3_SHAPE = {"model_type": "gemma3_text", "layers": 6, "vocab_size": 380}
"""The converter drops rows of Gemma 3's embedding that it takes for unused."""
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "llama": ({}, {}),
    "llama, untied": ({"tied": False}, {}),
    "llama, llama3": ({}, {"rope_parameters": LLAMA3 | {"rope_theta": 500_000.0}}),
    "llama, linear": (
        {},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}},
    ),
    "qwen2": ({"model_type": "qwen2"}, {}),
    "qwen3": (
        {"model_type": "qwen3"},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0}},
    ),
    "gemma": ({"model_type": "gemma"}, {}),
    "gemma2": ({"model_type": "gemma2"}, {}),
    "gemma3": (
        GEMMA3_SHAPE,
        {"rope_parameters": GEMMA3},
    ),
    "gemma3, linear": (
        GEMMA3_SHAPE,
        {
            "rope_parameters": GEMMA3
            | {FULL: {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0}}
        },
    ),
    "gemma3, defaults": (
        GEMMA3_SHAPE,
        {"rope_theta": None},
    ),
}
"""Arguments of ``make_tiny_hf``, and changes of config.json (None: without this key)."""
ARCHITECTURES = {"gemma3_text": "Gemma3ForCausalLM"}
METADATA = (
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scaling.type",
    "rope.scaling.factor",
    "vocab_size",
)
"""Keys that decide what is computed; where one file lacks one, llama.cpp's default applies."""
DEFAULTS = {"rope.freq_base": 10_000.0, "rope.scaling.type": "none"}
TOKENIZER = (
    "model",
    "tokens",
    "token_type",
    "merges",
    "bos_token_id",
    "eos_token_id",
    "padding_token_id",
    "add_bos_token",
    "add_space_prefix",
)


@pytest.fixture(scope="module", autouse=True)
def witness() -> None:
    """Skip where the environment was not made."""
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} does not exist: `make test-models` installs torch and the converter")


@pytest.mark.parametrize("name", MODELS)
def test_the_same_file_and_the_same_logits(tmp_path: Path, name: str) -> None:
    arguments, changes = MODELS[name]
    model = make_tiny_hf(tmp_path / "model", **arguments)
    like_a_real_one(model)
    configure(model, changes)
    tokens = np.random.default_rng(0).integers(5, 375, 700).tolist()
    convert_to_gguf(model, tmp_path / "ours.gguf", dtype="f32")
    expected = ask_witness(model, tmp_path, tokens)
    compare_files(tmp_path / "ours.gguf", tmp_path / "theirs.gguf")
    # Ours is read by llama.cpp and by MLX as transformers reads the directory. mlx-lm computes
    # Gemma 1 with the exact GELU in place of the approximation: 0.012 seen.
    gelu = "gemma" in name
    mlx_limit = 3e-2 if name == "gemma" else 1e-2 if gelu else 2e-3
    assert np.abs(mlx_logits(model, tokens) - expected).max() < mlx_limit
    assert np.abs(llama_logits(tmp_path / "ours.gguf", tokens) - expected).max() < (
        0.2 if gelu else 2e-3
    )
    convert_to_hf(tmp_path / "theirs.gguf", tmp_path / "back")
    assert np.abs(mlx_logits(tmp_path / "back", tokens) - expected).max() < mlx_limit


def test_sentencepiece_vocabularies(tmp_path: Path) -> None:
    family = next(f for f in FAMILIES if f.name.startswith("gemma"))
    made = make_family_model(tmp_path, family, tiny_base("plain")).hf
    vocabulary = json.loads((made / "config.json").read_text())["vocab_size"]
    model = make_tiny_hf(
        tmp_path / "model", model_type="gemma3_text", layers=6, vocab_size=vocabulary
    )
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(made / file, model / file)
    configure(model, {"rope_parameters": GEMMA3})
    convert_to_gguf(model, tmp_path / "ours.gguf", dtype="f32")
    ask_witness(model, tmp_path, [5, 6, 7])
    compare_files(tmp_path / "ours.gguf", tmp_path / "theirs.gguf")
    for text in TEXTS[:7]:
        ours = llama_tokens(tmp_path / "ours.gguf", text)
        assert ours == llama_tokens(tmp_path / "theirs.gguf", text)


def configure(model: Path, changes: dict[str, Any]) -> None:
    """Change config.json, and name the class as real files do."""
    config = json.loads((model / "config.json").read_text())
    if "rope_parameters" in changes:
        del config["rope_theta"]
    config |= changes
    kind = config["model_type"]
    config["architectures"] = [ARCHITECTURES.get(kind, f"{kind.capitalize()}ForCausalLM")]
    config = {key: value for key, value in config.items() if value is not None}
    (model / "config.json").write_text(json.dumps(config))


def ask_witness(model: Path, folder: Path, tokens: list[int]) -> Any:
    """transformers' logits; llama.cpp's converter writes ``theirs.gguf``."""
    copy = folder / "for the witness"
    shutil.copytree(model, copy)
    (folder / "tokens.json").write_text(json.dumps(tokens))
    files = [folder / "theirs.gguf", folder / "tokens.json", folder / "logits.npy"]
    done = subprocess.run(
        [PYTHON, SCRIPT, copy, *files],
        capture_output=True,
        text=True,
        check=False,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return np.load(folder / "logits.npy")


def compare_files(ours: Path, theirs: Path) -> None:
    """Names, shapes, values, and the metadata that matters."""
    left, right = gguf.GGUFReader(ours), gguf.GGUFReader(theirs)
    ours_by_name, theirs_by_name = ({t.name: t for t in reader.tensors} for reader in (left, right))
    assert sorted(ours_by_name) == sorted(theirs_by_name)
    for name, tensor in ours_by_name.items():
        other = theirs_by_name[name]
        assert tensor.shape.tolist() == other.shape.tolist(), name
        values = [gguf.quants.dequantize(t.data, t.tensor_type) for t in (tensor, other)]
        close = name == "rope_freqs.weight"
        assert np.allclose(*values, rtol=1e-6 if close else 0, atol=0), name
    architecture = left.fields["general.architecture"].contents()
    assert architecture == right.fields["general.architecture"].contents()
    for key in METADATA:
        name = f"{architecture}.{key}"
        found = [_value(reader, name, DEFAULTS.get(key)) for reader in (left, right)]
        if None in found and key in ("rope.dimension_count", "vocab_size", *_HEAD_SIZES):
            continue  # llama.cpp computes them of the other keys
        assert found[0] == found[1], f"{name}: {found}"
    for key in TOKENIZER:
        name = f"tokenizer.ggml.{key}"
        found = [_value(reader, name, None) for reader in (left, right)]
        if key in ("add_bos_token", "add_space_prefix"):
            # Without them, llama.cpp decides by the kind of tokenizer; here: false.
            found = [bool(value) for value in found]
        assert found[0] == found[1], name


_HEAD_SIZES = ("attention.key_length", "attention.value_length")


def _value(reader: gguf.GGUFReader, name: str, default: Any) -> Any:
    field = reader.get_field(name)
    return default if field is None else field.contents()
