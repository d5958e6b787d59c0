"""What every back end must do, asked of the scripted one, of llama.cpp and of MLX.

The two engines have the same weights, so that they must also give the same answers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from agentr_lite.actors.base import Actor, Completion, GenerateRequest, Sampling, ScoreRequest
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.actors.mlx.actor import MlxActor
from agentr_lite.actors.mock import MockActor
from agentr_lite.convert.hf_to_gguf import convert_to_gguf
from agentr_lite.convert.lora_to_gguf import convert_adapter
from agentr_lite.core.errors import GrammarError, ModelError
from agentr_lite.core.messages import Message
from tests.convert.test_convert import write_adapter
from tests.support.tiny_hf import make_tiny_hf

CONTEXT = 256
SAME = 0.02
"""Largest difference of a log-likelihood between the engines; 0.005 seen, with f16 keys and values
on llama.cpp's side."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``model``, ``model.gguf``, ``adapter`` and ``adapter.gguf``."""
    folder = tmp_path_factory.mktemp("files")
    make_tiny_hf(folder / "model")
    convert_to_gguf(folder / "model", folder / "model.gguf", dtype="f32")
    write_adapter(folder / "adapter", folder / "model")
    convert_adapter(folder / "adapter", folder / "model", folder / "adapter.gguf")
    return folder


@pytest.fixture(scope="module")
def engines(files: Path) -> Iterator[dict[str, Actor]]:
    actors: dict[str, Actor] = {
        "llama.cpp": LlamaCppActor(files / "model.gguf", context_tokens=CONTEXT, n_threads=1),
        "mlx": MlxActor(files / "model", context_tokens=CONTEXT),
    }
    yield actors
    for actor in actors.values():
        actor.close()


@pytest.fixture(params=["mock", "llama.cpp", "mlx"])
def actor(request: pytest.FixtureRequest, engines: dict[str, Actor]) -> Actor:
    if request.param == "mock":
        return MockActor(lambda messages, seed: f"Thought {seed} of {len(messages)} " + "word " * 9)
    found = engines[request.param]
    found.use_adapter(None)
    found.reset_cache()
    return found


@pytest.fixture(params=["llama.cpp", "mlx"])
def engine(request: pytest.FixtureRequest, engines: dict[str, Actor]) -> Actor:
    found = engines[request.param]
    found.use_adapter(None)
    found.reset_cache()
    return found


def chat(index: int = 0, turns: int = 0) -> list[Message]:
    messages: list[Message] = [
        {"role": "system", "content": "Crafting commands."},
        {"role": "user", "content": f"Goal: craft {index} sticks. Got {index * 7} planks."},
    ]
    for turn in range(turns):
        messages.append({"role": "assistant", "content": f"Action: get {turn} logs"})
        messages.append({"role": "user", "content": f"Got {turn} logs"})
    return messages


def requests(count: int, samples: int = 3, **sampling: float) -> list[GenerateRequest]:
    settings = Sampling(**{"max_tokens": 12, **sampling})  # type: ignore[arg-type]
    return [
        GenerateRequest(chat(i), tuple(range(10 * i + 1, 10 * i + 1 + samples)), settings)
        for i in range(count)
    ]


def ids(completions: Sequence[Completion]) -> list[tuple[int, ...]]:
    return [completion.token_ids for completion in completions]


def test_every_seed_gets_its_answer_in_order(actor: Actor) -> None:
    asked = requests(4)
    results = actor.generate(asked)
    assert [len(result.completions) for result in results] == [3] * 4
    again = actor.generate(asked[::-1])[::-1]
    assert [r.completions for r in again] == [r.completions for r in results]
    assert len({c.text for r in results for c in r.completions}) > 6


def test_nothing_asked_nothing_done(actor: Actor) -> None:
    assert actor.generate([]) == []
    assert actor.score([]) == []
    assert actor.generate([GenerateRequest(chat(1), ())])[0].completions == ()


def test_limits_and_stop_strings(actor: Actor) -> None:
    free = actor.generate(requests(1, 2, max_tokens=8))[0].completions
    for completion in free:
        assert completion.output_tokens <= 8
        assert completion.finish_reason in ("stop", "length")
    text = next(c.text for c in free if len(c.text) > 6)
    # Bytes that are no character have no text to stop at.
    pairs = (text[start : start + 2] for start in range(3, len(text) - 1))
    stop = next(pair for pair in pairs if "\ufffd" not in pair)
    settings = Sampling(max_tokens=8, stop=("\0", stop))
    for before, after in zip(
        free,
        actor.generate([GenerateRequest(chat(0), (1, 2), settings)])[0].completions,
        strict=True,
    ):
        assert stop not in after.text
        assert before.text.startswith(after.text)
        if stop in before.text:
            assert after.finish_reason == "stop"


def test_scores_are_finite_ordered_and_repeatable(actor: Actor) -> None:
    asked = [ScoreRequest(chat(i), ("Good", "Bad", "Got 2 oak logs")) for i in range(3)]
    results = actor.score(asked)
    for result in results:
        assert len(result.log_likelihoods) == 3
        assert all(math.isfinite(value) and value <= 0 for value in result.log_likelihoods)
        assert result.prompt_tokens > 0
    repeated = actor.score(asked)
    for left, right in zip(results, repeated, strict=True):
        assert left.log_likelihoods == pytest.approx(right.log_likelihoods, abs=1e-4)


def test_usage_adds_up(actor: Actor) -> None:
    before = actor.usage.calls, actor.usage.prompt_tokens, actor.usage.output_tokens
    results = actor.generate(requests(3))
    assert actor.usage.calls == before[0] + 1
    assert actor.usage.prompt_tokens - before[1] == sum(r.prompt_tokens for r in results)
    drawn = sum(c.output_tokens for r in results for c in r.completions)
    assert actor.usage.output_tokens - before[2] == drawn


def test_a_batch_answers_what_each_request_alone_gets(engine: Actor) -> None:
    asked = requests(6)
    together = [c for result in engine.generate(asked) for c in result.completions]
    alone = []
    for request in asked:
        for seed in request.seeds:
            engine.reset_cache()
            single = GenerateRequest(request.messages, (seed,), request.sampling)
            alone += engine.generate([single])[0].completions
    same = sum(a == b for a, b in zip(ids(together), ids(alone), strict=True))
    # Batches of different shapes round differently, which can part a near tie.
    assert same >= 17


def test_the_same_calls_after_a_reset_give_the_same_results(engine: Actor) -> None:
    def work() -> list[object]:
        engine.reset_cache()
        results: list[object] = []
        for turn in range(3):
            asked = [
                GenerateRequest(chat(i, turn), (i + 1, i + 2), Sampling(max_tokens=6))
                for i in range(5)
            ]
            results += engine.generate(asked)
            results += engine.score([ScoreRequest(chat(1, turn), ("Good", "Bad"))])
        return results

    assert work() == work()


def test_prefixes_are_shared_within_and_between_calls(engine: Actor) -> None:
    asked = [GenerateRequest(chat(3), (seed,), Sampling(max_tokens=4)) for seed in range(1, 5)]
    results = engine.generate(asked)
    length = results[0].prompt_tokens
    assert [r.cached_tokens for r in results] == [0] + [length - 1] * 3
    answer = results[0].completions[0].text
    longer: list[Message] = [*chat(3), {"role": "assistant", "content": answer}]
    longer.append({"role": "user", "content": "Got 1 logs"})
    before = engine.usage.decoded_prompt_tokens
    result = engine.generate([GenerateRequest(longer, (1,), Sampling(max_tokens=4))])[0]
    assert result.cached_tokens >= length - 1
    decoded = engine.usage.decoded_prompt_tokens - before
    assert decoded == result.prompt_tokens - result.cached_tokens


def test_long_conversations_lose_whole_turns_oldest_first(engine: Actor) -> None:
    messages = chat(1, turns=40)
    result = engine.generate([GenerateRequest(messages, (1,), Sampling(max_tokens=8))])[0]
    assert 0 < result.dropped_turns < 40
    assert result.prompt_tokens <= CONTEXT - 8
    kept = messages[:2] + messages[2 + 2 * result.dropped_turns :]
    engine.reset_cache()
    same = engine.generate([GenerateRequest(kept, (1,), Sampling(max_tokens=8))])[0]
    assert same.dropped_turns == 0
    assert same.completions == result.completions


def test_a_task_that_does_not_fit_overflows(engine: Actor) -> None:
    huge: list[Message] = [{"role": "user", "content": "Goal: craft sticks. " * 200}]
    asked = [
        GenerateRequest(huge, (1, 2), Sampling(max_tokens=8)),
        GenerateRequest(chat(1), (1,), Sampling(max_tokens=8)),
    ]
    results = engine.generate(asked)
    assert [c.finish_reason for c in results[0].completions] == ["overflow"] * 2
    assert results[1].completions[0].output_tokens > 0
    scored = engine.score([ScoreRequest(huge, ("Good",)), ScoreRequest(chat(1), ("Good",))])
    assert [result.overflow for result in scored] == [True, False]
    assert [len(result.log_likelihoods) for result in scored] == [0, 1]
    with pytest.raises(ModelError, match="no tokens"):
        engine.score([ScoreRequest(chat(1), ("Good", ""))])


def test_adapters_change_answers_and_come_off_again(engine: Actor, files: Path) -> None:
    mlx = engine.capabilities.adapter_format == "mlx"
    asked = [ScoreRequest(chat(1), ("Good", "Bad"))]
    base = engine.score(asked)
    engine.use_adapter(files / ("adapter" if mlx else "adapter.gguf"))
    tuned = engine.score(asked)
    assert tuned[0].cached_tokens == 0, "cells belong to their adapter"
    engine.use_adapter(None)
    assert engine.score(asked) == base
    for left, right in zip(base[0].log_likelihoods, tuned[0].log_likelihoods, strict=True):
        assert abs(left - right) > 0.1


def test_the_engines_agree(engines: dict[str, Actor], files: Path) -> None:
    """Greedy answers and log-likelihoods, without and with the adapter."""
    asked = requests(5, samples=1, temperature=0.0)
    questions = [ScoreRequest(chat(i, i), ("Good", "Bad", "Got 2 oak logs")) for i in range(4)]
    for name in (None, "adapter"):
        answers, scores = [], []
        for kind, engine in engines.items():
            path = None if name is None else files / (name if kind == "mlx" else f"{name}.gguf")
            engine.use_adapter(path)
            engine.reset_cache()
            answers.append([c for r in engine.generate(asked) for c in r.completions])
            scores.append([v for r in engine.score(questions) for v in r.log_likelihoods])
        assert answers[0] == answers[1]
        assert scores[0] == pytest.approx(scores[1], abs=SAME)
    for engine in engines.values():
        engine.use_adapter(None)


def test_a_grammar_is_followed_or_refused(actor: Actor) -> None:
    settings = Sampling(max_tokens=12, grammar='root ::= "craft " [0-9]{3}')
    asked = [GenerateRequest(chat(1), (1, 2, 3), settings)]
    if not actor.capabilities.grammar:
        assert isinstance(actor, MockActor)
        with pytest.raises(ModelError, match="cannot make answers follow a grammar"):
            actor.generate(asked)
        return
    texts = [one.text for one in actor.generate(asked)[0].completions]
    assert all(re.fullmatch("craft [0-9]{3}", text) for text in texts)
    assert all(one.finish_reason == "stop" for one in actor.generate(asked)[0].completions)


def test_a_wrong_grammar_is_refused(engine: Actor) -> None:
    for text in ('root ::= "a', 'root ::= "a"{3,1}', "root ::= root"):
        with pytest.raises(GrammarError, match="line 1, column"):
            engine.generate([GenerateRequest(chat(1), (1,), Sampling(grammar=text))])


def test_the_engines_follow_a_grammar_alike(engines: dict[str, Actor]) -> None:
    """Greedy answers take the likeliest allowed token, which both engines see alike."""
    grammar = 'root ::= [A-Z] [a-z ]{2,9} (" of " [0-9]+)? "."'
    settings = Sampling(temperature=0.0, max_tokens=24, grammar=grammar)
    asked = [GenerateRequest(chat(i), (1,), settings) for i in range(5)]
    texts = []
    for engine in engines.values():
        engine.use_adapter(None)
        engine.reset_cache()
        texts.append([result.completions[0].text for result in engine.generate(asked)])
    assert texts[0] == texts[1]
