"""The OpenAI-compatible back end against a server that behaves, and one that does not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.actors.base import GenerateRequest, Sampling
from agentr_lite.actors.openai.actor import OpenAIActor
from agentr_lite.actors.openai.client import Client, Refusal
from agentr_lite.actors.openai.spec import ServerSpec
from agentr_lite.core.config import ServerSettings
from agentr_lite.core.errors import ModelError
from agentr_lite.core.messages import Message
from tests.support.openai_server import (
    ASK,
    CUT,
    HANG,
    FakeServer,
    Open,
    ask,
    texts,
)


def test_answers_come_in_the_order_of_requests_and_seeds(connect: Open) -> None:
    actor = connect()
    assert texts(actor, ask(5, 9), ask(2)) == [["answer 5", "answer 9"], ["answer 2"]]
    assert actor.usage.calls == 1
    # 3 requests and the greeting, each with one token a character, 3 of the prompt's cached.
    assert actor.usage.output_tokens == len("answer 5") * 3 + len("answer 1")
    assert actor.usage.decoded_prompt_tokens == actor.usage.prompt_tokens - 4 * min(2, 3)


def test_samples_of_a_server_that_makes_several_come_in_one_request(
    server: FakeServer, connect: Open
) -> None:
    server.models = [{"id": "toy", "owned_by": "vllm"}]
    actor = connect()
    result = actor.generate([ask(7, 100, 200)])[0]
    assert [one.text for one in result.completions] == ["answer 7", "answer 8", "answer 9"]
    assert [body["n"] for body in server.chats] == [3]
    assert sum(one.output_tokens for one in result.completions) == 3 * len("answer 7")
    # The server's own defaults, which would shape the distribution, are switched off.
    assert (server.chats[0]["top_k"], server.chats[0]["min_p"]) == (-1, 0.0)


def test_what_a_server_leaves_out_is_asked_for_with_its_own_seed(
    server: FakeServer, connect: Open
) -> None:
    server.models, server.several = [{"id": "toy", "owned_by": "llamacpp"}], False
    assert texts(connect(), ask(7, 100, 200)) == [["answer 7", "answer 100", "answer 200"]]


def test_a_server_that_refuses_several_samples_is_asked_for_single_ones(
    server: FakeServer, connect: Open
) -> None:
    server.models = [{"id": "toy", "owned_by": "llamacpp"}]
    actor = connect()
    server.faults.append((400, {"error": {"message": "n exceeds the number of slots"}}, {}))
    assert texts(actor, ask(7, 100)) == [["answer 7", "answer 100"]]
    assert texts(actor, ask(1, 2)) == [["answer 1", "answer 2"]]
    assert [body.get("n", 1) for body in server.chats] == [2, 1, 1, 1, 1]


def test_greedy_samples_are_asked_for_once(server: FakeServer, connect: Open) -> None:
    assert texts(connect(), ask(4, 5, 6, temperature=0.0)) == [["answer 4"] * 3]
    assert [body["temperature"] for body in server.chats] == [0.0]


def test_sampling_is_passed_on(server: FakeServer, connect: Open) -> None:
    connect().generate([ask(3, temperature=0.7, top_p=0.9, top_k=5, max_tokens=33, stop=("\n",))])
    body = server.chats[0]
    assert (body["temperature"], body["top_p"], body["top_k"], body["max_tokens"]) == (
        0.7,
        0.9,
        5,
        33,
    )
    assert (body["stop"], body["seed"], body["model"]) == (["\n"], 3, "toy")


def test_a_setting_that_the_server_would_ignore_is_refused(
    server: FakeServer, connect: Open
) -> None:
    server.models = [{"id": "toy", "owned_by": "library"}]
    actor = connect()
    with pytest.raises(ModelError, match=r"Ollama has no top_k"):
        actor.generate([ask(1, top_k=5)])


def test_a_stop_string_that_the_server_overlooked_cuts_here(
    server: FakeServer, connect: Open
) -> None:
    server.reply = lambda body, seed: "Action: go\nObservation: gone"
    result = connect().generate([ask(1, stop=("\nObservation",))])[0].completions[0]
    assert (result.text, result.finish_reason) == ("Action: go", "stop")


def test_an_answer_that_ran_out_of_tokens_says_so(server: FakeServer, connect: Open) -> None:
    server.finish_reason = "length"
    assert connect().generate([ask(1)])[0].completions[0].finish_reason == "length"


def test_no_more_requests_are_in_flight_than_allowed(server: FakeServer, connect: Open) -> None:
    actor = connect(concurrency=3)
    # Passes only when three are in flight at once.
    server.meet = threading.Barrier(3)
    assert len(texts(actor, *(ask(seed) for seed in range(1, 13)))) == 12
    assert server.most == 3


def test_old_turns_are_dropped_whole_until_the_conversation_fits(
    server: FakeServer, connect: Open
) -> None:
    server.context = 60
    chat: list[Message] = [{"role": "system", "content": "s" * 10}]
    chat += [{"role": "user", "content": "t" * 10}]
    for turn in range(4):
        chat += [{"role": "assistant", "content": f"a{turn}" * 4}]
        chat += [{"role": "user", "content": f"o{turn}" * 4}]
    result = connect().generate([ask(1, messages=chat, max_tokens=8)])[0]
    assert result.dropped_turns == 3 - 1
    sent = [message["content"] for message in server.chats[-1]["messages"]]
    assert sent[:2] == ["s" * 10, "t" * 10]
    assert sent[2].startswith("a2")


def test_a_task_that_never_fits_is_an_overflow(server: FakeServer, connect: Open) -> None:
    actor = connect()
    server.context = 10
    result = actor.generate([ask(1, 2, messages=[{"role": "user", "content": "x" * 50}])])[0]
    assert [one.finish_reason for one in result.completions] == ["overflow", "overflow"]


# What goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        (500, {"error": "boom"}, {}),
        (503, {"error": {"message": "loading model"}}, {}),
        (429, {"error": {"message": "slow down"}}, {}),
        (200, b"<html>gateway</html>", {}),
        (200, b"", {}),
        (200, b"[1, 2]", {}),
        (200, b"not packed", {"Content-Encoding": "gzip"}),
        CUT,
    ],
    ids=["500", "503", "429", "html", "empty", "list", "gzip", "cut"],
)
def test_what_passes_is_tried_again(
    server: FakeServer, connect: Open, waits: list[float], fault: Any
) -> None:
    actor = connect()
    server.faults += [fault, fault, fault]
    assert texts(actor, ask(1)) == [["answer 1"]]
    # Half of 0.5, 1 and 2 seconds: exponential, with jitter.
    assert waits == [0.25, 0.5, 1.0]


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_the_least_wait(
    server: FakeServer, connect: Open, waits: list[float], form: str
) -> None:
    actor = connect()
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    server.faults.append((429, {}, {"Retry-After": "40" if form == "seconds" else date}))
    assert texts(actor, ask(1)) == [["answer 1"]]
    assert 38 < waits[0] <= 40.25


def test_a_server_that_is_away_for_long_is_not_waited_for(
    server: FakeServer, connect: Open, waits: list[float]
) -> None:
    actor = connect()
    server.faults.append((503, {"error": "maintenance"}, {"Retry-After": "7200"}))
    with pytest.raises(ModelError, match="7200 s"):
        actor.generate([ask(1)])
    assert not waits


def test_patience_ends(server: FakeServer, connect: Open, waits: list[float]) -> None:
    actor = connect(retries=2)
    server.faults += [(500, {"error": {"message": "out of memory"}}, {})] * 3
    with pytest.raises(ModelError, match=r"3 attempts: HTTP 500: out of memory") as caught:
        actor.generate([ask(1)])
    assert "AGENTR_LITE_SERVER_RETRIES" in caught.value.hint
    assert len(waits) == 2


def test_a_server_that_hangs_is_given_up(server: FakeServer, connect: Open) -> None:
    actor = connect(timeout_s=5.0, retries=0)
    actor._client._settings = ServerSettings(timeout_s=0.2, retries=0)
    server.faults.append(HANG)
    with pytest.raises(ModelError, match=r"no answer within 0\.2 s"):
        actor.generate([ask(1)])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_is_not_tried_again(
    server: FakeServer, connect: Open, waits: list[float], status: int
) -> None:
    actor = connect()
    server.faults.append((status, {"error": {"message": "I will not"}}, {}))
    with pytest.raises(Refusal, match="I will not"):
        actor.generate([ask(1)])
    assert not waits


@pytest.mark.parametrize(
    "content", [{}, {"choices": []}, {"choices": [{"index": 0}]}, {"choices": "many"}]
)
def test_an_answer_without_a_text_is_an_error(
    server: FakeServer, connect: Open, content: dict[str, Any]
) -> None:
    actor = connect()
    server.faults.append((200, content, {}))
    with pytest.raises(ModelError, match="without a text"):
        actor.generate([ask(1)])


def test_nobody_there(waits: list[float]) -> None:
    with FakeServer().running() as address:
        pass
    client = Client(ServerSpec(address, "toy"), ServerSettings(retries=0))
    with pytest.raises(ModelError, match="gave no answer in 1 attempt"):
        OpenAIActor(client)


def test_an_unknown_model_names_the_ones_there_are(server: FakeServer, connect: Open) -> None:
    server.models = [{"id": "toy-large", "owned_by": "vllm"}, {"id": "other", "owned_by": "vllm"}]
    with pytest.raises(ModelError, match=r"did you mean 'toy-large'.*toy-large, other"):
        connect("toy-larg")
    with pytest.raises(ModelError, match="name one"):
        connect("")
    server.models = server.models[:1]
    assert connect("").description["name"] == "toy-large"


def test_a_server_without_a_list_is_taken_at_its_word(server: FakeServer, connect: Open) -> None:
    server.models_status = 404
    assert texts(connect("anything"), ask(1)) == [["answer 1"]]


def test_an_adapter_is_refused(connect: Open) -> None:
    actor = connect()
    actor.use_adapter(None)
    assert not actor.capabilities.adapters
    with pytest.raises(ModelError, match="cannot load adapter"):
        actor.use_adapter(Path("adapter.gguf"))


# Grammars


WORD = 'root ::= "yes" | "no"'


def obedient(*path: str) -> Callable[[dict[str, Any], int], str]:
    """A model that writes what the field ``path`` of a request asks for, or its own mind."""

    def reply(body: dict[str, Any], seed: int) -> str:
        value: Any = body
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return str(value).partition('"')[2].partition('"')[0] if value else "Hello!"

    return reply


@pytest.mark.parametrize(
    ("owner", "field"),
    [
        ("llamacpp", ("grammar",)),
        ("vllm", ("structured_outputs", "grammar")),
        ("vllm", ("guided_grammar",)),
        ("sglang", ("ebnf",)),
        ("someone", ("grammar",)),
    ],
)
def test_a_grammar_is_sent_as_the_server_wants_it(
    server: FakeServer, connect: Open, owner: str, field: tuple[str, ...]
) -> None:
    server.models = [{"id": "toy", "owned_by": owner}]
    server.reply = obedient(*field)
    actor = connect()
    assert actor.capabilities.grammar
    for _ in range(2):
        request = GenerateRequest(ASK, (1,), Sampling(max_tokens=8, grammar=WORD))
        assert actor.generate([request])[0].completions[0].text == "yes"
    plain = actor.generate([GenerateRequest(ASK, (1,), Sampling(max_tokens=8))])[0]
    assert plain.completions[0].text == "Hello!"
    # Which field works is tried out once.
    asked = [json.dumps(body) for body in server.chats]
    assert sum("qzx" in body for body in asked) <= 2
    assert sum("yes" in body for body in asked) == 2


@pytest.mark.parametrize(
    ("owner", "said"), [("llamacpp", "it ignores them"), ("library", "it has none")]
)
def test_a_server_that_ignores_grammars_is_refused(
    server: FakeServer, connect: Open, owner: str, said: str
) -> None:
    server.models = [{"id": "toy", "owned_by": owner}]
    actor = connect()
    with pytest.raises(ModelError, match=said):
        actor.generate([GenerateRequest(ASK, (1,), Sampling(grammar=WORD))])


def test_a_server_that_refuses_a_field_is_quoted(server: FakeServer, connect: Open) -> None:
    server.models = [{"id": "toy", "owned_by": "sglang"}]
    actor = connect()
    server.faults.append((400, {"error": {"message": "no grammar backend"}}, {}))
    with pytest.raises(ModelError, match="no grammar backend"):
        actor.generate([GenerateRequest(ASK, (1,), Sampling(grammar=WORD))])
