"""Out of a GGUF file: weights, tokenizer, and the checks that stand behind ``--check``."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.convert import cached, check, gguf_to_hf, lora_to_gguf
from agentr_lite.convert.cached import copy_of, has_copy, make_copy
from agentr_lite.convert.check import CopyCheck, check_adapter, check_copy
from agentr_lite.convert.compare import agreement
from agentr_lite.convert.gguf_to_hf import check_convertible, convert_to_hf
from agentr_lite.convert.hf_to_gguf import WeightType, convert_to_gguf
from agentr_lite.convert.logits import PIECE, MlxLogits
from agentr_lite.convert.lora_to_gguf import convert_adapter
from agentr_lite.convert.names import permute_rows, unpermute_rows
from agentr_lite.convert.rope import llama3_factors, llama3_scaling
from agentr_lite.convert.safetensors_io import SafetensorsFile
from agentr_lite.convert.vocabularies import check_vocabulary, tokenize
from agentr_lite.core.errors import ModelError, UsageError
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.weights import training_weights
from tests.convert.test_convert import at_least, difference, mlx_logits, write_adapter
from tests.support.command_line import Call
from tests.support.llama_logits import llama_logits
from tests.support.tiny_gguf import TinyShape, write_tiny_model
from tests.support.tiny_hf import TEXTS, make_tiny_hf

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
HARD_TEXTS = (
    "".join(TEXTS),
    "<|user|>12345 don't  STOP\n\n\t x<|end|><|assistant|>",
    " Hello,  world! It's 2 o'clock,\tand\r\n42 über-Straßen 漢字 🙂 ",
)


def same_tokens(model_dir: Path, file: Path, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of each text, after both vocabularies were compared."""
    from mlx_lm.utils import load_tokenizer

    tokenizer, model = load_tokenizer(model_dir), Model(file, n_gpu_layers=0)
    try:
        check_vocabulary(tokenizer, model, model_dir)
        return [tokenize(tokenizer, model, text, model_dir) for text in texts]
    finally:
        model.close()


def there_and_back(tmp_path: Path, dtype: WeightType, **model: Any) -> tuple[Path, Path, Path]:
    """(original directory, GGUF file, directory made of the file)."""
    original = make_tiny_hf(tmp_path / "model", **model)
    convert_to_gguf(original, tmp_path / "m.gguf", dtype=dtype)
    convert_to_hf(tmp_path / "m.gguf", tmp_path / "back")
    return original, tmp_path / "m.gguf", tmp_path / "back"


class TestModel:
    @pytest.mark.parametrize(
        "model",
        [
            {"model_type": "llama"},
            {"model_type": "llama", "tied": False},
            {"model_type": "llama", "rope_scaling": LLAMA3},
            {"model_type": "llama", "rope_scaling": {"rope_type": "linear", "factor": 4.0}},
            {"model_type": "qwen2"},
            {"model_type": "qwen3"},
            {"model_type": "gemma"},
            {"model_type": "gemma2"},
            {"model_type": "gemma3_text", "layers": 6},
        ],
        ids=lambda model: "-".join(map(str, model)),
    )
    def test_there_and_back_is_the_same_model(self, tmp_path: Path, model: dict[str, Any]) -> None:
        original, file, back = there_and_back(tmp_path, "f32", **model)
        gemma = model["model_type"].startswith("gemma")
        left = SafetensorsFile(original / "model.safetensors")
        right = SafetensorsFile(back / "model.safetensors")
        assert sorted(left.names()) == sorted(right.names())
        for name in left.names():
            # Gemma's norms lose a bit where 1 is added and taken off again.
            lost = 2e-7 if gemma and name.endswith("norm.weight") else 0
            assert np.abs(left.read(name) - right.read(name)).max() <= lost, name
        tokens = same_tokens(back, file, HARD_TEXTS)
        assert tokens == same_tokens(original, file, HARD_TEXTS)
        ours = mlx_logits(back, tokens[0])
        assert difference(ours, mlx_logits(original, tokens[0])) <= (1e-5 if gemma else 0)
        assert difference(ours, llama_logits(file, tokens[0])) < at_least(2e-4, original)

    @pytest.mark.parametrize("file_type", ["f16", "q8_0", "q4_0"])
    @pytest.mark.parametrize("arch", ["llama", "qwen2"])
    def test_quantized_files(self, tmp_path: Path, arch: str, file_type: str) -> None:
        file = write_tiny_model(tmp_path / "m.gguf", TinyShape(arch=arch), file_type=file_type)
        made = convert_to_hf(file, tmp_path / "back")
        assert made.dtype == "F16" and made.quantization == file_type.upper()
        assert check_copy(file, tmp_path / "back").agreement.top1 > 0.8

    @pytest.mark.parametrize("name", ["Q4_K_M", "Q5_K_M", "Q6_K"])
    def test_what_llama_quantize_writes(self, tmp_path: Path, name: str) -> None:
        from agentr_lite.actors.llamacpp.library import load_library

        lib = load_library()
        shape = TinyShape(width=256, heads=4, kv_heads=4, hidden=512, layers=2)
        plain = write_tiny_model(tmp_path / "plain.gguf", shape, file_type="f16")
        file = tmp_path / "quantized.gguf"
        parameters = lib.llama_model_quantize_default_params()
        parameters.ftype = getattr(lib, f"LLAMA_FTYPE_MOSTLY_{name}")
        parameters.nthread = 1
        done = lib.llama_model_quantize(
            str(plain).encode(), str(file).encode(), ctypes.byref(parameters)
        )
        assert done == 0
        made = convert_to_hf(file, tmp_path / "back")
        assert made.quantization in name and made.parameters > 1_000_000
        assert check_copy(file, tmp_path / "back").agreement.relative < 0.2

    def test_a_wrong_copy_is_noticed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = write_tiny_model(tmp_path / "m.gguf", file_type="q8_0")
        monkeypatch.setattr(gguf_to_hf, "unpermute_rows", lambda rows, heads: rows)
        convert_to_hf(file, tmp_path / "back")
        with pytest.raises(ModelError, match="compute something else"):
            check_copy(file, tmp_path / "back")

    def test_bf16_is_kept(self, tmp_path: Path) -> None:
        values = np.array([1.0, -2.5, 3.14159, 1e-30, 65504.0 * 4], np.float32)
        bits = gguf_to_hf._convert(values, "BF16", "x").astype(np.uint32) << 16
        assert np.allclose(bits.view(np.float32), values, rtol=2**-8)
        with pytest.raises(ModelError, match="too large for f16"):
            gguf_to_hf._convert(values, "F16", "x")

    def test_the_chat_template_and_the_ends_arrive(self, tmp_path: Path) -> None:
        original, _, back = there_and_back(tmp_path, "q8_0")
        ours, theirs = (
            json.loads((folder / "tokenizer_config.json").read_text())
            for folder in (original, back)
        )
        for key in ("chat_template", "eos_token", "pad_token"):
            assert ours[key] == theirs[key]
        config = json.loads((back / "config.json").read_text())
        assert config["rms_norm_eps"] == 1e-05 and config["rope_theta"] == 10_000.0

    def test_a_begin_token_is_still_wanted(self, tmp_path: Path) -> None:
        from mlx_lm.utils import load_tokenizer

        for bos in (True, False):
            file = write_tiny_model(tmp_path / f"{bos}.gguf", bos=bos)
            convert_to_hf(file, tmp_path / str(bos))
            tokenizer = load_tokenizer(tmp_path / str(bos))
            assert (tokenizer.encode("")[:1] == [tokenizer.bos_token_id]) is bos

    @pytest.mark.parametrize(
        ("arch", "template", "words"),
        [("phi3", "{{ messages }}", "'phi3' cannot")],
    )
    def test_files_that_cannot_be_converted(
        self, tmp_path: Path, arch: str, template: str | None, words: str
    ) -> None:
        file = write_tiny_model(tmp_path / "m.gguf", TinyShape(arch=arch), template=template)
        with pytest.raises(ModelError, match=words):
            check_convertible(file)
        with pytest.raises(ModelError, match=words):
            convert_to_hf(file, tmp_path / "back")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf"]

    def test_unpermuting_is_the_inverse(self) -> None:
        rows = np.arange(48, dtype=np.float32).reshape(24, 2)
        for heads in (1, 2, 3):
            assert np.array_equal(unpermute_rows(permute_rows(rows, heads), heads), rows)

    def test_rope_factors_give_their_parameters_back(self) -> None:
        for factor in (8.0, 32.0):
            scaling = LLAMA3 | {"factor": factor}
            factors = llama3_factors(scaling, 500_000.0, 64)
            assert factors.min() == 1 and factors.max() == factor
            assert llama3_scaling(factors, 500_000.0, 64) == scaling
        with pytest.raises(ModelError, match="rotary frequencies is not supported"):
            llama3_scaling(np.linspace(1, 7, 32, dtype=np.float32), 500_000.0, 64)


class TestSentencePiece:
    def test_token_ids_agree(self, tmp_path: Path) -> None:
        """HF to GGUF and back, with byte fallback and spaces as U+2581."""
        model_dir = make_tiny_hf(tmp_path / "model", vocab_size=500)
        vocab = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
        merges = []
        vocab += ["▁", *"abcdefghijklmnopqrstuvwxyzGT:.,0123456789\n"]
        for word in ("▁craft", "▁oak", "▁planks", "▁the", "Goal", "Thought"):
            for size in range(2, len(word) + 1):
                if word[:size] not in vocab:
                    merges.append([word[: size - 1], word[size - 1]])
                    vocab.append(word[:size])
        added = [
            {
                **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False),
                "id": index,
                "content": vocab[index],
                "special": True,
            }
            for index in range(3)
        ]
        replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
        decoder = [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
        ]
        data = json.loads((model_dir / "tokenizer.json").read_text())
        data |= {
            "added_tokens": added,
            "normalizer": replace,
            "pre_tokenizer": None,
            "decoder": {"type": "Sequence", "decoders": decoder},
        }
        data["model"] |= {
            "vocab": {token: index for index, token in enumerate(vocab)},
            "merges": merges,
            "byte_fallback": True,
            "fuse_unk": True,
            "unk_token": "<unk>",
        }
        (model_dir / "tokenizer.json").write_text(json.dumps(data))
        settings = json.loads((model_dir / "tokenizer_config.json").read_text())
        settings |= {"eos_token": "</s>", "bos_token": "<s>", "pad_token": "<unk>"}
        (model_dir / "tokenizer_config.json").write_text(json.dumps(settings))
        convert_to_gguf(model_dir, tmp_path / "m.gguf", dtype="f32")
        convert_to_hf(tmp_path / "m.gguf", tmp_path / "back")
        texts = ["Goal: craft oak planks.\nThought: the  oak 42 漢🙂", "<s>Goal</s> craft"]
        ours = same_tokens(model_dir, tmp_path / "m.gguf", texts)
        assert ours == same_tokens(tmp_path / "back", tmp_path / "m.gguf", texts)
        assert vocab.index("▁planks") in ours[0] and ours[1][0] == 1


class TestCopy:
    def test_it_is_made_once_and_only_if_it_is_right(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = write_tiny_model(tmp_path / "m.gguf", file_type="q8_0")
        assert not has_copy(file)
        assert training_weights(Recipe(model=str(file))) == copy_of(file)
        assert not copy_of(file).exists(), "asking for it does not make it"
        seen: list[tuple[int, int]] = []
        folder = make_copy(file, on_progress=lambda done, total: seen.append((done, total)))
        assert has_copy(file) and folder == copy_of(file)
        made = SafetensorsFile(folder / "model.safetensors")
        assert seen[-1][0] == seen[-1][1] == sum(made.read(name).size * 2 for name in made.names())
        record = json.loads((folder / "conversion.json").read_text())
        assert record["quantization"] == "Q8_0" and record["agreement"]["relative"] < 0.3
        monkeypatch.setattr(gguf_to_hf, "convert_to_hf", None)
        assert make_copy(file) == folder
        file.write_bytes(file.read_bytes() + b"\0")
        assert copy_of(file) != folder, "another file, another copy"

    def test_nothing_is_left_of_a_wrong_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = write_tiny_model(tmp_path / "m.gguf", file_type="q8_0")
        monkeypatch.setattr(gguf_to_hf, "unpermute_rows", lambda rows, heads: rows)
        with pytest.raises(ModelError, match="compute something else"):
            cached.make_copy(file)
        assert not has_copy(file) and not copy_of(file).exists()
        assert not any(copy_of(file).parent.iterdir())

    def test_processes_that_make_the_same_leave_each_other_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = write_tiny_model(tmp_path / "m.gguf", file_type="q8_0")
        folder = copy_of(file)
        left, working = (folder.with_name(f".making-{folder.name}.{one}") for one in "ab")
        for path in (left, working):
            (path / "copy").mkdir(parents=True)
        lock = os.open(working, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)

        def finished_by_another(gguf: Path, copy: Path) -> CopyCheck:
            folder.mkdir()
            (folder / "conversion.json").write_text("the other's")
            return check_copy(gguf, copy)

        monkeypatch.setattr(check, "check_copy", finished_by_another)
        assert make_copy(file) == folder
        assert (folder / "conversion.json").read_text() == "the other's"
        assert set(folder.parent.iterdir()) == {folder, working}
        os.close(lock)

    def test_an_unfinished_one_is_replaced(self, tmp_path: Path) -> None:
        file = write_tiny_model(tmp_path / "m.gguf", file_type="q8_0")
        copy_of(file).mkdir(parents=True)
        (copy_of(file) / "config.json").write_text("{}")
        make_copy(file)
        assert has_copy(file) and list(copy_of(file).parent.iterdir()) == [copy_of(file)]


class TestCheck:
    @pytest.fixture(scope="class")
    def files(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """``model``, ``q8.gguf``, ``adapter`` and ``adapter.gguf``."""
        folder = tmp_path_factory.mktemp("check")
        make_tiny_hf(folder / "model")
        convert_to_gguf(folder / "model", folder / "q8.gguf", dtype="q8_0")
        write_adapter(folder / "adapter", folder / "model")
        convert_adapter(folder / "adapter", folder / "model", folder / "adapter.gguf")
        return folder

    def test_a_right_adapter_passes(self, files: Path) -> None:
        adapter, converted = files / "adapter", files / "adapter.gguf"
        found = check_adapter(adapter, converted, files / "model", None)
        assert found.exact and found.passed and found.adapted.top1 == 1
        assert found.error_rms < 1e-3 * found.effect_rms
        found.require()
        quantized = check_adapter(
            adapter, converted, files / "model", files / "q8.gguf", texts=["Goal: craft sticks"]
        )
        assert not quantized.exact and quantized.base.rms > 100 * found.base.rms

    @pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"])
    @pytest.mark.parametrize(
        ("layers", "keys"),
        [(1, ["self_attn.q_proj", "mlp.down_proj"]), (-1, None)],
        ids=["two keys of the last layer", "all that mlx-lm finds"],
    )
    def test_adapters_as_mlx_lm_makes_them(
        self, tmp_path: Path, kind: str, layers: int, keys: list[str] | None
    ) -> None:
        import mlx.core as mx
        from mlx.utils import tree_flatten, tree_map
        from mlx_lm.tuner.utils import linear_to_lora_layers

        from agentr_lite.actors.mlx.device import load_model

        count = 6 if kind == "gemma3_text" else 2
        path = make_tiny_hf(tmp_path / "model", model_type=kind, layers=count)
        model, _ = load_model(path)
        model.freeze()
        parameters = {"rank": 5, "scale": 20.0, "dropout": 0.1}
        parameters |= {} if keys is None else {"keys": keys}
        number = layers if layers > 0 else count
        linear_to_lora_layers(model, number, dict(parameters))
        mx.random.seed(3)
        trained = tree_map(
            lambda values: values + 0.05 * mx.random.normal(values.shape),
            model.trainable_parameters(),
        )
        adapter = tmp_path / "adapter"
        adapter.mkdir()
        mx.save_safetensors(str(adapter / "adapters.safetensors"), dict(tree_flatten(trained)))
        config = {"fine_tune_type": "lora", "num_layers": number, "lora_parameters": parameters}
        (adapter / "adapter_config.json").write_text(json.dumps(config))
        summary = convert_adapter(adapter, path, tmp_path / "a.gguf")
        assert summary.tensors == (2 if keys else 7 * count) and summary.alpha == 100
        found = check_adapter(adapter, tmp_path / "a.gguf", path, None)
        assert found.passed and found.error_rms < 0.01 * found.effect_rms

    def test_a_forgotten_permutation_fails(
        self, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lora_to_gguf, "permute_rows", lambda rows, heads: rows)
        convert_adapter(files / "adapter", files / "model", tmp_path / "bad.gguf")
        found = check_adapter(files / "adapter", tmp_path / "bad.gguf", files / "model", None)
        assert found.error_rms > 3 * check.TOLERANCE * found.effect_rms
        with pytest.raises(ModelError, match="disagree about the adapter"):
            found.require()

    def test_an_adapter_without_effect_proves_nothing(self, files: Path, tmp_path: Path) -> None:
        from safetensors.numpy import load_file, save_file

        adapter = write_adapter(tmp_path / "adapter", files / "model")
        path = adapter / "adapters.safetensors"
        tensors = load_file(str(path))
        save_file({n: t * np.float32(n.endswith("a")) for n, t in tensors.items()}, str(path))
        convert_adapter(adapter, files / "model", tmp_path / "a.gguf")
        found = check_adapter(adapter, tmp_path / "a.gguf", files / "model", None)
        with pytest.raises(ModelError, match="cannot tell whether"):
            found.require()

    def test_another_model_is_refused(self, files: Path, tmp_path: Path) -> None:
        other = make_tiny_hf(tmp_path / "other", model_type="qwen2", seed=3)
        with pytest.raises(ModelError, match="the vocabularies of"):
            same_tokens(other, files / "q8.gguf", [])

    def test_agreement_ignores_what_softmax_ignores(self) -> None:
        rng = np.random.default_rng(0)
        rows = rng.standard_normal((5, 9)).astype(np.float32)
        shifted = rows + rng.standard_normal((5, 1)).astype(np.float32)
        padded = np.concatenate([shifted, np.full((5, 2), 99, np.float32)], axis=1)
        tokens = [3, 1, 4, 1, 5]
        same = agreement([rows], [padded], tokens)
        assert same.max_abs < 1e-5 and same.top1 == 1 and same.tokens == 5
        assert same.likelihood < 1e-5 and same.divergence < 1e-6
        assert agreement([rows], [-rows], tokens).top1 == 0

    @pytest.mark.parametrize("kind", ["llama", "gemma3_text"])
    def test_pieces_are_the_whole(self, tmp_path: Path, kind: str) -> None:
        """Cached, as MLX plays, and whole, as it trains; over windows of 64 tokens."""
        model = make_tiny_hf(tmp_path / "m", model_type=kind, layers=6)
        tokens = np.random.default_rng(0).integers(5, 390, 3 * PIECE - 7).tolist()
        with MlxLogits(model) as mlx:
            pieces = list(mlx.pieces(tokens))
        assert [len(piece) for piece in pieces] == [PIECE, PIECE, PIECE - 7]
        assert difference(np.concatenate(pieces), mlx_logits(model, tokens)) < 1e-4

    def test_agreement_is_the_formula(self) -> None:
        rng = np.random.default_rng(1)
        left, right = rng.standard_normal((2, 7, 11))
        tokens = rng.integers(0, 11, 7).tolist()
        p, q = (rows - np.log(np.exp(rows).sum(-1, keepdims=True)) for rows in (left, right))
        measured = agreement(
            [left[:3].astype(np.float32), left[3:].astype(np.float32)],
            [right[:3].astype(np.float32), right[3:].astype(np.float32)],
            tokens,
        )
        gaps = [abs(p[i, tokens[i + 1]] - q[i, tokens[i + 1]]) for i in range(6)]
        assert measured.likelihood == pytest.approx(max(gaps), rel=1e-4)
        assert measured.divergence == pytest.approx((np.exp(p) * (p - q)).sum(-1).mean(), rel=1e-4)


class TestCommand:
    def test_adapter_with_check(
        self, cli: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = make_tiny_hf(tmp_path / "model")
        convert_to_gguf(model, tmp_path / "m.gguf", dtype="q8_0")
        adapter = write_adapter(tmp_path / "adapter", model)
        out = tmp_path / "a.gguf"
        words = ("convert", "adapter", adapter, "-o", out, "--base", tmp_path / "m.gguf")
        code, stdout, stderr = cli(*words, "--check", "--exact")
        assert code == 0 and "same top token" in stdout and "unquantized copy" in stdout
        assert "taking the weights for MLX out of m.gguf" in stderr
        code, stdout, _ = cli(*words, "--check", "--exact", "--force", "--json")
        assert json.loads(stdout)["check"]["adapted"]["top1"] == 1
        before = out.read_bytes()
        monkeypatch.setattr(lora_to_gguf, "permute_rows", lambda rows, heads: rows)
        code, _, stderr = cli(*words, "--check", "--exact", "--force")
        assert code == 3 and "disagree about the adapter" in stderr
        assert out.read_bytes() == before, "what failed its check is not written"
        assert not list(tmp_path.glob(".convert*"))
        assert cli(*words, "--force", "--exact")[0] == 2

    def test_a_checkpoint_is_checked_by_itself(self, cli: Call, tmp_path: Path) -> None:
        model = make_tiny_hf(tmp_path / "model")
        earlier = write_adapter(tmp_path / "earlier", model, seed=2)
        checkpoint = write_adapter(tmp_path / "adapter", model) / "0000100_adapters.safetensors"
        (earlier / "adapters.safetensors").rename(checkpoint)
        words = ("convert", "adapter", checkpoint, "-o", tmp_path / "a.gguf", "--base", model)
        code, stdout, stderr = cli(*words, "--check", "--json")
        assert code == 0, stderr
        assert json.loads(stdout)["check"]["adapted"]["top1"] == 1

    def test_model_both_ways(self, cli: Call, tmp_path: Path) -> None:
        file = write_tiny_model(tmp_path / "m.gguf", file_type="q8_0")
        back = tmp_path / "back"
        code, stdout, _ = cli("convert", "model", file, "-o", back, "--check")
        assert code == 0 and "Q8_0 as f16; MLX and llama.cpp" in stdout
        code, _, stderr = cli("convert", "model", file, "-o", back, "--force")
        assert code == 2 and "exists" in stderr
        code, _, stderr = cli("convert", "model", file, "-o", tmp_path / "x", "--type", "f16")
        assert code == 2 and "--type" in stderr
        again = tmp_path / "again.gguf"
        code, stdout, _ = cli("convert", "model", back, "-o", again, "--check", "--json")
        assert code == 0 and json.loads(stdout)["check"]["top1"] > 0.8

    def test_unwritable_output(self, tmp_path: Path) -> None:
        file = write_tiny_model(tmp_path / "m.gguf")
        (tmp_path / "blocked").write_text("")
        with pytest.raises(UsageError, match="cannot write"):
            convert_to_hf(file, tmp_path / "blocked" / "back")
