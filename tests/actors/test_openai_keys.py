"""Where a server's key goes, and how a server and its settings are named."""

from __future__ import annotations

import json
import logging

import pytest

from agentr_lite.actors.openai.client import Client
from agentr_lite.actors.openai.spec import ServerSpec, parse_spec
from agentr_lite.core.config import ServerSettings, server_settings
from agentr_lite.core.errors import ModelError, UsageError
from tests.support.openai_server import (
    KEY,
    FakeServer,
    Open,
    ask,
)


def test_the_key_is_sent_and_appears_nowhere_else(
    server: FakeServer, connect: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    actor = connect(key=KEY)
    assert server.requests[-1][2]["Authorization"] == f"Bearer {KEY}"
    server.faults.append((401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}, {}))
    with pytest.raises(ModelError) as caught:
        actor.generate([ask(1)])
    shown = [str(caught.value), caught.value.hint, repr(caught.value), caplog.text]
    shown += [json.dumps(actor.description), repr(ServerSettings(key=KEY))]
    assert not any(KEY in text for text in shown)
    assert "***" in str(caught.value)


def test_a_missing_key_is_named(server: FakeServer, connect: Open) -> None:
    server.faults.append((401, {"error": {"message": "no key"}}, {}))
    with pytest.raises(ModelError) as caught:
        connect()
    assert "AGENTR_LITE_API_KEY" in caught.value.hint


def test_openais_key_goes_to_openai_only() -> None:
    settings = ServerSettings(openai_key=KEY)
    assert settings.key_for("https://api.openai.com/v1") == KEY
    for url in ("http://api.openai.com/v1", "https://api.openai.com.evil.org/v1", "http://x/v1"):
        assert settings.key_for(url) == ""
    assert ServerSettings(key="own").key_for("http://x/v1") == "own"


@pytest.mark.parametrize("bad", [f"{KEY}…", f"{KEY}\n{KEY}"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_repeated(bad: str) -> None:
    with pytest.raises(UsageError, match="AGENTR_LITE_API_KEY") as caught:
        Client(ServerSpec("http://x/v1", "toy"), ServerSettings(key=bad))
    assert KEY not in caught.value.message + caught.value.hint
    with pytest.raises(UsageError, match="OPENAI_API_KEY"):
        ServerSettings(openai_key=bad).key_for("https://api.openai.com/v1")
    assert ServerSettings(openai_key=bad).key_for("http://x/v1") == ""


# Names and settings ---------------------------------------------------------------------------


def test_a_spec_is_taken_apart() -> None:
    spec = parse_spec("openai:http://Box:8000#Qwen/Qwen2.5-0.5B-Instruct")
    assert (spec.url, spec.model) == ("http://Box:8000/v1", "Qwen/Qwen2.5-0.5B-Instruct")
    assert spec.root == "http://Box:8000"
    assert str(parse_spec("openai:https://h/api/v1/#m")) == "openai:https://h/api/v1#m"
    assert parse_spec(str(spec)) == spec


@pytest.mark.parametrize(
    "spec", ["openai:", "openai:localhost:8000", "openai:ftp://h/v1", "openai:http://h:x/v1"]
)
def test_a_broken_spec_is_refused(spec: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_spec(spec)
    assert "http" in caught.value.hint


@pytest.mark.parametrize("spec", [f"openai:http://u:{KEY}@h/v1", f"openai:http://h/v1?key={KEY}"])
def test_a_key_in_the_address_is_refused_and_not_repeated(spec: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_spec(spec)
    assert KEY not in caught.value.message + caught.value.hint


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTR_LITE_SERVER_CONCURRENCY", "3")
    monkeypatch.setenv("AGENTR_LITE_SERVER_TIMEOUT_S", "2.5")
    settings = server_settings()
    assert (settings.concurrency, settings.timeout_s, settings.retries) == (3, 2.5, 5)
    monkeypatch.setenv("AGENTR_LITE_SERVER_RETRIES", "many")
    with pytest.raises(UsageError, match="AGENTR_LITE_SERVER_RETRIES=many"):
        server_settings()
