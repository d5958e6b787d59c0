"""Today's small models and their adapters must mean the same to MLX and to llama.cpp."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

from agentr_lite.actors.llamacpp.gguf_header import read_header
from agentr_lite.cli.convert import convert
from agentr_lite.convert import gguf_to_hf, lora_to_gguf
from agentr_lite.convert.cached import copy_of, has_copy, make_copy
from agentr_lite.convert.check import check_adapter, check_copy
from agentr_lite.convert.gguf_to_hf import check_convertible, convert_to_hf
from agentr_lite.convert.logits import PIECE, LlamaCppLogits, MlxLogits
from agentr_lite.convert.lora_to_gguf import base_info, check_adaptable, convert_adapter
from agentr_lite.convert.orders import LinearHeads, Order, linear_order
from agentr_lite.convert.recurrent import check_recurrent
from agentr_lite.convert.vocabularies import check_vocabulary, tokenize
from agentr_lite.core.errors import ModelError
from agentr_lite.train.lora import train_lora
from agentr_lite.train.targets import FURTHER, PROJECTIONS
from tests.support.tiny_gemma4 import make_tiny_gemma4
from tests.support.tiny_hybrids import TRAINED, trained_shape, write_shape, write_tiny_hybrid
from tests.train.test_train_lora import SETTINGS, examples

RANK, SCALE = 5, 1.5
EXACT = 1e-3
"""Largest difference of logits, whose spread is about 5; 1e-4 seen."""
GELU = 0.03
"""The same for Gemma."""
SHOWS = 0.1
"""Least difference of logits that a mistake makes."""


@dataclass(frozen=True)
class Pair:
    """One model in both formats, loaded."""

    kind: str
    file: Path
    folder: Path
    mlx: MlxLogits
    llamacpp: LlamaCppLogits

    @property
    def tolerance(self) -> float:
        """llama.cpp looks GELU up in a table of half-precision numbers."""
        return GELU if self.kind.startswith("gemma") else EXACT

    def logits(self, adapter: Path | None = None, converted: Path | None = None) -> Any:
        """MLX's and llama.cpp's, of the same text."""
        tokens = np.random.default_rng(0).integers(5, 300, 120).tolist()
        (ours,) = self.mlx.pieces(tokens, adapter)
        (theirs,) = self.llamacpp.pieces(tokens, converted)
        return ours, theirs


@pytest.fixture(scope="module", params=[*TRAINED, "gemma4-small", "gemma4-large"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder, kind = tmp_path_factory.mktemp(request.param), request.param
    if kind in TRAINED:
        file, directory = write_shape(folder / "m.gguf", trained_shape(kind)), folder / "hf"
        convert_to_hf(file, directory)
    else:
        directory, file = make_tiny_gemma4(folder, kind.removeprefix("gemma4-"))
    with MlxLogits(directory) as mlx, LlamaCppLogits(file, longest=PIECE) as llamacpp:
        yield Pair(kind, file, directory, mlx, llamacpp)


def modules(model: Path) -> list[str]:
    """All matrices that get adapters, in all layers."""
    names = load_file(str(model / "model.safetensors"))
    ends = tuple(f".{name}.weight" for name in (*PROJECTIONS, *FURTHER))
    return sorted(name.removesuffix(".weight") for name in names if name.endswith(ends))


def write_adapter(folder: Path, model: Path, adapted: list[str], prefix: str = "") -> Path:
    """A random adapter that changes much."""
    rng = np.random.default_rng(1)
    weights = load_file(str(model / "model.safetensors"))
    tensors = {}
    for name in adapted:
        rows, columns = weights[f"{name}.weight"].shape
        a = rng.standard_normal((columns, RANK)) / np.sqrt(columns)
        b = rng.standard_normal((RANK, rows)) / np.sqrt(RANK)
        tensors[f"{prefix}{name}.lora_a"] = a.astype(np.float32)
        tensors[f"{prefix}{name}.lora_b"] = b.astype(np.float32)
    folder.mkdir()
    save_file(tensors, str(folder / "adapters.safetensors"))
    keys = sorted({name.split(".", 3)[3] for name in adapted})
    config = json.loads((model / "config.json").read_text())
    parameters = {"rank": RANK, "scale": SCALE, "dropout": 0.0, "keys": keys}
    settings = {
        "fine_tune_type": "lora",
        "num_layers": config["num_hidden_layers"],
        "lora_parameters": parameters,
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def prefix(pair: Pair) -> str:
    """What mlx-lm's names of the model begin with."""
    return "language_model." if pair.kind.startswith("qwen35") else ""


def test_the_copy_computes_what_the_file_does(pair: Pair) -> None:
    ours, theirs = pair.logits()
    assert ours.std() > 1
    assert np.abs(ours - theirs).max() < pair.tolerance


def test_the_copy_has_the_files_vocabulary(pair: Pair) -> None:
    assert check_copy(pair.file, pair.folder).passed


def test_an_adapter_of_everything_means_the_same(pair: Pair, tmp_path: Path) -> None:
    names = modules(pair.folder)
    adapter = write_adapter(tmp_path / "adapter", pair.folder, names, prefix(pair))
    summary = convert_adapter(adapter, pair.file, tmp_path / "a.gguf")
    assert (summary.rank, summary.alpha) == (RANK, RANK * SCALE)
    assert summary.tensors == len(names)
    base, _ = pair.logits()
    ours, theirs = pair.logits(adapter, tmp_path / "a.gguf")
    assert np.abs(ours - base).max() > 1
    assert np.abs(ours - theirs).max() < pair.tolerance


def test_each_projection_means_the_same(pair: Pair, tmp_path: Path) -> None:
    base, _ = pair.logits()
    kinds = sorted({name.split(".", 3)[3] for name in modules(pair.folder)})
    assert len(kinds) >= 7
    for number, kind in enumerate(kinds):
        names = [name for name in modules(pair.folder) if name.endswith(f".{kind}")]
        adapter = write_adapter(tmp_path / f"{number}", pair.folder, names, prefix(pair))
        convert_adapter(adapter, pair.file, tmp_path / f"{number}.gguf")
        ours, theirs = pair.logits(adapter, tmp_path / f"{number}.gguf")
        assert np.abs(ours - base).max() > SHOWS, kind
        assert np.abs(ours - theirs).max() < pair.tolerance, kind


MISTAKES: dict[str, tuple[str, Callable[..., Any]]] = {
    "granitehybrid": ("permute_rows", lambda rows, heads: rows),
    "qwen35-shared": ("linear_order", lambda name, heads: Order()),
    "qwen35": ("permutes", lambda architecture: True),
    "lfm2": ("permutes", lambda architecture: True),
    "gemma4-small": ("permutes", lambda architecture: True),
    "gemma4-large": ("permutes", lambda architecture: True),
}


def test_a_wrong_order_would_show(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = modules(pair.folder)
    adapter = write_adapter(tmp_path / "adapter", pair.folder, names, prefix(pair))
    monkeypatch.setattr(lora_to_gguf, *MISTAKES[pair.kind])
    convert_adapter(adapter, pair.file, tmp_path / "a.gguf")
    ours, theirs = pair.logits(adapter, tmp_path / "a.gguf")
    assert np.abs(ours - theirs).max() > SHOWS


def test_a_directory_as_base_gives_the_same_file(pair: Pair, tmp_path: Path) -> None:
    names = modules(pair.folder)
    adapter = write_adapter(tmp_path / "adapter", pair.folder, names, prefix(pair))
    convert_adapter(adapter, pair.file, tmp_path / "a.gguf")
    convert_adapter(adapter, pair.folder, tmp_path / "b.gguf")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    facts = ("architecture", "layers", "heads", "kv_heads", "linear")
    left, right = base_info(pair.file), base_info(pair.folder)
    assert [getattr(left, fact) for fact in facts] == [getattr(right, fact) for fact in facts]


def test_a_training_gives_an_adapter_for_both(pair: Pair, tmp_path: Path) -> None:
    check_adaptable(pair.folder)
    settings = replace(SETTINGS, epochs=2, batch_size=8)
    result = train_lora(pair.folder, examples(8, 0), (), settings, seed=1, out_dir=tmp_path / "out")
    losses = [loss for _, loss in result.train_losses]
    assert len(losses) == 2 and losses[1] < losses[0]
    written = load_file(str(tmp_path / "out" / "adapters.safetensors"))
    adapted = {name.removesuffix(".lora_a") for name in written if name.endswith("a")}
    assert adapted == {prefix(pair) + name for name in modules(pair.folder)}
    checked = check_adapter(
        result.adapter_dir, result.gguf_path, pair.folder, pair.file, texts=["Action: get 2 logs"]
    )
    assert checked.passed and checked.effect_rms > 0.05 and checked.error_rms < pair.tolerance


def test_pairs_share_no_prefix_where_layers_are_recurrent(pair: Pair) -> None:
    from agentr_lite.train.mlx_session import Session

    assert Session(pair.folder).takes_branches == pair.kind.startswith("gemma")


def test_a_run_makes_the_weights_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTR_LITE_HOME", str(tmp_path / "home"))
    file = write_shape(tmp_path / "m.gguf", trained_shape("lfm2"))
    made = make_copy(file)
    assert has_copy(file) and made == copy_of(file)
    check_adaptable(made)


def test_layers_that_are_computed_again_give_the_same_gradient(pair: Pair, tmp_path: Path) -> None:
    from agentr_lite.train import lora
    from agentr_lite.train.memory import MemoryPlan

    settings = replace(SETTINGS, epochs=1, batch_size=2)
    weights = []
    for name, recomputed in (("kept", 0), ("again", 99)):
        with pytest.MonkeyPatch.context() as patch:
            plan = MemoryPlan(workers=1, recomputed=recomputed)
            patch.setattr(lora, "plan_memory", lambda *_, plan=plan, **__: plan)
            train_lora(pair.folder, examples(2, 0), (), settings, seed=1, out_dir=tmp_path / name)
        weights.append(load_file(str(tmp_path / name / "adapters.safetensors")))
    for name, values in weights[0].items():
        np.testing.assert_allclose(values, weights[1][name], atol=1e-5, err_msg=name)


def test_the_command_checks_an_adapter_on_an_unquantized_copy(tmp_path: Path) -> None:
    _halve(write_shape(tmp_path / "m.gguf", trained_shape("qwen35")), tmp_path / "half.gguf")
    convert_to_hf(tmp_path / "half.gguf", tmp_path / "hf")
    names = modules(tmp_path / "hf")
    adapter = write_adapter(tmp_path / "adapter", tmp_path / "hf", names, "language_model.")
    arguments = ["adapter", str(adapter), "-o", str(tmp_path / "a.gguf"), "--check", "--exact"]
    arguments += ["--base", str(tmp_path / "half.gguf"), "--mlx-base", str(tmp_path / "hf")]
    result = CliRunner().invoke(convert, arguments, catch_exceptions=False)
    assert result.exit_code == 0 and "qwen35 LoRA adapter" in result.stdout


class TestOrder:
    HEADS = LinearHeads(keys=2, values=6, key_width=1, value_width=2)

    def test_value_heads_take_turns(self) -> None:
        rows = linear_order("blk.3.ssm_beta.weight", self.HEADS).rows
        assert rows is not None and rows.tolist() == [0, 3, 1, 4, 2, 5]

    def test_queries_and_keys_stay(self) -> None:
        rows = linear_order("blk.0.attn_qkv.weight", self.HEADS).rows
        assert rows is not None
        assert rows.tolist() == [0, 1, 2, 3, 4, 5, 10, 11, 6, 7, 12, 13, 8, 9, 14, 15]

    def test_the_output_takes_turns_in_its_columns(self) -> None:
        order = linear_order("blk.0.ssm_out.weight", self.HEADS)
        assert order.rows is None and order.columns is not None
        assert order.columns.tolist() == [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]

    @pytest.mark.parametrize("name", ["blk.0.attn_q.weight", "blk.0.ffn_up.weight", "token_embd"])
    def test_nothing_else_moves(self, name: str) -> None:
        assert linear_order(name, self.HEADS) == Order()


class TestRefused:
    @pytest.mark.parametrize(
        ("kind", "changes", "words"),
        [
            ("granitehybrid", {"groups": 2}, "several groups"),
            ("lfm2", {"attention": (0, 1, 2, 3)}, "attention in some layers"),
            ("qwen35", {"layers": 3}, "attention in some layers"),
        ],
    )
    def test_a_shape_that_mlx_computes_otherwise(
        self, tmp_path: Path, kind: str, changes: dict[str, Any], words: str
    ) -> None:
        file = write_shape(tmp_path / "m.gguf", replace(trained_shape(kind), **changes))
        with pytest.raises(ModelError, match=words) as caught:
            check_convertible(file)
        assert "train_model" in caught.value.hint

    def test_another_family_names_what_is_supported(self, tmp_path: Path) -> None:
        file = write_tiny_hybrid(tmp_path / "m.gguf", "nemotron_h")
        with pytest.raises(ModelError, match=r"'nemotron_h' cannot be taken.*qwen35"):
            check_convertible(file)

    @pytest.mark.parametrize("keys", [0, 3])
    def test_heads_that_do_not_fit_together(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: int
    ) -> None:
        file = write_shape(tmp_path / "m.gguf", trained_shape("qwen35"))
        header = read_header(file)
        wrong = replace(header, metadata={**header.metadata, "qwen35.ssm.group_count": keys})
        monkeypatch.setattr(lora_to_gguf, "check_model_file", lambda path: wrong)
        with pytest.raises(ModelError, match="do not fit together"):
            base_info(file)
        with pytest.raises(ModelError, match=r"heads|sizes"):
            check_recurrent(wrong)

    @pytest.mark.parametrize("leave_out", ["blk.0.ssm_a", "blk.3.attn_q.weight"])
    def test_a_missing_tensor(self, tmp_path: Path, leave_out: str) -> None:
        file = write_shape(tmp_path / "m.gguf", trained_shape("qwen35"))
        header = read_header(file)
        fewer = replace(header, tensors=tuple(t for t in header.tensors if t.name != leave_out))
        with pytest.raises(ModelError, match=f"lacks the tensors {leave_out}"):
            gguf_to_hf._check_tensors(fewer)

    def test_a_tensor_of_another_shape(self, tmp_path: Path) -> None:
        file = write_shape(tmp_path / "m.gguf", trained_shape("lfm2"))
        header = read_header(file)
        wrong = replace(header, metadata={**header.metadata, "lfm2.feed_forward_length": 96})
        with pytest.raises(ModelError, match=r"'blk.0.ffn_\w+.weight' has the shape"):
            gguf_to_hf._check_tensors(wrong)

    @pytest.mark.parametrize(
        "config",
        [
            {"model_type": "qwen3_5", "text_config": {"model_type": "qwen3_5_text"}}
            | {"num_experts": 4},
            {"model_type": "granitemoehybrid", "layer_types": ["mamba"], "num_local_experts": 8},
            {"model_type": "gemma4_text", "enable_moe_block": True},
        ],
    )
    def test_experts(self, tmp_path: Path, config: dict[str, Any]) -> None:
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(ModelError, match="experts"):
            check_adaptable(tmp_path)

    def test_a_granite_without_recurrent_layers_is_another_architecture(
        self, tmp_path: Path
    ) -> None:
        config = {
            "model_type": "granitemoehybrid",
            "layer_types": ["attention"] * 2,
            "num_attention_heads": 4,
            "num_hidden_layers": 2,
        }
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert base_info(tmp_path).architecture == "granite"


@pytest.mark.parametrize(
    ("kind", "pre"), [("qwen35",) * 2, ("lfm2",) * 2, ("granitehybrid", "dbrx")]
)
def test_the_tokenizers_of_real_files(tmp_path: Path, kind: str, pre: str) -> None:
    file = write_shape(tmp_path / "m.gguf", trained_shape(kind), pre=pre)
    convert_to_hf(file, tmp_path / "hf")
    with MlxLogits(tmp_path / "hf") as mlx, LlamaCppLogits(file, longest=PIECE) as llamacpp:
        check_vocabulary(mlx.tokenizer, llamacpp.model, tmp_path / "hf")
        # Marks that combine with letters, which Qwen 3.5 keeps in a word.
        text = "हिन्दी 12345 x"
        assert tokenize(mlx.tokenizer, llamacpp.model, text, tmp_path / "hf")


@pytest.mark.parametrize("kind", TRAINED)
def test_half_precision_rounds_matrices_alone(tmp_path: Path, kind: str) -> None:
    file = write_shape(tmp_path / "m.gguf", trained_shape(kind))
    half = tmp_path / "half.gguf"
    _halve(file, half)
    summary = convert_to_hf(half, tmp_path / "hf")
    weights = load_file(str(tmp_path / "hf" / "model.safetensors"))
    assert summary.dtype == "F16"
    for name, values in weights.items():
        matrix = values.ndim == 2
        assert values.dtype == (np.float16 if matrix else np.float32), name
    assert check_copy(half, tmp_path / "hf", exact=True).agreement.likelihood < EXACT


def test_a_gpu_computes_in_the_matrices_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlx.utils import tree_flatten

    from agentr_lite.actors.mlx import device

    _halve(write_shape(tmp_path / "m.gguf", trained_shape("qwen35")), tmp_path / "half.gguf")
    convert_to_hf(tmp_path / "half.gguf", tmp_path / "hf")
    monkeypatch.setattr(device, "on_cpu", lambda: False)
    model, _ = device.load_model(tmp_path / "hf")
    kinds = {name: str(array.dtype) for name, array in tree_flatten(model.parameters())}
    wide = {name for name, kind in kinds.items() if kind == "mlx.core.float32"}
    assert wide and all(name.endswith("A_log") for name in wide)
    assert set(kinds.values()) == {"mlx.core.float32", "mlx.core.float16"}


def _halve(source: Path, target: Path) -> None:
    """llama.cpp's own copy with f16 matrices."""
    import ctypes

    from agentr_lite.actors.llamacpp.library import load_library

    lib = load_library()
    parameters = lib.llama_model_quantize_default_params()
    parameters.ftype = lib.LLAMA_FTYPE_MOSTLY_F16
    status = lib.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(parameters)
    )
    assert status == 0
    kinds = {t.tensor_type.name for t in gguf.GGUFReader(target).tensors}
    assert kinds == {"F32", "F16"}
