"""The critic: strict verdicts, one batch, no substring traps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from agentr_lite.actors.base import (
    SCORE_OVERFLOW,
    Actor,
    Capabilities,
    Completion,
    GenerateRequest,
    GenerateResult,
    ScoreRequest,
    ScoreResult,
)
from agentr_lite.core.errors import ModelError
from agentr_lite.core.messages import Message
from agentr_lite.core.usage import Usage
from agentr_lite.core.verdicts import VERDICTS
from agentr_lite.splice.critic import (
    CRITIC_ANSWERS,
    CRITIC_QUESTION,
    REASON_QUESTION,
    judge,
    judge_message,
    parse_judgement,
)


class Judge(Actor):
    """Answers from a function of the last user turn; counts its batches."""

    def __init__(self, answer: Callable[[str], Any], *, scoring: bool = True) -> None:
        self.capabilities = Capabilities(scoring=scoring)
        self.usage = Usage()
        self.answer = answer
        self.batches: list[int] = []

    @property
    def description(self) -> dict[str, Any]:
        return {"backend": "test"}

    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateResult]:
        self.batches.append(len(requests))
        return [
            GenerateResult((Completion(self.answer(r.messages[-1]["content"]), 3, "stop"),), 9, 0)
            for r in requests
        ]

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        self.batches.append(len(requests))
        assert all(request.continuations == CRITIC_ANSWERS for request in requests)
        return [ScoreResult(self.answer(r.messages[-1]["content"]), 9, 5) for r in requests]


def chat(observation: str) -> list[Message]:
    return [
        {"role": "system", "content": "Rules"},
        {"role": "user", "content": "Goal: b"},
        {"role": "assistant", "content": "Action: get a"},
        {"role": "user", "content": observation},
    ]


def test_the_question_joins_the_last_observation_only() -> None:
    before = chat("Got 1 a")

    asked = judge_message(before)

    assert asked[:-1] == before[:-1]
    assert asked[-1] == {"role": "user", "content": f"Got 1 a\n\n{CRITIC_QUESTION}"}
    assert before[-1]["content"] == "Got 1 a"


def test_an_action_without_observation_cannot_be_judged() -> None:
    with pytest.raises(ValueError, match="observation"):
        judge_message(chat("x")[:-1])


def test_scores_are_compared_in_one_batch() -> None:
    table = {"one": (-1.0, -2.0, -3.0), "two": (-3.0, -0.5, -1.0), "six": (-9.0, -8.0, -7.0)}
    actor = Judge(lambda text: table[text.split("\n")[0]])

    judged = judge(actor, "score", [chat("one"), chat("two"), chat("six")])

    assert [item.verdict for item in judged] == ["good", "bad", "uncertain"]
    assert actor.batches == [3]
    assert judged[1].log_likelihoods == (-3.0, -0.5, -1.0)
    probabilities = judged[1].probabilities
    assert probabilities is not None
    assert sum(probabilities) == pytest.approx(1.0)
    assert probabilities[1] / probabilities[2] == pytest.approx(math.exp(0.5))


def test_what_does_not_fit_the_context_is_uncertain() -> None:
    class Tight(Judge):
        def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
            return [
                SCORE_OVERFLOW if "long" in request.messages[-1]["content"] else result
                for request, result in zip(requests, super().score(requests), strict=True)
            ]

    judged = judge(Tight(lambda _: (-3.0, -0.5, -1.0)), "score", [chat("long"), chat("x")])

    assert [item.verdict for item in judged] == ["uncertain", "bad"]
    assert judged[0].log_likelihoods is None and judged[0].probabilities is None
    assert judged[0].reason is not None and "too long" in judged[0].reason


def test_very_small_likelihoods_still_normalise() -> None:
    [judged] = judge(Judge(lambda _: (-2000.0, -1999.0, -2001.0)), "score", [chat("x")])

    assert judged.verdict == "bad"
    assert judged.probabilities is not None
    assert sum(judged.probabilities) == pytest.approx(1.0)


def test_a_tie_goes_to_the_milder_verdict() -> None:
    [judged] = judge(Judge(lambda _: (-1.0, -1.0, -1.0)), "score", [chat("x")])

    assert judged.verdict == "good"


@pytest.mark.parametrize(
    ("scores", "margin", "verdict"),
    [
        ((-1.0, -1.2, -3.0), 0.0, "good"),
        ((-1.0, -1.2, -3.0), 0.1, "good"),
        ((-1.0, -1.2, -3.0), 0.3, "uncertain"),
        ((-3.0, -1.0, -1.1), 0.3, "uncertain"),
        ((-3.0, -1.0, -1.5), 0.5, "bad"),
        ((-3.0, -1.1, -1.0), 0.3, "uncertain"),
    ],
)
def test_a_lead_within_the_margin_is_uncertain(
    scores: tuple[float, ...], margin: float, verdict: str
) -> None:
    [judged] = judge(Judge(lambda _: scores), "score", [chat("x")], margin=margin)

    assert judged.verdict == verdict
    assert judged.log_likelihoods == scores
    likeliest_is_the_verdict = scores.index(max(scores)) == ["good", "bad", "uncertain"].index(
        verdict
    )
    assert (judged.reason is None) == likeliest_is_the_verdict
    if not likeliest_is_the_verdict:
        assert "nats" in (judged.reason or "") and str(margin) in (judged.reason or "")


def test_scoring_needs_a_back_end_that_scores() -> None:
    with pytest.raises(ModelError) as caught:
        judge(Judge(lambda _: None, scoring=False), "score", [chat("x")])

    assert "splice.critic=reason" in caught.value.hint


def test_reasoned_verdicts_are_parsed_from_the_last_line() -> None:
    actor = Judge(lambda _: "It wastes a step.\nJudgement: bad", scoring=False)

    [judged] = judge(actor, "reason", [chat("x")])

    assert judged.verdict == "bad"
    assert judged.reason == "It wastes a step.\nJudgement: bad"
    assert judged.log_likelihoods is None
    assert judge_message(chat("x"), REASON_QUESTION)[-1]["content"].endswith(REASON_QUESTION)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Judgement: good", "good"),
        ("why\n\nJudgement: Bad.", "bad"),
        ("**Judgement:** bad", "bad"),
        ("judgment: uncertain", "uncertain"),
        ("Judgement: not good", "uncertain"),
        ("Judgement: not bad", "uncertain"),
        ("Judgement: good, bad or uncertain", "uncertain"),
        ("Judgement: good or bad", "uncertain"),
        ("Judgement: goodness", "uncertain"),
        ("Good", "uncertain"),
        ("This is a bad action.", "uncertain"),
        ("My judgement: bad", "uncertain"),
        ("Judgement: good\nOn second thoughts.\nJudgement: bad", "bad"),
        ("Judgement: bad\nJudgement: not bad", "uncertain"),
        ("", "uncertain"),
    ],
)
def test_strict_parsing(text: str, verdict: str) -> None:
    assert parse_judgement(text) == verdict


def test_the_constants_that_models_are_trained_on() -> None:
    # The starter model is trained on these exact words: a change makes its critic blind.
    assert CRITIC_QUESTION == "Judge the last action for the task: good, bad or uncertain?"
    assert len(CRITIC_QUESTION.split()) <= 12
    assert CRITIC_ANSWERS == ("Good", "Bad", "Uncertain")
    assert tuple(answer.lower() for answer in CRITIC_ANSWERS) == VERDICTS


def test_nothing_to_judge() -> None:
    actor = Judge(lambda _: None)

    assert judge(actor, "score", []) == []
    assert actor.batches == []
