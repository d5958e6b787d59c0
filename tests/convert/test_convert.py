"""The same weights must mean the same to MLX and to llama.cpp, with and without an adapter."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.actors.llamacpp.gguf_header import read_header
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.mlx.blas import use_fast_blas
from agentr_lite.cli.convert import convert
from agentr_lite.convert import hf_to_gguf, lora_to_gguf
from agentr_lite.convert.check import check_copy
from agentr_lite.convert.gguf_settings import fixed_scalar, model_name
from agentr_lite.convert.gguf_to_hf import convert_to_hf
from agentr_lite.convert.hf_to_gguf import convert_to_gguf
from agentr_lite.convert.lora_to_gguf import BaseInfo, base_info, convert_adapter
from agentr_lite.convert.names import permute_rows
from agentr_lite.core.errors import ModelError, UsageError
from tests.support.llama_logits import llama_logits, llama_tokens
from tests.support.tiny_hf import TEXTS, like_a_real_one, make_tiny_hf

MODEL_TYPES = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text")
RANK, SCALE = 6, 1.5
MODULES = [f"self_attn.{name}_proj" for name in "qkvo"]
MODULES += [f"mlp.{name}_proj" for name in ("gate", "up", "down")]
CHAT = (
    "<|system|>You craft.<|end|><|user|>"
    + "\n".join(TEXTS[:7])
    + "  12345 don't  STOP\n\n\t x<|end|><|assistant|>"
)
EXACT = 2e-4
"""Largest difference of logits (which are of the order of 1) with an f32 base; 1.3e-5 seen."""
GELU = 1e-2
"""The same for Gemma: llama.cpp looks GELU up in a table of half-precision numbers; 2e-3 seen."""
HALF = 0.05
"""The same with an f16 base: its weights are rounded to 11 bits; 0.013 seen."""


@pytest.fixture(scope="module", params=MODEL_TYPES)
def model_dir(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param) / "model"
    # Gemma 3 has a layer without a window at every sixth place.
    layers = 6 if request.param == "gemma3_text" else 2
    return make_tiny_hf(path, model_type=request.param, layers=layers, heads=4, kv_heads=2)


def at_least(tolerance: float, model_dir: Path) -> float:
    kind = json.loads((model_dir / "config.json").read_text())["model_type"]
    return max(tolerance, GELU if kind.startswith("gemma") else 0.0)


@pytest.fixture(scope="module")
def llama_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_hf(tmp_path_factory.mktemp("llama") / "model")


def mlx_logits(model_dir: Path, tokens: list[int], adapter: Path | None = None) -> np.ndarray:
    """All at once, as training computes them."""
    use_fast_blas()
    import mlx.core as mx
    from mlx_lm.tuner.utils import load_adapters

    from agentr_lite.actors.mlx.device import load_model

    model, _ = load_model(model_dir)
    if adapter is not None:
        load_adapters(model, str(adapter))
        model.eval()
    return np.array(model(mx.array([tokens]))[0])


def write_adapter(
    folder: Path, model_dir: Path, *, seed: int = 1, modules: list[str] = MODULES
) -> Path:
    """An adapter as mlx-lm's training writes it, with random (large) values in both halves."""
    rng = np.random.default_rng(seed)
    weights = load_file(str(model_dir / "model.safetensors"))
    layers = json.loads((model_dir / "config.json").read_text())["num_hidden_layers"]
    tensors = {}
    for layer in range(layers):
        for module in modules:
            name = f"model.layers.{layer}.{module}"
            rows, columns = weights[f"{name}.weight"].shape
            a = rng.standard_normal((columns, RANK)) / np.sqrt(columns)
            b = rng.standard_normal((RANK, rows)) / np.sqrt(RANK) / 2
            tensors[f"{name}.lora_a"] = a.astype(np.float32)
            tensors[f"{name}.lora_b"] = b.astype(np.float32)
    folder.mkdir()
    save_file(tensors, str(folder / "adapters.safetensors"))
    parameters = {"rank": RANK, "scale": SCALE, "dropout": 0.0, "keys": modules}
    config = {"fine_tune_type": "lora", "num_layers": layers, "lora_parameters": parameters}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def difference(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.abs(left - right).max())


class TestModel:
    def test_token_ids_agree(self, model_dir: Path, tmp_path: Path) -> None:
        from mlx_lm.utils import load_tokenizer

        convert_to_gguf(model_dir, tmp_path / "m.gguf", dtype="f32")
        tokenizer = load_tokenizer(model_dir)
        text = CHAT + "".join(TEXTS)
        assert llama_tokens(tmp_path / "m.gguf", text) == tokenizer.encode(
            text, add_special_tokens=False
        )

    @pytest.mark.parametrize(("dtype", "tolerance"), [("f32", EXACT), ("f16", HALF)])
    def test_logits_agree_with_mlx(
        self, model_dir: Path, tmp_path: Path, dtype: hf_to_gguf.WeightType, tolerance: float
    ) -> None:
        convert_to_gguf(model_dir, tmp_path / "m.gguf", dtype=dtype)
        tokens = llama_tokens(tmp_path / "m.gguf", CHAT)
        ours = mlx_logits(model_dir, tokens)
        assert ours.std() > 0.5
        theirs = llama_logits(tmp_path / "m.gguf", tokens)
        assert difference(ours, theirs) < at_least(tolerance, model_dir)

    def test_untied_output_agrees(self, tmp_path: Path) -> None:
        model_dir = make_tiny_hf(tmp_path / "model", tied=False)
        convert_to_gguf(model_dir, tmp_path / "m.gguf", dtype="f32")
        tokens = llama_tokens(tmp_path / "m.gguf", CHAT)
        theirs = llama_logits(tmp_path / "m.gguf", tokens)
        assert difference(mlx_logits(model_dir, tokens), theirs) < EXACT

    def test_forgotten_permutation_would_show(
        self, llama_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hf_to_gguf, "permute_rows", lambda rows, heads: rows)
        convert_to_gguf(llama_dir, tmp_path / "m.gguf", dtype="f32")
        tokens = llama_tokens(tmp_path / "m.gguf", CHAT)
        theirs = llama_logits(tmp_path / "m.gguf", tokens)
        assert difference(mlx_logits(llama_dir, tokens), theirs) > 10 * HALF

    def test_q8_0_keeps_vectors_and_odd_rows_unquantized(self, tmp_path: Path) -> None:
        model_dir = make_tiny_hf(tmp_path / "model", feed_forward=144)  # down_proj: 4.5 blocks
        convert_to_gguf(model_dir, tmp_path / "m.gguf", dtype="q8_0")
        kinds = {t.name: t.kind for t in read_header(tmp_path / "m.gguf").tensors}
        f32, f16, q8_0 = 0, 1, 8
        assert kinds["blk.0.ffn_down.weight"] == f16
        assert kinds["blk.0.ffn_up.weight"] == kinds["token_embd.weight"] == q8_0
        assert kinds["blk.0.attn_norm.weight"] == f32
        assert "output.weight" not in kinds

    def test_tokenizer_and_template_arrive(self, llama_dir: Path, tmp_path: Path) -> None:
        convert_to_gguf(llama_dir, tmp_path / "m.gguf", dtype="q8_0")
        header = read_header(tmp_path / "m.gguf")
        keys = header.metadata
        assert header.chat_template is not None and "<|end|>" in header.chat_template
        assert keys["tokenizer.ggml.model"] == "gpt2" and keys["tokenizer.ggml.pre"] == "gpt-2"
        assert keys["tokenizer.ggml.add_bos_token"] is False
        assert llama_tokens(tmp_path / "m.gguf", "<|end|>") == [keys["tokenizer.ggml.eos_token_id"]]

    def test_same_input_same_file(self, llama_dir: Path, tmp_path: Path) -> None:
        for name in ("a.gguf", "b.gguf"):
            convert_to_gguf(llama_dir, tmp_path / name, dtype="q8_0")
        assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"model_type": "mamba"}, "type 'mamba'"),
            ({"num_attention_heads": None}, "config.json"),
            ({"rope_scaling": {"rope_type": "yarn"}}, "RoPE scaling 'yarn'"),
            ({"vocab_size": 100}, "belongs to another model|vocabulary size is 100"),
            ({"num_hidden_layers": 3}, "lacks the tensors for blk.2"),
            ({"num_hidden_layers": 1}, "has no place"),
            ({"tie_word_embeddings": False}, "output.weight"),
        ],
    )
    def test_unfit_configuration(self, tmp_path: Path, change: dict[str, Any], words: str) -> None:
        model_dir = make_tiny_hf(tmp_path / "model")
        config = json.loads((model_dir / "config.json").read_text())
        (model_dir / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ModelError, match=words):
            convert_to_gguf(model_dir, tmp_path / "m.gguf", dtype="f32")
        assert not list(tmp_path.glob("m.gguf*"))

    @pytest.mark.parametrize(
        ("kind", "change", "words"),
        [
            ("gemma3_text", {"query_pre_attn_scalar": 99}, "query_pre_attn_scalar other than 16"),
            ("gemma3_text", {"final_logit_softcapping": 30.0}, "soft caps in a gemma3"),
            ("gemma3_text", {"rope_scaling": {"rope_type": "yarn"}}, "RoPE scaling 'yarn'"),
            ("gemma3_text", {"use_bidirectional_attention": True}, "bidirectional"),
            ("gemma2", {"attn_logit_softcapping": None}, "without soft caps"),
            ("gemma2", {"layer_types": ["full_attention"] * 2}, "every other layer"),
            ("gemma", {"rope_scaling": {"rope_type": "linear", "factor": 2}}, "'linear'"),
            ("llama", {"layer_types": ["sliding_attention"] * 2}, "sliding-window"),
            ("llama", {"hidden_act": "gelu"}, "activation 'gelu'"),
        ],
    )
    def test_what_llamacpp_would_compute_in_another_way(
        self, tmp_path: Path, kind: str, change: dict[str, Any], words: str
    ) -> None:
        model_dir = make_tiny_hf(tmp_path / "model", model_type=kind)
        config = json.loads((model_dir / "config.json").read_text())
        (model_dir / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ModelError, match=words):
            convert_to_gguf(model_dir, tmp_path / "m.gguf", dtype="f32")

    def test_the_attention_of_the_27b_models_is_scaled_by_another_width(self) -> None:
        assert fixed_scalar("gemma3_text", 62, 5376, 32, 128) == 168
        assert fixed_scalar("gemma2", 46, 4608, 32, 128) == 144
        assert fixed_scalar("gemma3_text", 18, 640, 4, 256) == 256
        assert fixed_scalar("gemma", 18, 2048, 8, 256) is None

    def test_gemma3_with_other_layers_than_usual(self, tmp_path: Path) -> None:
        model_dir = make_tiny_hf(tmp_path / "model", model_type="gemma3_text", layers=6)
        config = json.loads((model_dir / "config.json").read_text())
        config |= {"sliding_window_pattern": 3, "rope_local_base_freq": 20_000.0}
        (model_dir / "config.json").write_text(json.dumps(config))
        convert_to_gguf(model_dir, tmp_path / "m.gguf", dtype="f32")
        check_copy(tmp_path / "m.gguf", model_dir)
        convert_to_hf(tmp_path / "m.gguf", tmp_path / "back")
        check_copy(tmp_path / "m.gguf", tmp_path / "back")

    @pytest.mark.parametrize("name", ["Phi3-mini", "my-PHI-3.5", "modern-bert"])
    def test_a_name_decides_nothing(self, tmp_path: Path, name: str) -> None:
        model_dir = make_tiny_hf(tmp_path / name)
        convert_to_gguf(model_dir, tmp_path / "m.gguf", dtype="f32")
        model = Model(tmp_path / "m.gguf", n_gpu_layers=0)
        # With the rules for Phi-3, a special token would swallow the spaces after it.
        assert model.tokenize("<|user|>  x")[1:] == model.tokenize("  x")
        model.close()

    def test_names_of_other_models_are_kept(self) -> None:
        assert model_name({}, "SmolLM2-135M") == "SmolLM2-135M"
        assert model_name({"name": "Mine"}, "folder") == "Mine"
        assert model_name({}, "Phi-3-mini phi3") == "Phi 3-mini phi 3"

    def test_bos_is_added_where_the_tokenizer_adds_it(self, tmp_path: Path) -> None:
        model_dir = make_tiny_hf(tmp_path / "model")
        like_a_real_one(model_dir)
        convert_to_gguf(model_dir, tmp_path / "m.gguf", dtype="f32")
        keys = read_header(tmp_path / "m.gguf").metadata
        assert keys["tokenizer.ggml.add_bos_token"] is True
        assert keys["tokenizer.ggml.bos_token_id"] == 0

    @pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
    def test_missing_file(self, tmp_path: Path, missing: str) -> None:
        model_dir = make_tiny_hf(tmp_path / "model")
        (model_dir / missing).unlink()
        with pytest.raises(ModelError, match=missing):
            convert_to_gguf(model_dir, tmp_path / "m.gguf", dtype="f32")

    @pytest.mark.parametrize(
        "damage",
        [b"", b"GGUF", struct.pack("<Q", 1 << 60) + b"{}", struct.pack("<Q", 2) + b"[]"],
    )
    def test_damaged_safetensors(self, tmp_path: Path, damage: bytes) -> None:
        model_dir = make_tiny_hf(tmp_path / "model")
        (model_dir / "model.safetensors").write_bytes(damage)
        with pytest.raises(ModelError, match="safetensors"):
            convert_to_gguf(model_dir, tmp_path / "m.gguf", dtype="f32")

    def test_truncated_safetensors(self, tmp_path: Path) -> None:
        model_dir = make_tiny_hf(tmp_path / "model")
        weights = model_dir / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        with pytest.raises(ModelError, match="not a whole safetensors file"):
            convert_to_gguf(model_dir, tmp_path / "m.gguf", dtype="f32")

    def test_a_base_model_has_no_chat_template_in_either_format(self, tmp_path: Path) -> None:
        model_dir = make_tiny_hf(tmp_path / "model")
        config = json.loads((model_dir / "tokenizer_config.json").read_text())
        del config["chat_template"]
        (model_dir / "tokenizer_config.json").write_text(json.dumps(config))
        convert_to_gguf(model_dir, tmp_path / "m.gguf", dtype="f32")
        assert read_header(tmp_path / "m.gguf").chat_template is None
        convert_to_hf(tmp_path / "m.gguf", tmp_path / "back")
        back = json.loads((tmp_path / "back" / "tokenizer_config.json").read_text())
        assert "chat_template" not in back and back["eos_token"] == "<|end|>"

    def test_unwritable_output(self, llama_dir: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="cannot write"):
            convert_to_gguf(llama_dir, tmp_path / "missing" / "m.gguf", dtype="f32")


class TestAdapter:
    @pytest.mark.parametrize(("dtype", "tolerance"), [("f32", EXACT), ("f16", HALF)])
    def test_logits_agree_with_mlx(
        self, model_dir: Path, tmp_path: Path, dtype: hf_to_gguf.WeightType, tolerance: float
    ) -> None:
        base, out = tmp_path / "m.gguf", tmp_path / "a.gguf"
        convert_to_gguf(model_dir, base, dtype=dtype)
        adapter = write_adapter(tmp_path / "adapter", model_dir)
        summary = convert_adapter(adapter, base, out)
        layers = json.loads((model_dir / "config.json").read_text())["num_hidden_layers"]
        assert (summary.rank, summary.alpha, summary.tensors) == (RANK, RANK * SCALE, 7 * layers)
        tokens = llama_tokens(base, CHAT)
        ours = mlx_logits(model_dir, tokens, adapter)
        # The adapter does something, and it is the same thing.
        assert difference(ours, mlx_logits(model_dir, tokens)) > 1
        assert difference(ours, llama_logits(base, tokens, out)) < at_least(tolerance, model_dir)

    def test_forgotten_permutation_would_show(
        self, llama_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        base, out = tmp_path / "m.gguf", tmp_path / "a.gguf"
        convert_to_gguf(llama_dir, base, dtype="f32")
        adapter = write_adapter(tmp_path / "adapter", llama_dir)
        monkeypatch.setattr(lora_to_gguf, "permute_rows", lambda rows, heads: rows)
        convert_adapter(adapter, base, out)
        tokens = llama_tokens(base, CHAT)
        ours = mlx_logits(llama_dir, tokens, adapter)
        assert difference(ours, llama_logits(base, tokens, out)) > 10 * HALF

    def test_needless_permutation_would_show(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model_dir = make_tiny_hf(tmp_path / "model", model_type="qwen2")
        base, out = tmp_path / "m.gguf", tmp_path / "a.gguf"
        convert_to_gguf(model_dir, base, dtype="f32")
        adapter = write_adapter(tmp_path / "adapter", model_dir)
        monkeypatch.setattr(lora_to_gguf, "permutes", lambda architecture: True)
        convert_adapter(adapter, base, out)
        tokens = llama_tokens(base, CHAT)
        ours = mlx_logits(model_dir, tokens, adapter)
        assert difference(ours, llama_logits(base, tokens, out)) > 10 * HALF

    def test_base_as_directory_gives_the_same_file(self, model_dir: Path, tmp_path: Path) -> None:
        convert_to_gguf(model_dir, tmp_path / "m.gguf", dtype="q8_0")
        adapter = write_adapter(tmp_path / "adapter", model_dir)
        convert_adapter(adapter, tmp_path / "m.gguf", tmp_path / "a.gguf")
        convert_adapter(adapter / "adapters.safetensors", model_dir, tmp_path / "b.gguf")
        assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()

    def test_quantized_base_takes_the_adapter(self, llama_dir: Path, tmp_path: Path) -> None:
        base, out = tmp_path / "m.gguf", tmp_path / "a.gguf"
        convert_to_gguf(llama_dir, base, dtype="q8_0")
        convert_adapter(write_adapter(tmp_path / "adapter", llama_dir), base, out)
        actor = LlamaCppActor(base, context_tokens=256)
        actor.use_adapter(out)
        actor.close()

    def test_permuting_moves_rows_within_heads_only(self) -> None:
        rows = np.arange(8, dtype=np.float32)[:, None]
        assert permute_rows(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]

    def test_architecture_without_a_known_rule(self, llama_dir: Path, tmp_path: Path) -> None:
        adapter = write_adapter(tmp_path / "adapter", llama_dir)
        info = BaseInfo("mamba", layers=2, heads=4, kv_heads=2)
        with pytest.raises(ModelError, match="'mamba'"):
            convert_adapter(adapter, info, tmp_path / "a.gguf")

    @pytest.mark.parametrize(
        ("rename", "words"),
        [
            (("self_attn.q_proj.lora_a", "self_attn.q_proj.weight"), "unknown tensor"),
            (("self_attn.q_proj.lora_a", "self_attn.q_proj.m"), "DoRA"),
            (("self_attn.q_proj.lora_a", "self_attn.q_proj.lora_A.weight"), "PEFT"),
            (("layers.1.self_attn.q_proj.lora_b", "layers.7.self_attn.q_proj.lora_b"), "exist"),
            (("self_attn.q_proj.lora_a", "self_attn.other_proj.lora_a"), "does not exist"),
            (("model.layers.0.self_attn.q_proj.lora_a", "model.embed_tokens.lora_a"), "embedding"),
            (("model.layers.0.self_attn.q_proj.lora_a", "lm_head.lora_a"), "does not exist"),
            (("layers.0.self_attn.q_proj.lora_a", None), "not its partner"),
        ],
    )
    def test_tensors_that_cannot_be_converted(
        self, llama_dir: Path, tmp_path: Path, rename: tuple[str, str | None], words: str
    ) -> None:
        base = tmp_path / "m.gguf"
        convert_to_gguf(llama_dir, base, dtype="f16")
        adapter = write_adapter(tmp_path / "adapter", llama_dir)
        old, new = rename
        tensors = load_file(str(adapter / "adapters.safetensors"))
        renamed = {
            name.replace(old, new or ""): tensor
            for name, tensor in tensors.items()
            if new is not None or old not in name
        }
        save_file(renamed, str(adapter / "adapters.safetensors"))
        with pytest.raises(ModelError, match=words):
            convert_adapter(adapter, base, tmp_path / "a.gguf")
        assert not list(tmp_path.glob("a.gguf*"))

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"fine_tune_type": "dora"}, "'dora'"),
            ({"fine_tune_type": "full"}, "'full'"),
            ({"peft_type": "LORA"}, "PEFT"),
            ({"lora_parameters": {"rank": 6, "alpha": 12}}, "rank and scale"),
            ({"lora_parameters": {"rank": 5, "scale": 1.0}}, "do not fit rank 5"),
        ],
    )
    def test_unfit_configuration(
        self, llama_dir: Path, tmp_path: Path, change: dict[str, Any], words: str
    ) -> None:
        adapter = write_adapter(tmp_path / "adapter", llama_dir)
        config = json.loads((adapter / "adapter_config.json").read_text()) | change
        with pytest.raises(ModelError, match=words):
            convert_adapter(adapter, llama_dir, tmp_path / "a.gguf", config=config)

    def test_adapter_of_another_width(self, llama_dir: Path, tmp_path: Path) -> None:
        wide = make_tiny_hf(tmp_path / "wide", width=96)
        convert_to_gguf(llama_dir, tmp_path / "m.gguf", dtype="f16")
        with pytest.raises(ModelError, match="the adapter is for a matrix of"):
            adapter = write_adapter(tmp_path / "adapter", wide)
            convert_adapter(adapter, tmp_path / "m.gguf", tmp_path / "a.gguf")

    def test_missing_files(self, llama_dir: Path, tmp_path: Path) -> None:
        adapter = write_adapter(tmp_path / "adapter", llama_dir)
        with pytest.raises(ModelError, match="no model file"):
            convert_adapter(adapter, tmp_path / "none.gguf", tmp_path / "a.gguf")
        (adapter / "adapter_config.json").unlink()
        with pytest.raises(ModelError, match=r"adapter_config\.json"):
            convert_adapter(adapter, llama_dir, tmp_path / "a.gguf")

    def test_directory_and_file_say_the_same_of_the_base(
        self, model_dir: Path, tmp_path: Path
    ) -> None:
        convert_to_gguf(model_dir, tmp_path / "m.gguf", dtype="q8_0")
        left, right = base_info(model_dir), base_info(tmp_path / "m.gguf")
        facts = ("architecture", "layers", "heads", "kv_heads")
        assert [getattr(left, f) for f in facts] == [getattr(right, f) for f in facts]


class TestCommand:
    def test_adapter(self, llama_dir: Path, tmp_path: Path) -> None:
        adapter = write_adapter(tmp_path / "adapter", llama_dir)
        out = tmp_path / "a.gguf"
        arguments = ["adapter", str(adapter), "-o", str(out), "--base", str(llama_dir)]
        result = CliRunner().invoke(convert, [*arguments, "--json"], catch_exceptions=False)
        assert json.loads(result.stdout)["adapter"]["rank"] == RANK
        assert out.exists()
        again = CliRunner().invoke(convert, arguments)
        assert isinstance(again.exception, UsageError) and "--force" in again.exception.hint
        forced = CliRunner().invoke(convert, [*arguments, "--force"], catch_exceptions=False)
        assert forced.exit_code == 0 and "rank 6" in forced.stdout

    def test_model(self, llama_dir: Path, tmp_path: Path) -> None:
        out = tmp_path / "m.gguf"
        arguments = ["model", str(llama_dir), "-o", str(out), "--type", "f16"]
        result = CliRunner().invoke(convert, arguments, catch_exceptions=False)
        assert result.exit_code == 0 and out.exists()
