"""Reasoning models: thoughts within a budget, apart from the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentr_lite.actors.base import Actor, GenerateRequest, Sampling, ScoreRequest
from agentr_lite.actors.chat.encoder import ChatEncoder, RewrittenTurns
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.actors.mlx.actor import MlxActor
from agentr_lite.actors.mock import MockActor
from agentr_lite.actors.registry import open_actor
from agentr_lite.actors.settings import ActorSettings
from agentr_lite.actors.thinking import ThinkingActor
from agentr_lite.agent.turns import parse_action
from agentr_lite.core.errors import ModelError
from agentr_lite.core.messages import Message
from tests.support.chat_families import FAMILIES
from tests.support.family_models import FamilyModel, make_family_model, tiny_base

CHAT: list[Message] = [
    {"role": "system", "content": "You play."},
    {"role": "user", "content": "Find the key."},
]
THOUGHT = "<think>\nMaybe Action: sleep helps"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> FamilyModel:
    family = next(family for family in FAMILIES if family.name == "qwen-3")
    return make_family_model(tmp_path_factory.mktemp("qwen-3"), family, tiny_base("bytes"))


@pytest.fixture(scope="module", params=["llama.cpp", "mlx"])
def inner(request: pytest.FixtureRequest, model: FamilyModel) -> Any:
    if request.param == "mlx":
        return MlxActor(model.hf, context_tokens=512, thinking=True)
    return LlamaCppActor(model.gguf, context_tokens=512, thinking=True)


@pytest.fixture(scope="module")
def encoder(inner: Any) -> ChatEncoder:
    return inner.encoder


def test_the_prompt_leaves_the_thoughts_to_the_model(encoder: ChatEncoder) -> None:
    text = encoder.tokenizer.text_of(encoder.prompt(CHAT)).decode()
    assert "think" not in text and text.endswith("assistant\n")


def test_thoughts_and_answer_are_two_parts(encoder: ChatEncoder) -> None:
    replies = [THOUGHT, "Action: look", "", "Action: wait"]
    scripted = MockActor([replies[0], replies[2], replies[1], replies[3]])
    actor = ThinkingActor(scripted, encoder, budget=40)
    sampling = Sampling(max_tokens=16, stop=("!",))
    [result] = actor.generate([GenerateRequest(CHAT, (1, 2), sampling)])
    assert [c.text for c in result.completions] == ["Action: look", "Action: wait"]
    assert [c.thinking for c in result.completions] == [THOUGHT, ""]
    assert result.completions[0].output_tokens == len(THOUGHT.split()) + 2
    first, *second = scripted.requests
    assert first.sampling.max_tokens == 40 and first.sampling.stop == ("</think>",)
    assert [request.sampling for request in second] == [sampling, sampling]
    assert [request.answer_start for request in second] == [
        tuple(encoder.thoughts(THOUGHT)),
        tuple(encoder.thoughts("")),
    ]
    assert second[0].seeds != (1,) and second[0].seeds != second[1].seeds


def test_a_real_model_goes_on_from_its_thoughts(inner: Any, encoder: ChatEncoder) -> None:
    actor = ThinkingActor(inner, encoder, budget=12)
    request = GenerateRequest(CHAT, (1, 2), Sampling(max_tokens=8))
    inner.reset_cache()
    [result] = actor.generate([request])
    assert all(0 < c.output_tokens <= 20 for c in result.completions)
    inner.reset_cache()
    assert actor.generate([request]) == [result]
    # What follows the thoughts is what the model says after them.
    completion = result.completions[0]
    start = tuple(encoder.thoughts(completion.thinking))
    greedy = Sampling(max_tokens=8, temperature=0.0)
    [alone] = inner.generate([GenerateRequest(CHAT, (5,), greedy, start)])
    assert alone.prompt_tokens == len(encoder.prompt(CHAT)) + len(start)


def test_a_verdict_is_scored_after_an_empty_block(inner: Any, encoder: ChatEncoder) -> None:
    actor = ThinkingActor(inner, encoder, budget=12)
    [with_block] = actor.score([ScoreRequest(CHAT, ("Good", "Bad"))])
    start = tuple(encoder.thoughts(""))
    [alone] = inner.score([ScoreRequest(CHAT, ("Good", "Bad"), start)])
    assert alone.log_likelihoods == with_block.log_likelihoods
    assert with_block.prompt_tokens == len(encoder.prompt(CHAT)) + len(start)


def test_thoughts_are_learnt_with_their_answer_alone(encoder: ChatEncoder) -> None:
    messages: list[Message] = [
        *CHAT,
        {"role": "assistant", "content": "Action: look", "thinking": THOUGHT},
        {"role": "user", "content": "A drawer."},
        {"role": "assistant", "content": "Action: open drawer", "thinking": "<think>\nthe drawer"},
    ]
    flags = [message["role"] == "assistant" for message in messages]
    with pytest.raises(RewrittenTurns):
        encoder.example(messages, flags)
    tokens, mask = encoder.example(messages, [False, False, False, False, True])
    prompt = encoder.prompt(messages[:4])
    assert tokens[: len(prompt)] == prompt and not any(mask[: len(prompt)])
    learnt = [token for token, flag in zip(tokens, mask, strict=True) if flag]
    thoughts = encoder.thoughts("<think>\nthe drawer")
    assert learnt[: len(thoughts)] == thoughts
    assert learnt[-1] in encoder.end_tokens
    # The history does not show the earlier thoughts.
    assert b"sleep" not in encoder.tokenizer.text_of(prompt)


KEEPING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


@pytest.mark.parametrize("history", ["exact", "template"])
def test_a_template_that_keeps_thoughts_shows_them_to_later_prompts(
    model: FamilyModel, tmp_path: Path, history: Any
) -> None:
    file = tmp_path / "keeping.jinja"
    file.write_text(KEEPING, "utf-8")
    actor = LlamaCppActor(
        model.gguf, context_tokens=512, chat_template=file, history=history, thinking=True
    )
    messages: list[Message] = [
        *CHAT,
        {"role": "assistant", "content": "Action: look", "thinking": THOUGHT},
        {"role": "user", "content": "A drawer."},
    ]
    encoder = actor.encoder
    played = [*encoder.prompt(CHAT), *encoder.thoughts(THOUGHT), *encoder.answer("Action: look")]
    prompt = encoder.prompt(messages)
    text = encoder.tokenizer.text_of(prompt).decode()
    assert f"{THOUGHT}</think>\n\nAction: look" in text
    if history == "exact":
        assert prompt[: len(played)] == played
        tokens, mask = encoder.example(messages, [False, False, True, False])
        assert tokens[: len(played)] == played and sum(mask) > len(encoder.thoughts(THOUGHT))
    actor.close()


def test_thoughts_hold_no_action() -> None:
    assert parse_action("<think>\nAction: sleep\n</think>\nAction: look") == "look"
    assert parse_action("<think>\nAction: sleep") is None


def test_a_template_without_thoughts_is_refused(tmp_path: Path) -> None:
    family = next(family for family in FAMILIES if family.name == "smollm2")
    model = make_family_model(tmp_path, family, tiny_base("bytes"))
    with pytest.raises(ModelError, match="no block of thoughts"):
        open_actor(ActorSettings(model=str(model.gguf), context_tokens=512, thinking=64))


def test_an_opened_model_thinks(model: FamilyModel) -> None:
    actor: Actor = open_actor(ActorSettings(model=str(model.gguf), context_tokens=512, thinking=10))
    [result] = actor.generate([GenerateRequest(CHAT, (3,), Sampling(max_tokens=4))])
    assert actor.description["thinking"] == 10
    assert actor.usage.output_tokens == result.completions[0].output_tokens
    actor.close()
