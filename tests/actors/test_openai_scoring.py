"""Likelihoods from servers that echo prompts, and from servers that only claim to."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentr_lite.actors.base import ScoreRequest
from agentr_lite.core.errors import ModelError
from agentr_lite.core.messages import Message
from tests.support.openai_server import (
    ASK,
    FakeServer,
    Open,
    ask,
    log_probability,
    texts,
)


def test_scores_are_the_echoed_log_probabilities(server: FakeServer, connect: Open) -> None:
    server.models = [{"id": "toy", "owned_by": "vllm"}]
    server.echoes = server.tokenizes = True
    actor = connect()
    assert actor.capabilities.scoring
    result = actor.score([ScoreRequest(ASK, ("Good", "Bad"))])[0]
    assert result.prompt_tokens == len("Go>")
    assert result.log_likelihoods == tuple(
        sum(log_probability(one) for one in word) for word in ("Good", "Bad")
    )


def test_a_template_of_the_users_lets_any_echoing_server_score(
    server: FakeServer, connect: Open, tmp_path: Path
) -> None:
    server.echoes = True
    assert not connect().capabilities.scoring
    template = tmp_path / "template.jinja"
    template.write_text("{% for m in messages %}[{{ m.content }}]{% endfor %}", "utf-8")
    actor = connect(template=template)
    result = actor.score([ScoreRequest(ASK, ("Yes",))])[0]
    assert result.log_likelihoods == (sum(map(log_probability, "Yes")),)
    # The same template renders what is generated from.
    assert texts(actor, ask(3)) == [["answer 3"]]
    assert server.requests[-1][1]["prompt"] == "[Go]"


@pytest.mark.parametrize("condition", ["true", "m.role == 'assistant'"])
def test_a_template_that_needs_the_end_token_is_refused(
    connect: Open, tmp_path: Path, condition: str
) -> None:
    template = tmp_path / "template.jinja"
    template.write_text(
        "{% for m in messages %}[{{ m.content }}]{% if "
        + condition
        + " %}{{ eos_token }}{% endif %}{% endfor %}",
        "utf-8",
    )
    with pytest.raises(ModelError, match="ends turns with eos_token") as caught:
        connect(template=template)
    assert "agent.chat_template empty" in caught.value.hint


def test_what_is_too_long_to_score_is_an_overflow(server: FakeServer, connect: Open) -> None:
    server.models = [{"id": "toy", "owned_by": "vllm"}]
    server.echoes = server.tokenizes = True
    actor = connect()
    server.context = 20
    long: list[Message] = [{"role": "user", "content": "x" * 50}]
    scored = actor.score([ScoreRequest(long, ("Good",)), ScoreRequest(ASK, ("Good",))])
    assert [(one.overflow, len(one.log_likelihoods)) for one in scored] == [(True, 0), (False, 1)]


def test_old_exchanges_are_left_out_where_it_is_too_long_to_score(
    server: FakeServer, connect: Open
) -> None:
    server.models = [{"id": "toy", "owned_by": "vllm"}]
    server.echoes = server.tokenizes = True
    actor = connect()
    last: list[Message] = [
        {"role": "assistant", "content": "b" * 4},
        {"role": "user", "content": "y" * 4},
    ]
    old: list[Message] = [
        {"role": "assistant", "content": "a" * 10},
        {"role": "user", "content": "x" * 10},
    ]
    server.context = 20
    whole, short = actor.score(
        [ScoreRequest([*ASK, *old, *last], ("Good",)), ScoreRequest([*ASK, *last], ("Good",))]
    )
    assert whole == short
    assert not whole.overflow
    server.context = 12
    assert actor.score([ScoreRequest([*ASK, *old, *last], ("Good",))])[0].overflow


@pytest.mark.parametrize("tokenizes", [True, False])
def test_an_echo_that_is_ignored_is_noticed(
    server: FakeServer, connect: Open, tokenizes: bool
) -> None:
    server.models, server.tokenizes = [{"id": "toy", "owned_by": "vllm"}], tokenizes
    actor = connect()
    assert not actor.capabilities.scoring
    assert actor.why_no_scoring
    with pytest.raises(ModelError, match="no scores from"):
        actor.score([ScoreRequest(ASK, ("Yes",))])


_MARKED = "{% for m in messages %}^{{ m.role }}:{{ m.content }}{% endfor %}^bot:"


@pytest.mark.parametrize("left_out", ["", "^", ":"])
def test_tokens_that_an_echo_leaves_out_are_no_obstacle(
    server: FakeServer, connect: Open, tmp_path: Path, left_out: str
) -> None:
    """The first is a server that echoes all, the second one drops each turn's first token."""
    server.echoes, server.left_out = True, left_out
    template = tmp_path / "template.jinja"
    template.write_text(_MARKED, "utf-8")
    actor = connect(template=template)
    assert actor.capabilities.scoring and not actor.why_no_scoring
    result = actor.score([ScoreRequest(ASK, ("Good", "Bad"))])[0]
    assert result.prompt_tokens == len("^user:Go^bot:")
    assert result.log_likelihoods == tuple(
        sum(log_probability(one) for one in word) for word in ("Good", "Bad")
    )


def test_one_token_that_is_left_out_does_not_shift_the_scores(
    server: FakeServer, connect: Open, tmp_path: Path
) -> None:
    """As many values as tokens come back then, because one token is generated."""
    server.echoes, server.left_out = True, "^"
    template = tmp_path / "template.jinja"
    template.write_text("^{% for m in messages %}{{ m.content }}{% endfor %}:", "utf-8")
    result = connect(template=template).score([ScoreRequest(ASK, ("Good",))])[0]
    assert result.log_likelihoods == (sum(map(log_probability, "Good")),)


def test_a_continuation_that_loses_tokens_is_not_scored(
    server: FakeServer, connect: Open, tmp_path: Path
) -> None:
    server.echoes, server.left_out = True, "^"
    template = tmp_path / "template.jinja"
    template.write_text(_MARKED, "utf-8")
    actor = connect(template=template)
    with pytest.raises(ModelError, match="for 2 of the 3 tokens of 'a\\^b'"):
        actor.score([ScoreRequest(ASK, ("a^b",))])


def test_values_of_other_tokens_are_noticed(
    server: FakeServer, connect: Open, tmp_path: Path
) -> None:
    server.echoes = server.shifts = True
    template = tmp_path / "template.jinja"
    template.write_text(_MARKED, "utf-8")
    actor = connect(template=template)
    assert not actor.capabilities.scoring
    assert "of other tokens" in actor.why_no_scoring
