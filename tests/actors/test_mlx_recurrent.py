"""Batches of models with recurrent layers and with windows on MLX: each row as if it were alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentr_lite.actors.base import GenerateRequest, Sampling, ScoreRequest
from agentr_lite.actors.mlx.actor import MlxActor
from agentr_lite.actors.mlx.blas import use_fast_blas
from agentr_lite.convert.gguf_to_hf import convert_to_hf
from tests.actors.test_mlx_actor import FakePool
from tests.support.tiny_gemma4 import make_tiny_gemma4
from tests.support.tiny_hf import make_tiny_hf
from tests.support.tiny_hybrids import TRAINED, trained_shape, write_shape

use_fast_blas()

FAMILIES = [*TRAINED, "falcon_h1", "gemma4-small", "gemma4-large", "gemma3_text"]
SAME = 2e-3
"""Largest difference of a log-likelihood, in nats; 2e-4 seen."""
GREEDY = Sampling(temperature=0.0, max_tokens=6)


@dataclass(frozen=True)
class Pieces:
    """A vocabulary whose answers end at their length alone."""

    end_tokens: frozenset[int] = field(default_factory=frozenset)

    def piece(self, token: int) -> bytes:
        return b"x"


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    kind, folder = request.param, tmp_path_factory.mktemp(request.param)
    if kind == "falcon_h1":
        return falcon()
    from agentr_lite.actors.mlx.device import load_model

    if kind.startswith("gemma4"):
        directory, _ = make_tiny_gemma4(folder, kind.removeprefix("gemma4-"))
    elif kind == "gemma3_text":
        directory = make_tiny_hf(folder / "hf", model_type=kind, layers=6)
    else:
        directory = folder / "hf"
        convert_to_hf(write_shape(folder / "m.gguf", trained_shape(kind)), directory)
    return load_model(directory)[0]


def falcon() -> Any:
    """Layers with both attention and recurrence."""
    import mlx.core as mx
    from mlx.utils import tree_flatten, tree_unflatten
    from mlx_lm.models.falcon_h1 import Model, ModelArgs

    arguments = ModelArgs(
        head_dim=16,
        hidden_size=64,
        intermediate_size=128,
        mamba_d_head=16,
        mamba_d_ssm=64,
        mamba_d_state=16,
        mamba_n_heads=4,
        num_attention_heads=4,
        num_hidden_layers=3,
        vocab_size=300,
        embedding_multiplier=1.0,
        lm_head_multiplier=1.0,
    )
    made, rng = Model(arguments), np.random.default_rng(0)
    random_ones = [
        (name, mx.array(rng.normal(0, 1.5 / np.sqrt(array.shape[-1]), array.shape), mx.float32))
        for name, array in tree_flatten(made.parameters())
        if array.ndim == 2
    ]
    made.update(tree_unflatten(random_ones))
    return made


def decoder(model: Any, *, states: int = 64, width: int = 8, capacity: int = 4096) -> Any:
    from agentr_lite.actors.mlx.decoder import Decoder
    from agentr_lite.actors.mlx.pool import Pool

    pool = Pool(model, origin="test")
    pool.capacity = capacity
    return Decoder(model, Pieces(), pool, width=width, prefill_tokens=512, states=states)


def alone(model: Any, tokens: Sequence[int]) -> np.ndarray:
    """Natural-log probabilities after each token, from one sequence and without a cache."""
    import mlx.core as mx

    logits = np.array(model(mx.array([list(tokens)]))[0].astype(mx.float32), np.float64)
    top = logits.max(axis=-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))


def check_answers(model: Any, jobs: Sequence[Any]) -> None:
    """Every token of every answer is the likeliest one, or as likely up to rounding."""
    for job in jobs:
        for sample in job.samples:
            tokens = [*job.prompt, *sample.tokens]
            rows = alone(model, tokens)[len(job.prompt) - 1 : -1]
            for row, token in zip(rows, sample.tokens, strict=True):
                assert row[token] > row.max() - SAME


def check_scores(model: Any, jobs: Sequence[Any]) -> None:
    for job in jobs:
        for tokens, found in zip(job.continuations, job.log_likelihoods, strict=True):
            rows = alone(model, [*job.prompt, *tokens])[len(job.prompt) - 1 : -1]
            expected = sum(row[token] for row, token in zip(rows, tokens, strict=True))
            assert found == pytest.approx(expected, abs=SAME * len(tokens))


def generation(prompt: list[int], samples: int = 1) -> Any:
    from agentr_lite.actors.mlx.decoder import Job
    from agentr_lite.actors.mlx.sampler import Sample

    return Job(prompt, [Sample(GREEDY, seed, 6) for seed in range(1, samples + 1)])


def scoring(prompt: list[int], continuations: list[list[int]]) -> Any:
    from agentr_lite.actors.mlx.decoder import Scoring

    return Scoring(prompt, continuations)


def texts(rng: random.Random, lengths: Sequence[int]) -> list[list[int]]:
    return [[rng.randrange(5, 290) for _ in range(length)] for length in lengths]


def test_prompts_of_unequal_length_in_one_batch(model: Any) -> None:
    jobs = [generation(text, 2) for text in texts(random.Random(0), (1, 2, 7, 40, 41, 90))]
    engine = decoder(model)
    engine.run(jobs)
    check_answers(model, jobs)
    assert engine.counters.steps < sum(len(s.tokens) for job in jobs for s in job.samples)


def test_scores_of_unequal_length_in_one_batch(model: Any) -> None:
    rng = random.Random(1)
    jobs = [scoring(text, texts(rng, (1, 3, 12))) for text in texts(rng, (1, 5, 33, 34, 70))]
    decoder(model).score(jobs)
    check_scores(model, jobs)


@pytest.mark.parametrize(("states", "capacity"), [(64, 4096), (2, 4096), (3, 260)])
def test_random_trees(model: Any, states: int, capacity: int) -> None:
    """Conversations go on, branch in the middle of a turn, go back, and are scored."""
    rng = random.Random(states)
    engine = decoder(model, states=states, capacity=capacity)
    known = texts(rng, (20, 9))
    for _ in range(4):
        prompts = []
        for _ in range(4):
            start = rng.choice(known)
            cut = len(start) if rng.random() < 0.5 else rng.randrange(1, len(start) + 1)
            prompts.append([*start[:cut], *texts(rng, (rng.randint(1, 12),))[0]])
        jobs = [generation(prompt, rng.randint(1, 3)) for prompt in prompts]
        engine.run(jobs)
        check_answers(model, jobs)
        known += [[*job.prompt, *sample.tokens] for job in jobs for sample in job.samples]
        known = [text for text in known if len(text) < 120]
        asked = [scoring(rng.choice(known), texts(rng, (1, 4))) for _ in range(3)]
        engine.score(asked)
        check_scores(model, asked)
        if engine._recurrent:
            held = [each for each in engine.tree.segments() if each.state is not None]
            assert len(held) <= max(states, len(jobs))


def test_a_turn_computes_only_what_is_new(model: Any) -> None:
    engine = decoder(model)
    (text,) = texts(random.Random(2), (50,))
    first = generation(text)
    engine.run([first])
    before = engine.counters.prefilled
    going_on = generation([*text, *first.samples[0].tokens, 7, 8, 9])
    engine.run([going_on])
    assert engine.counters.prefilled - before == 2
    assert going_on.cached_tokens == len(text) + 6
    assert engine.counters.recomputed == 0
    check_answers(model, [going_on])


def test_going_back_computes_from_the_nearest_state(model: Any) -> None:
    engine = decoder(model)
    (text,) = texts(random.Random(3), (50,))
    engine.run([generation(text)])
    back = [generation([*text[:30], 11, 12]), generation([*text[:30], 13, 14])]
    engine.run(back)
    check_answers(model, back)
    # The text up to the branch once for both, and nothing where attention alone remembers.
    assert engine.counters.recomputed == (30 if engine._recurrent else 0)
    assert [job.cached_tokens for job in back] == ([0, 0] if engine._recurrent else [30, 30])


def test_siblings_that_part_later(model: Any) -> None:
    from agentr_lite.actors.mlx.decoder import Job
    from agentr_lite.actors.mlx.sampler import Sample

    engine = decoder(model, width=3)
    (text,) = texts(random.Random(4), (25,))
    warm = Sampling(temperature=1.5, max_tokens=5)
    job = Job(text, [Sample(warm, seed, 5) for seed in range(1, 8)])
    engine.run([job])
    assert len({tuple(sample.tokens) for sample in job.samples}) > 1
    next_turns = [generation([*text, *sample.tokens, 6, 7]) for sample in job.samples]
    engine.run(next_turns)
    check_answers(model, next_turns)
    assert engine.counters.recomputed == 0


class TestStates:
    def tree(self) -> Any:
        from agentr_lite.actors.mlx.prefix import PrefixTree

        return PrefixTree(FakePool(60), recurrent=True)

    def add(self, tree: Any, tokens: list[int], state: str | None) -> Any:
        found = tree.insert(tokens)
        assert found is not None
        for segment in tree.missing(found[0]):
            segment.complete = True
        found[0].state = state
        tree.unpin(found[0])
        return found[0]

    def test_a_split_loses_the_state_of_the_upper_part_only(self) -> None:
        tree = self.tree()
        whole = self.add(tree, [1, 2, 3, 4], "whole")
        segment, matched = tree.insert([1, 2, 9])
        assert matched == 2 and whole.state == "whole" and tree.missing(whole) == []
        assert [each.tokens for each in tree.missing(segment)] == [[1, 2], [9]]

    def test_the_least_recently_used_state_goes_first(self) -> None:
        tree = self.tree()
        old, middle, new = (self.add(tree, [n], str(n)) for n in (1, 2, 3))
        tree.drop_states(2, [])
        assert (old.state, middle.state, new.state) == (None, "2", "3")

    def test_a_needed_state_stays(self) -> None:
        tree = self.tree()
        old, middle, new = (self.add(tree, [n], str(n)) for n in (1, 2, 3))
        tree.drop_states(1, [old, new])
        assert (old.state, middle.state, new.state) == ("1", None, "3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("actor")
    convert_to_hf(write_shape(path / "m.gguf", trained_shape("qwen35")), path / "hf")
    return path / "hf"


def test_the_actor_plays_scores_and_takes_adapters(folder: Path, tmp_path: Path) -> None:
    from tests.convert.test_convert_families import modules, write_adapter

    messages = [{"role": "user", "content": "Goal: craft 4 sticks."}]
    asked = [GenerateRequest(messages, (1, 2), GREEDY)]
    question = [ScoreRequest(messages, ("Action: get", "no"))]
    adapter = write_adapter(tmp_path / "a", folder, modules(folder), "language_model.")
    actor = MlxActor(folder, context_tokens=256)
    try:
        plain, likelihoods = actor.generate(asked), actor.score(question)[0].log_likelihoods
        actor.use_adapter(adapter)
        tuned = actor.score(question)[0].log_likelihoods
        actor.use_adapter(None)
        assert actor.generate(asked) == plain
        again = actor.score(question)[0].log_likelihoods
    finally:
        actor.close()
    assert again == pytest.approx(likelihoods, abs=SAME)
    assert abs(tuned[0] - likelihoods[0]) > 0.1


def test_deterministic_answers_do_not_depend_on_neighbours(folder: Path) -> None:
    talks = [[{"role": "user", "content": "Goal: craft " + "planks " * n}] for n in (1, 5, 9)]
    asked = [GenerateRequest(messages, (1,), GREEDY) for messages in talks]
    actor = MlxActor(folder, context_tokens=256, deterministic=True)
    try:
        together = actor.generate(asked)
        assert [actor.generate([each])[0] for each in asked] == together
    finally:
        actor.close()
