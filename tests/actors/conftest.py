"""A server and the actor that connects to it; a package index and a file for its wheels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.actors.openai.actor import OpenAIActor
from agentr_lite.actors.openai.client import Client
from agentr_lite.actors.openai.spec import ServerSpec
from agentr_lite.core.config import ServerSettings
from tests.support.index_server import FakeIndex, use_index
from tests.support.openai_server import FakeServer, Open
from tests.support.tiny_gguf import write_tiny_model


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def url(server: FakeServer) -> Iterator[str]:
    with server.running() as address:
        yield address


@pytest.fixture
def waits() -> list[float]:
    """Seconds that the client would have slept."""
    return []


@pytest.fixture
def connect(url: str, waits: list[float]) -> Iterator[Open]:
    opened: list[OpenAIActor] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    def make(model: str = "toy", template: Path | None = None, **settings: Any) -> OpenAIActor:
        client = Client(
            ServerSpec(url, model), ServerSettings(**settings), sleep=sleep, jitter=lambda: 0.5
        )
        opened.append(OpenAIActor(client, chat_template=template))
        return opened[-1]

    yield make
    for actor in opened:
        actor.close()


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return write_tiny_model(tmp_path / "source.gguf").read_bytes()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeIndex]:
    """The package index that pip uses."""
    packages = FakeIndex()
    with packages.running() as address:
        use_index(monkeypatch, address)
        yield packages
