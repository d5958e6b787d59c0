"""Servers that send what no client should take: how much, how slowly, in which form, and to whom.

With the variable HOSTILE_SERVER_ALL, the whole table is tried; see ``tests.support``.
"""

from __future__ import annotations

import json
import os
import random
from urllib.parse import quote

import pytest

from agentr_lite.core.json_values import MAX_DEPTH, JsonError, load_json
from agentr_lite.core.secrets import MASK, Secrets, userinfo
from tests.support import hostile_clients
from tests.support.hostile_clients import CLIENTS, SOUND, ask_all, ask_mutants, ask_one
from tests.support.hostile_server import KEY

STEP = 1 if os.environ.get("HOSTILE_SERVER_ALL") else 7


@pytest.mark.parametrize("client", CLIENTS)
def test_every_behaviour_ends_in_an_error_that_names_the_server(client: str) -> None:
    counts, faults = ask_all(client, step=STEP)
    assert faults == []
    assert counts["exit 1"] + counts["exit 3"] > 10


@pytest.mark.parametrize("client", CLIENTS)
def test_wrong_values_in_any_field_end_in_an_error(client: str) -> None:
    counts, faults = ask_mutants(client, 40, random.Random(4))
    assert faults == []
    assert set(counts) <= set(SOUND)


@pytest.mark.parametrize(
    ("client", "place"), [("openai", "/models"), ("agentgym", "/create"), ("hub", "/tree/main")]
)
@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("gzip bomb", "larger than"),
        ("gzip in gzip", "content encoding 'gzip,gzip'"),
        ("drip of a body", "no answer|had not answered"),
        ("endless chunks", "larger than"),
    ],
)
def test_the_message_says_what_the_server_did(
    client: str, place: str, behaviour: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "answer" not in said:
        # On a busy machine, the time limit must not be what is met first.
        monkeypatch.setattr(hostile_clients, "TIMEOUT_S", 10.0)
    what, told = ask_one(client, place, behaviour)
    assert what == ("exit 3" if client == "hub" else "exit 1")
    assert any(part in told for part in said.split("|")), told


@pytest.mark.parametrize("client", ["openai", "agentgym"])
def test_no_request_follows_to_another_address(client: str) -> None:
    what, told = ask_one(client, CLIENTS[client][2][0], "elsewhere")
    assert what == "exit 1"
    assert "elsewhere" in told


# JSON ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested more than"),
        (b"[" * 500_000, "nested more than"),
        (b'{"a": NaN}', "NaN is not"),
        (b"[-Infinity]", "-Infinity is not"),
        (b"[1e400]", "too large"),
        (b"[" + b"1" * 5000 + b"]", "5,000 digits"),
        (b"[9223372036854775808]", "64 bits"),
        (b'["\xff"]', "not UTF-8"),
        (b"[1,2", "delimiter"),
        (b"", "Expecting value"),
    ],
)
def test_json_is_read_with_limits(text: bytes, said: str) -> None:
    with pytest.raises(JsonError, match=said) as caught:
        load_json(text)
    assert len(str(caught.value).splitlines()) == 1


def test_json_is_read() -> None:
    value = {"a": [1, -2.5, "é", None, True], "b": {"c": "\ufffd"}}
    assert load_json(b"\xef\xbb\xbf" + json.dumps(value).encode()) == value
    assert load_json(b'{"x": "\\ud800"}') == {"x": "\ufffd"}
    deep = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert json.dumps(load_json(deep)).encode().replace(b" ", b"") == deep
    with pytest.raises(JsonError, match="more than 3 values"):
        load_json(b"[1,2,3,4]", most_values=3)


# Keys ------------------------------------------------------------------------------------------


def test_a_key_is_masked_in_a_text_of_any_encoding() -> None:
    secrets = Secrets([KEY])
    for text in (KEY, json.dumps(KEY)[1:-1], quote(KEY), KEY.swapcase(), KEY.encode().hex()):
        assert secrets.in_answer(f"before {text} after") == f"before {MASK} after"
    assert secrets.in_answer("nothing of it: sk-very") == "nothing of it: sk-very"
    # A run of backslashes, each of which could begin an escape.
    assert secrets.in_answer("\\" * 100_000) == "\\" * 100_000
    long = "k" * 400 + "0123456789"
    assert Secrets([long]).in_answer(f"<{long}>") == f"<{MASK}>"


def test_a_word_for_a_key_is_masked_in_messages_only() -> None:
    secrets = Secrets(["EMPTY", ""])
    assert secrets.in_answer("the jug is EMPTY") == "the jug is EMPTY"
    assert secrets.in_message("bad key EMPTY") == f"bad key {MASK}"
    assert secrets.in_message("see http://me:pw@host/x") == f"see http://{MASK}@host/x"
    assert userinfo("http://me:p%40w@host/x") == ["p@w", "me:p@w"]
    assert userinfo("http://host") == []
    assert userinfo("http://[::") == []
