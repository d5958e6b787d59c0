"""Model files with single mistakes: refused with a message, and nothing is left behind."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from agentr_lite.core.errors import EXIT_MODEL
from tests.support.command_line import Call, one_error
from tests.support.hostile_models import convert_mutants, write_adapter
from tests.support.tiny_hf import make_tiny_hf

Q = "model.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize("way", ["to-gguf", "to-hf", "adapter"])
def test_mutants_are_converted_or_refused(way: str) -> None:
    counts, faults = convert_mutants(way, 60, 5)
    assert faults == {}
    assert counts["refused"] > 20


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_tiny_hf(tmp_path / "model", layers=1, width=32, feed_forward=32)


def with_tensors(model: Path, change: Callable[[dict[str, Any]], None]) -> None:
    tensors = load_file(str(model / "model.safetensors"))
    change(tensors)
    save_file(tensors, str(model / "model.safetensors"))


def with_header(model: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = model / "model.safetensors"
    data = path.read_bytes()
    [length] = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def refused(cli: Call, model: Path, tmp_path: Path) -> str:
    out = tmp_path / "out" / "made.gguf"
    out.parent.mkdir()
    code, _, err = cli("convert", "model", model, "-o", out)
    assert code == EXIT_MODEL, err
    assert not any(out.parent.iterdir())
    return one_error(err)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.update({Q: t[Q][:, :8].copy()}), "has the shape"),
        (lambda t: t.update({Q: t[Q][None].copy()}), "has the shape"),
        (lambda t: t.update({Q: np.array(1.0, np.float32)}), "has the shape"),
        (
            lambda t: t.pop("model.layers.0.mlp.up_proj.weight"),
            "lacks the tensors for blk.0.ffn_up",
        ),
        (lambda t: t.pop("model.norm.weight"), "lacks the tensors for output_norm"),
        (lambda t: t[Q].fill(np.nan), "not finite"),
        (lambda t: t[Q].fill(1e30), "too large for f16"),
        (lambda t: t.update({Q: t[Q].astype(np.int32)}), "of type I32"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    cli: Call, model: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    with_tensors(model, change)
    assert said in refused(cli, model, tmp_path)


@pytest.mark.parametrize(
    "offsets",
    [
        lambda t: t[Q].update(data_offsets=[0, 4096]),
        lambda t: t[Q].update(data_offsets=[2**40, 2**41]),
    ],
)
def test_weights_that_overlap_or_lie_outside_are_refused(
    cli: Call, model: Path, tmp_path: Path, offsets: Callable[[dict[str, Any]], None]
) -> None:
    with_header(model, offsets)
    assert "not a whole safetensors file" in refused(cli, model, tmp_path)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"a": NaN}', "[]", '{"a": ' + "9" * 5000 + "}", "\ufeff", "{"]
)
def test_a_settings_file_that_is_none_is_named(
    cli: Call, model: Path, tmp_path: Path, file: str, text: str
) -> None:
    (model / file).write_text(text)
    assert file in refused(cli, model, tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 10**9),
        ("num_hidden_layers", True),
        ("hidden_size", "32"),
        ("num_attention_heads", -1),
        ("num_key_value_heads", [2]),
        ("vocab_size", 10**15),
        ("rms_norm_eps", -1.0),
        ("rope_theta", -5),
        ("tie_word_embeddings", "yes"),
        ("max_position_embeddings", 2**40),
        ("head_dim", 10**12),
        ("model_type", ["llama"]),
        ("rope_scaling", "linear"),
    ],
)
def test_an_impossible_setting_is_refused(
    cli: Call, model: Path, tmp_path: Path, key: str, value: Any
) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, key: value}))
    refused(cli, model, tmp_path)


def test_an_id_that_a_library_would_count_up_to_is_refused(
    cli: Call, model: Path, tmp_path: Path
) -> None:
    data = json.loads((model / "tokenizer.json").read_text())
    data["model"]["vocab"][next(iter(data["model"]["vocab"]))] = 2**31
    (model / "tokenizer.json").write_text(json.dumps(data))
    assert "2147483648" in refused(cli, model, tmp_path)


def test_a_models_own_code_is_not_asked_about(cli: Call, model: Path, tmp_path: Path) -> None:
    path = model / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"auto_map": {"AutoTokenizer": ["x.Y", None]}}))
    assert "auto_map" in refused(cli, model, tmp_path)


@pytest.mark.parametrize("parameters", [{"rank": 10**9, "scale": 1}, {"rank": 2, "scale": 1e300}])
def test_an_adapters_impossible_settings_are_refused(
    cli: Call, model: Path, tmp_path: Path, parameters: dict[str, Any]
) -> None:
    adapter = write_adapter(tmp_path / "adapter", model)
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({"fine_tune_type": "lora", "lora_parameters": parameters}))
    before = sorted(tmp_path.iterdir())
    code, _, err = cli("convert", "adapter", adapter, "--base", model, "-o", tmp_path / "a.gguf")
    assert code == EXIT_MODEL
    assert "out of range" in one_error(err)
    assert sorted(tmp_path.iterdir()) == before
