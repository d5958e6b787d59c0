"""The deterministic mode: a request's answers depend on the request alone, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentr_lite.actors.base import GenerateRequest, Sampling, ScoreRequest
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.actors.llamacpp.isolated import BLOCK, Blocks
from agentr_lite.actors.llamacpp.segments import CellBytes
from agentr_lite.actors.registry import open_actor, resolve_model
from agentr_lite.actors.settings import ActorSettings
from agentr_lite.core.errors import ModelError
from agentr_lite.core.messages import Message
from tests.support.tiny_gguf import TinyShape, write_tiny_model

CONTEXT = 512
STARTER = resolve_model("starter").gguf


@pytest.fixture(scope="module", params=["tiny", "starter"])
def actor(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LlamaCppActor]:
    path = STARTER
    if request.param == "tiny":
        path = write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf", TinyShape())
    actor = LlamaCppActor(path, context_tokens=CONTEXT, n_threads=2, deterministic=True)
    yield actor
    actor.close()


def chat(task: int, turns: int) -> list[Message]:
    messages: list[Message] = [
        {"role": "system", "content": "You are given crafting commands. Answer with an action."},
        {"role": "user", "content": f"Goal: craft {task} stone pickaxe. Got {task * 7} planks."},
    ]
    for turn in range(turns):
        messages.append({"role": "assistant", "content": f"Action: get {turn} stick"})
        messages.append({"role": "user", "content": f"Got {turn} stick and {task} planks"})
    return messages


def test_answers_are_the_same_bits_alone_and_beside_others(actor: LlamaCppActor) -> None:
    rng = random.Random(3)
    asked = [
        GenerateRequest(
            chat(task % 5, task % 4),
            tuple(range(1, 2 + task % 3)),
            Sampling(temperature=rng.choice([0.0, 1.0]), max_tokens=16),
        )
        for task in range(24)
    ]
    judged = [ScoreRequest(chat(task, task), ("Good", "Bad", "Uncertain")) for task in range(4)]
    alone, scores = [], []
    for request in asked:
        actor.reset_cache()
        alone.append(actor.generate([request])[0].completions)
    for judgement in judged:
        actor.reset_cache()
        scores.append(actor.score([judgement])[0].log_likelihoods)
    for _ in range(3):
        order = rng.sample(range(len(asked)), len(asked))
        if rng.random() < 0.5:
            actor.reset_cache()
        results = actor.generate([asked[i] for i in order])
        assert [r.completions for r in results] == [alone[i] for i in order]
        # No tolerance: equal floating-point numbers.
        assert [r.log_likelihoods for r in actor.score(judged)] == scores


def test_whole_blocks_are_not_computed_again(actor: LlamaCppActor) -> None:
    actor.reset_cache()
    request = GenerateRequest(chat(3, 6), (1, 2), Sampling(max_tokens=4))
    first, again = (actor.generate([request])[0] for _ in range(2))
    assert first.cached_tokens == 0
    assert again.cached_tokens == (again.prompt_tokens - 1) // BLOCK * BLOCK > 0
    before = actor.usage.decoded_prompt_tokens
    longer = actor.generate([GenerateRequest(chat(3, 8), (1,), Sampling(max_tokens=4))])[0]
    assert longer.cached_tokens >= again.prompt_tokens - BLOCK
    decoded = actor.usage.decoded_prompt_tokens - before
    assert decoded == longer.prompt_tokens - longer.cached_tokens


def test_an_adapter_change_forgets_the_blocks(tmp_path: Path) -> None:
    from tests.support.tiny_gguf import write_tiny_adapter

    path = write_tiny_model(tmp_path / "tiny.gguf", TinyShape())
    adapter = write_tiny_adapter(tmp_path / "adapter.gguf", TinyShape())
    request = GenerateRequest(chat(1, 4), (1,), Sampling(temperature=0.0, max_tokens=12))
    actor = LlamaCppActor(path, context_tokens=CONTEXT, deterministic=True)
    base = actor.generate([request])[0]
    actor.use_adapter(adapter)
    tuned = actor.generate([request])[0]
    assert tuned.cached_tokens == 0
    actor.use_adapter(None)
    assert actor.generate([request])[0].completions == base.completions
    assert tuned.completions != base.completions
    actor.close()


def test_the_oldest_blocks_go_first() -> None:
    import numpy as np

    def cells() -> CellBytes:
        return np.zeros(10, np.uint8)

    blocks = Blocks(budget_bytes=25)
    blocks.put(b"a", cells())
    blocks.put(b"b", cells())
    blocks.touch(b"a")
    blocks.put(b"c", cells())
    assert blocks.get(b"b") is None
    assert blocks.get(b"a") is not None
    assert blocks.get(b"c") is not None
    blocks.clear()
    assert blocks.get(b"a") is None


def test_the_settings_ask_for_it_and_the_actor_says_so() -> None:
    actor = open_actor(ActorSettings(context_tokens=200, deterministic=True))
    assert actor.description["deterministic"] is True
    actor.close()


def test_a_server_cannot_promise_it() -> None:
    settings = ActorSettings(model="openai:http://127.0.0.1:9/v1#any", deterministic=True)
    with pytest.raises(ModelError, match="deterministic"):
        open_actor(settings)
