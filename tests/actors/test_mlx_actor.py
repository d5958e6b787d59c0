"""The MLX engine's own parts: sampling, the pool of prefixes, adapters, refusals."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agentr_lite.actors.base import GenerateRequest, Sampling, ScoreRequest
from agentr_lite.actors.mlx.actor import MlxActor
from agentr_lite.actors.mlx.blas import use_fast_blas
from agentr_lite.actors.mlx.prefix import PrefixTree, Segment
from agentr_lite.actors.registry import check_model, open_actor, resolve_model
from agentr_lite.actors.settings import ActorSettings
from agentr_lite.core.errors import ModelError
from tests.actors.test_actor_conformance import chat
from tests.convert.test_convert import write_adapter
from tests.support.tiny_hf import make_tiny_hf

use_fast_blas()


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_hf(tmp_path_factory.mktemp("model") / "model")


class FakePool:
    """Slots without arrays."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.clear()

    @property
    def free(self) -> int:
        return len(self._left)

    def take(self, count: int) -> list[int]:
        return [self._left.pop() for _ in range(count)]

    def give_back(self, slots: list[int]) -> None:
        self._left += slots

    def clear(self) -> None:
        self._left = list(range(self.size))


class TestPrefixTree:
    @pytest.mark.parametrize("seed", range(20))
    def test_random_work_loses_no_slot_and_mixes_no_prefix(self, seed: int) -> None:
        rng = random.Random(seed)
        pool = FakePool(60)
        tree = PrefixTree(pool)
        owner: dict[int, tuple[int, ...]] = {}
        pinned: list[tuple[Segment, list[int]]] = []
        for _ in range(400):
            if pinned and rng.random() < 0.45:
                segment, _ = pinned.pop(rng.randrange(len(pinned)))
                tree.unpin(segment)
                continue
            tokens = [rng.randrange(3) for _ in range(rng.randint(0, 12))]
            found = tree.insert(tokens)
            if found is None:
                held = {slot for segment, _ in pinned for slot in tree.slots(segment)}
                assert len(held) + len(tokens) > pool.size, "refused though there was room"
                continue
            segment, matched = found
            pinned.append((segment, tokens))
            for new in tree.missing(segment):
                new.complete = True
            slots = tree.slots(segment)
            assert len(slots) == len(tokens)
            # A slot holds the end of one prefix, and a match hands out just that one.
            for end, slot in enumerate(slots, 1):
                if end > matched:
                    owner[slot] = tuple(tokens[:end])
                assert owner[slot] == tuple(tokens[:end])
            in_tree = [slot for segment in tree.segments() for slot in segment.slots]
            assert len(in_tree) == len(set(in_tree)) == pool.size - pool.free
            for segment, tokens in pinned:
                assert [owner[slot] for slot in tree.slots(segment)] == [
                    tuple(tokens[:end]) for end in range(1, len(tokens) + 1)
                ]
        for segment, _ in pinned:
            tree.unpin(segment)
        assert all(segment.pins == 0 for segment in tree.segments())

    def test_the_least_recently_used_goes_first(self) -> None:
        tree = PrefixTree(FakePool(6))
        for tokens in ([1, 1], [2, 2], [3, 3], [1, 1]):
            found = tree.insert(tokens)
            assert found is not None
            tree.unpin(found[0])
        found = tree.insert([4, 4])
        assert found is not None
        kept = sorted(segment.tokens for segment in tree.segments())
        assert kept == [[1, 1], [3, 3], [4, 4]]


class TestSampling:
    WEIGHTS = (0.4, 0.3, 0.15, 0.1, 0.05)

    def shares(self, sampling: Sampling, draws: int = 3000) -> list[float]:
        import mlx.core as mx

        from agentr_lite.actors.mlx.sampler import BatchSampler, Sample

        sampler = BatchSampler([Sample(sampling, seed, 1) for seed in range(1, draws + 1)])
        row = np.log(np.array(self.WEIGHTS, np.float32))[[3, 0, 4, 1, 2]]
        drawn = np.array(sampler(mx.array(np.tile(row, (draws, 1)))))
        order = [1, 3, 4, 0, 2]
        return [float((drawn == token).mean()) for token in order]

    @pytest.mark.parametrize(
        ("sampling", "expected"),
        [
            (Sampling(), WEIGHTS),
            (Sampling(temperature=0.5), (0.561, 0.316, 0.079, 0.035, 0.009)),
            (Sampling(top_k=2), (4 / 7, 3 / 7, 0, 0, 0)),
            (Sampling(top_p=0.65), (4 / 7, 3 / 7, 0, 0, 0)),
            (Sampling(top_p=0.75), (0.4 / 0.85, 0.3 / 0.85, 0.15 / 0.85, 0, 0)),
            (Sampling(min_p=0.3), (0.4 / 0.85, 0.3 / 0.85, 0.15 / 0.85, 0, 0)),
            # Top-p counts what top-k has left.
            (Sampling(top_k=3, top_p=0.8), (4 / 7, 3 / 7, 0, 0, 0)),
            (Sampling(temperature=0.0, top_k=5), (1, 0, 0, 0, 0)),
        ],
    )
    def test_shares(self, sampling: Sampling, expected: tuple[float, ...]) -> None:
        # Four standard errors at 3,000 draws.
        assert self.shares(sampling) == pytest.approx(list(expected), abs=0.037)

    def test_rows_with_settings_of_their_own_share_a_batch(self) -> None:
        import mlx.core as mx

        from agentr_lite.actors.mlx.sampler import BatchSampler, Sample

        kinds = [Sampling(), Sampling(temperature=0.0), Sampling(top_k=2), Sampling(min_p=0.3)]
        row = np.log(np.array(self.WEIGHTS, np.float32))
        together = BatchSampler([Sample(kind, 7, 9) for kind in kinds])
        alone = [BatchSampler([Sample(kind, 7, 9)]) for kind in kinds]
        for _ in range(9):
            drawn = np.array(together(mx.array(np.tile(row, (4, 1)))))
            apart = [int(np.array(one(mx.array(row[None])))[0]) for one in alone]
            assert drawn.tolist() == apart


class TestActor:
    def test_a_small_pool_gives_the_same_answers(self, model_dir: Path) -> None:
        roomy = MlxActor(model_dir, context_tokens=160)
        tight = MlxActor(model_dir, context_tokens=160, n_cells=160, width=3)
        for turn in range(3):
            asked = [
                GenerateRequest(chat(i, turn), (i + 1, i + 2), Sampling(max_tokens=6))
                for i in range(6)
            ]
            left, right = roomy.generate(asked), tight.generate(asked)
            assert [r.completions for r in left] == [r.completions for r in right]
            questions = [ScoreRequest(chat(i, turn), ("Good", "Got 2 logs")) for i in range(6)]
            for ours, theirs in zip(roomy.score(questions), tight.score(questions), strict=True):
                assert ours.log_likelihoods == pytest.approx(theirs.log_likelihoods, abs=1e-3)
        assert tight.usage.decoded_prompt_tokens > roomy.usage.decoded_prompt_tokens
        assert all(segment.pins == 0 for segment in tight._decoder.tree.segments())
        roomy.close()
        tight.close()

    @pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gemma2", "gemma3_text"])
    def test_nothing_but_the_tokens_decides(self, tmp_path: Path, kind: str) -> None:
        """Scores and greedy answers, against whole texts without any cache. The conversations are
        longer than Gemma 3's window of 64 tokens."""
        import mlx.core as mx

        from agentr_lite.actors.mlx.device import load_model

        path = make_tiny_hf(
            tmp_path / "model", model_type=kind, layers=6 if kind == "gemma3_text" else 2
        )
        actor = MlxActor(path, context_tokens=400)
        chats = [chat(index, turns=3 * index) for index in range(3)]
        answers = ("Good", "Got 2 oak logs", "x")
        greedy = Sampling(temperature=0.0, max_tokens=12)
        scored = actor.score([ScoreRequest(messages, answers) for messages in chats])
        drawn = actor.generate([GenerateRequest(messages, (1,), greedy) for messages in chats])
        texts: list[list[int]] = []
        prompts = []
        for messages, result in zip(chats, drawn, strict=True):
            prompt = actor.encoder.prompt(messages)
            assert prompt is not None
            prompts.append(prompt)
            texts += [
                [*prompt, *actor.encoder.tokenizer.continuation(answer)] for answer in answers
            ]
            texts.append([*prompt, *result.completions[0].token_ids])
        assert max(map(len, prompts)) > 64 + 20
        model, _ = load_model(path)
        logits = [np.array(model(mx.array([text]))[0]).astype(np.float64) for text in texts]
        for number, prompt in enumerate(prompts):
            for place, score in enumerate(scored[number].log_likelihoods):
                index = number * 4 + place
                follow = texts[index][len(prompt) :]
                rows = logits[index][len(prompt) - 1 : -1]
                sums = np.log(np.exp(rows).sum(-1))
                expected = sum(rows[i, token] - sums[i] for i, token in enumerate(follow))
                assert score == pytest.approx(float(expected), abs=2e-3)
            rows = logits[number * 4 + 3][len(prompt) - 1 : -1]
            ids = drawn[number].completions[0].token_ids
            assert rows.argmax(-1).tolist() == list(ids)
        actor.close()

    def test_a_quantized_model_plays_and_takes_adapters(
        self, model_dir: Path, tmp_path: Path
    ) -> None:
        from mlx_lm import convert

        from agentr_lite.actors.mlx.device import compiled_on_gpu_only, quiet

        with quiet(), compiled_on_gpu_only():
            path = tmp_path / "q4"
            convert(str(model_dir), mlx_path=str(path), quantize=True, q_group_size=32, q_bits=4)
        actor = MlxActor(path, context_tokens=160)
        answer = actor.generate([GenerateRequest(chat(1), (1,), Sampling(max_tokens=6))])[0]
        assert answer.completions[0].output_tokens == 6
        ask = [ScoreRequest(chat(1), ("Good", "Bad"))]
        base = actor.score(ask)[0].log_likelihoods
        actor.use_adapter(write_adapter(tmp_path / "adapter", model_dir))
        assert actor.score(ask)[0].log_likelihoods != pytest.approx(base, abs=0.1)
        actor.use_adapter(None)
        assert actor.score(ask)[0].log_likelihoods == pytest.approx(base, abs=1e-4)
        actor.close()

    def test_an_error_in_the_middle_leaves_a_working_actor(
        self, model_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from agentr_lite.actors.mlx import decoder

        actor = MlxActor(model_dir, context_tokens=160)
        asked = [GenerateRequest(chat(i), (1, 2), Sampling(max_tokens=9)) for i in range(3)]
        expected = actor.generate(asked)
        actor.reset_cache()

        def cut(self: object, live: object) -> bool:
            raise KeyboardInterrupt

        monkeypatch.setattr(decoder.Decoder, "_step", cut)
        with pytest.raises(KeyboardInterrupt):
            actor.generate(asked)
        monkeypatch.undo()
        assert actor.generate(asked) == expected
        actor.close()
        actor.close()
        with pytest.raises(ModelError, match="closed"):
            actor.generate(asked)

    def test_pieces_make_up_the_text(self, model_dir: Path) -> None:
        actor = MlxActor(model_dir, context_tokens=160)
        text = " It's  42 naïve über-Straßen 漢字 🙂\n\tdef"
        ids = actor._weights.vocabulary.tokenize(text)
        assert b"".join(actor._weights.vocabulary.piece(i) for i in ids).decode() == text
        special = actor._weights.vocabulary.tokenize("<|end|>")
        assert len(special) == 1 and actor._weights.vocabulary.piece(special[0]) == b""
        actor.close()

    def test_description(self, model_dir: Path) -> None:
        actor = MlxActor(model_dir, context_tokens=160)
        description = actor.description
        assert description["backend"] == "mlx" and len(description["sha256"]) == 64
        assert description["n_params"] > 10_000 and description["context_tokens"] == 160
        config = model_dir / "config.json"
        before = config.read_text()
        config.write_text(before + "\n")
        assert actor.description["sha256"] != description["sha256"]
        config.write_text(before)
        actor.close()


class TestAdapters:
    def test_dropout_is_off_and_a_changed_file_is_read_again(
        self, model_dir: Path, tmp_path: Path
    ) -> None:
        adapter = write_adapter(tmp_path / "a", model_dir, seed=1)
        config = json.loads((adapter / "adapter_config.json").read_text())
        config["lora_parameters"]["dropout"] = 0.5
        (adapter / "adapter_config.json").write_text(json.dumps(config))
        actor = MlxActor(model_dir, context_tokens=160)
        ask = [ScoreRequest(chat(1), ("Good",))]
        actor.use_adapter(adapter)
        first = actor.score(ask)[0].log_likelihoods
        actor.reset_cache()
        assert actor.score(ask)[0].log_likelihoods == first
        actor.use_adapter(adapter)
        assert actor.score(ask)[0].cached_tokens > 0, "the same adapter keeps the prefixes"
        other = write_adapter(tmp_path / "b", model_dir, seed=2)
        (other / "adapters.safetensors").replace(adapter / "adapters.safetensors")
        actor.use_adapter(adapter)
        assert actor.score(ask)[0].log_likelihoods != first
        actor.close()

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"fine_tune_type": "full"}, "full weights"),
            ({"num_layers": 1}, "does not fit the model"),
            ({"lora_parameters": {"rank": 3, "scale": 1.0, "dropout": 0.0}}, "does not fit"),
            ({"lora_parameters": {"rank": 6, "alpha": 1.0}}, "does not fit"),
        ],
    )
    def test_unfit_adapters_leave_the_base_on(
        self, model_dir: Path, tmp_path: Path, change: dict[str, object], words: str
    ) -> None:
        adapter = write_adapter(tmp_path / "a", model_dir)
        path = adapter / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        actor = MlxActor(model_dir, context_tokens=160)
        base = actor.score([ScoreRequest(chat(1), ("Good",))])
        with pytest.raises(ModelError, match=words):
            actor.use_adapter(adapter)
        actor.reset_cache()
        assert actor.score([ScoreRequest(chat(1), ("Good",))]) == base
        actor.close()

    def test_a_gguf_adapter_is_refused(self, model_dir: Path, tmp_path: Path) -> None:
        (tmp_path / "a.gguf").write_bytes(b"GGUF")
        actor = MlxActor(model_dir, context_tokens=160)
        with pytest.raises(ModelError, match="is a file"):
            actor.use_adapter(tmp_path / "a.gguf")
        with pytest.raises(ModelError, match=r"no adapters\.safetensors"):
            actor.use_adapter(tmp_path)
        actor.close()


class TestRegistry:
    def test_the_spec_opens_the_directory(self, model_dir: Path) -> None:
        files = resolve_model(f"mlx:{model_dir}")
        assert files.train_dir == files.gguf == model_dir
        check_model(f"mlx:{model_dir}")
        actor = open_actor(ActorSettings(model=f"mlx:{model_dir}"))
        assert isinstance(actor, MlxActor)
        actor.close()

    @pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
    def test_incomplete_directories(self, tmp_path: Path, missing: str) -> None:
        path = make_tiny_hf(tmp_path / "model")
        (path / missing).unlink()
        with pytest.raises(ModelError):
            check_model(f"mlx:{path}")
        with pytest.raises(ModelError, match="no directory"):
            resolve_model(f"mlx:{tmp_path / 'none'}")

    def test_no_chat_template(self, tmp_path: Path) -> None:
        path = make_tiny_hf(tmp_path / "model")
        settings = json.loads((path / "tokenizer_config.json").read_text())
        del settings["chat_template"]
        (path / "tokenizer_config.json").write_text(json.dumps(settings))
        with pytest.raises(ModelError, match="no chat template"):
            MlxActor(path)


def test_a_folder_called_mlx_does_not_hide_the_fast_blas(tmp_path: Path) -> None:
    """MLX is a namespace package: such a folder in the working directory becomes part of it."""
    program = "from agentr_lite.actors.mlx.blas import use_fast_blas as fast; print(fast())"
    said = []
    for name in ("plain", "mlx"):
        folder = tmp_path / f"with-{name}"
        (folder / name).mkdir(parents=True)
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True
        )
        said.append(done.stdout)
    assert said[0] == said[1]


def test_the_deterministic_mode_gives_the_same_bits_alone_and_beside_others(
    model_dir: Path,
) -> None:
    actor = MlxActor(model_dir, context_tokens=160, deterministic=True)
    try:
        asked = [
            GenerateRequest(chat(i), (i + 1, i + 2), Sampling(max_tokens=10)) for i in range(6)
        ]
        judged = [ScoreRequest(chat(i), ("Good", "Bad")) for i in range(3)]
        alone = [actor.generate([request])[0] for request in asked]
        scores = [actor.score([request])[0] for request in judged]
        assert actor.generate(asked[::-1]) == alone[::-1]
        assert actor.score(judged[::-1]) == scores[::-1]
    finally:
        actor.close()
