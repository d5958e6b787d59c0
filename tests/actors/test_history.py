"""Conversations kept as they were played: each is the beginning of its continuations."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from agentr_lite.actors.chat.encoder import ChatEncoder
from tests.actors.test_chat_families import (
    BACK_ENDS,
    TRAINERS,
    Case,
    _property,
    case,
    load,
    made,
    random_conversations,
    training_ids,
)
from tests.support.chat_conversations import HARMLESS, Conversation, finished, hostile

__all__ = ["case", "made"]
"""Fixtures of the families' tests."""


def encoder_of(case: Case, back_end: str) -> ChatEncoder:
    return load(back_end, case[0], "exact").encoder


def turns_of(messages: Conversation) -> list[int]:
    return [index for index, message in enumerate(messages) if message["role"] == "assistant"]


@pytest.mark.parametrize("back_end", BACK_ENDS)
class TestPlay:
    def test_a_prompt_and_its_answer_begin_the_next_prompt(self, case: Case, back_end: str) -> None:
        encoder = encoder_of(case, back_end)
        for messages in (*HARMLESS.values(), *hostile(case[0].family).values()):
            for index in turns_of(messages):
                played = encoder.prompt(messages[:index])
                played += encoder.answer(messages[index]["content"])
                assert encoder.prompt(messages)[: len(played)] == played

    def test_where_the_template_keeps_turns_it_is_its_own_rendering(
        self, case: Case, back_end: str
    ) -> None:
        (model, witness), encoder = case, encoder_of(case, back_end)
        if not model.family.keeps_prompt or witness._opening(HARMLESS["one turn"]).strip():
            return
        for name in ("one turn", "several turns"):
            messages = HARMLESS[name]
            whole = witness.prompt(messages)
            earlier = [witness.prompt(messages[:index]) for index in turns_of(messages)]
            # Kept as text, a prompt's last white space may still merge with the answer's first
            # token where the whole is tokenized anew: then it is not what was played.
            if all(whole[: len(prompt)] == prompt for prompt in earlier):
                assert encoder.prompt(messages) == whole, name

    def test_drawn_tokens_stay_as_they_were_drawn(self, case: Case, back_end: str) -> None:
        encoder = encoder_of(case, back_end)
        messages: Any = [dict(message) for message in HARMLESS["several turns"]]
        index = turns_of(messages)[0]
        text = messages[index]["content"]
        spelled = [token for char in text for token in encoder.tokenizer.continuation(char)]
        messages[index]["token_ids"] = spelled
        played = encoder.prompt(messages[:index]) + spelled
        assert encoder.prompt(messages)[: len(played)] == played

    def test_text_that_says_its_tokens_needs_no_others(self, case: Case, back_end: str) -> None:
        encoder = encoder_of(case, back_end)
        for text in ("Action: look", "Thought: e\nAction: wait"):
            ids = encoder.answer(text)
            assert encoder.answer_text(encoder.tokenizer.text_of(ids)) == text
            assert encoder.drawn(text, ids) == ()

    def test_no_content_makes_a_control_token(self, case: Case, back_end: str) -> None:
        (model, witness), encoder = case, encoder_of(case, back_end)

        @_property(case)
        @given(random_conversations(model))
        def check(messages: Conversation) -> None:
            ours = encoder.prompt(messages)
            right = encoder.prompt(witness.harmless(messages))
            assert witness.count(ours) == witness.count(right)

        check()


@pytest.mark.parametrize("trainer", TRAINERS)
def test_training_sees_one_sequence_of_what_was_played(case: Case, trainer: str) -> None:
    (model, witness), encoder = case, encoder_of(case, "mlx")
    for name, messages in HARMLESS.items():
        whole = finished(messages)
        ((ids, mask),) = training_ids(trainer, model, whole, history="exact")
        last = turns_of(whole)[-1]
        prompt = encoder.prompt(whole[:last])
        assert ids[: len(prompt)] == prompt, name
        learnt = [token for token, flag in zip(ids, mask, strict=True) if flag]
        ends = 0
        for index in turns_of(whole):
            answer = encoder.answer(whole[index]["content"])
            assert answer == learnt[: len(answer)], name
            learnt = learnt[len(answer) :]
            # What is left of the turn is white space and the token that ends it.
            while learnt and learnt[0] not in witness.control_ids:
                learnt = learnt[1:]
            assert learnt and learnt[0] in encoder.end_tokens, name
            learnt = learnt[1:]
            ends += 1
        assert not learnt and ends == len(turns_of(whole)), name
