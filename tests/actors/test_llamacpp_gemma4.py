"""Gemma 4 in the tree engine: branches beyond the window get what plain full prefill gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agentr_lite.actors.base import GenerateRequest, Sampling, ScoreRequest
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.core.messages import Message
from tests.support.llama_logits import llama_logits
from tests.support.tiny_gemma4 import Kind, make_tiny_gemma4

NEAR = 0.15
"""Nats for a continuation: keys and values in f16 round by the shape of the batch."""


@pytest.fixture(scope="module", params=["small", "large"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kind: Kind = request.param
    return make_tiny_gemma4(tmp_path_factory.mktemp(kind), kind)[1]


def log_likelihood(path: Path, prompt: list[int], answer: list[int]) -> float:
    rows = llama_logits(path, [*prompt, *answer])[len(prompt) - 1 : -1].astype(np.float64)
    top = rows.max(axis=1)
    sums = top + np.log(np.exp(rows - top[:, None]).sum(axis=1))
    drawn = sum(row[token] for row, token in zip(rows, answer, strict=True))
    return float(drawn - sums.sum())


def test_branches_score_as_plain_prefill_does(path: Path) -> None:
    actor = LlamaCppActor(path, context_tokens=512)
    continuations = ("Action: get 2 oak logs", "Action: inventory", "Thought")
    talk: list[Message] = [{"role": "user", "content": "Goal: craft 4 sticks. " * 9}]
    talks = [talk]
    try:
        answers = actor.generate(
            [GenerateRequest(talk, (1, 2, 3), Sampling(temperature=1.0, max_tokens=8))]
        )[0].completions
        for answer in answers:
            turn: Message = {"role": "assistant", "content": answer.text}
            talks.append([*talk, turn, {"role": "user", "content": "Got 2 oak logs"}])
        results = actor.score([ScoreRequest(each, continuations) for each in talks])
        prompts = [actor.encoder.fit(each, 512).tokens for each in talks]
        tokens = [actor.encoder.answer(text) for text in continuations]
    finally:
        actor.close()
    assert len(prompts[0] or ()) > 2 * 24  # two windows
    for prompt, result in zip(prompts, results, strict=True):
        assert prompt is not None
        for answer_tokens, found in zip(tokens, result.log_likelihoods, strict=True):
            expected = log_likelihood(path, list(prompt), list(answer_tokens))
            assert found == pytest.approx(expected, abs=NEAR)
