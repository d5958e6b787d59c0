"""The scripted actor that other tests rely on."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentr_lite.actors.base import GenerateRequest, Sampling, ScoreRequest
from agentr_lite.actors.mock import MockActor
from agentr_lite.core.errors import ModelError
from agentr_lite.core.messages import Message

CHAT: list[Message] = [{"role": "user", "content": "Goal: craft stick"}]


def test_a_queue_is_answered_in_order_and_runs_dry() -> None:
    actor = MockActor(["one", "two", "three"])
    results = actor.generate([GenerateRequest(CHAT, (1, 2)), GenerateRequest(CHAT, (3,))])
    assert [[c.text for c in r.completions] for r in results] == [["one", "two"], ["three"]]
    assert actor.remaining == 0
    assert actor.batches == [2]
    with pytest.raises(ModelError, match="run out"):
        actor.generate([GenerateRequest(CHAT, (4,))])


def test_a_function_sees_messages_and_seed() -> None:
    actor = MockActor(lambda messages, seed: f"{messages[-1]['content']} {seed}")
    result = actor.generate([GenerateRequest(CHAT, (5, 6))])[0]
    assert [c.text for c in result.completions] == ["Goal: craft stick 5", "Goal: craft stick 6"]
    assert actor.requests[0].seeds == (5, 6)


def test_limits_and_stops_cut_the_text() -> None:
    actor = MockActor(lambda messages, seed: "a b c d. e")
    limits = Sampling(max_tokens=2)
    assert actor.generate([GenerateRequest(CHAT, (1,), limits)])[0].completions[0].text == "a b"
    stopped = actor.generate([GenerateRequest(CHAT, (1,), Sampling(stop=(".",)))])[0]
    assert stopped.completions[0].text == "a b c d"
    assert stopped.completions[0].finish_reason == "stop"


def test_scores_come_from_the_scorer_or_fall_in_order() -> None:
    request = ScoreRequest(CHAT, ("Good", "Bad"))
    assert MockActor().score([request])[0].log_likelihoods == (0.0, -1.0)
    actor = MockActor(scorer=lambda messages, text: -float(len(text)))
    assert actor.score([request])[0].log_likelihoods == (-4.0, -3.0)
    assert actor.score_requests == [request]


def test_calls_are_recorded() -> None:
    actor = MockActor(["x"])
    actor.use_adapter(Path("a.gguf"))
    actor.use_adapter(None)
    actor.reset_cache()
    actor.generate([GenerateRequest(CHAT, (1,))])
    actor.close()
    assert actor.adapters == [Path("a.gguf"), None]
    assert actor.adapter is None
    assert (actor.resets, actor.closed) == (1, True)
    assert (actor.usage.calls, actor.usage.prompt_tokens, actor.usage.output_tokens) == (1, 3, 1)
