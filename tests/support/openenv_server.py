"""Servers that speak OpenEnv's protocol, with other actions and observations than ours.

The messages are written down here anew from the package's ``http_server``, so that the client is
checked against something else than our own server.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from agentr_lite.core.errors import AgentrError
from agentr_lite.serving.http import NOT_FOUND, Handler, Reply, Request, listening
from agentr_lite.serving.websocket import Channel, Gone

GOAL = 3
ACTION = {
    "type": "object",
    "required": ["guess"],
    "properties": {
        "metadata": {"type": "object"},
        "guess": {"type": "integer", "minimum": -1, "maximum": 1, "description": "added"},
    },
}
OBSERVATION = {
    "type": "object",
    "properties": {
        "done": {"type": "boolean"},
        "reward": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "metadata": {"type": "object"},
        "prompt": {"type": "string"},
        "note": {"type": "string"},
    },
}


@dataclass
class Counting:
    """Count to three from the seed modulo two, and how the server is to behave."""

    action: Mapping[str, Any] = field(default_factory=lambda: ACTION)
    observation: Mapping[str, Any] = field(default_factory=lambda: OBSERVATION)
    shown: Callable[[int], dict[str, Any]] = lambda count: {"prompt": f"Count: {count}."}
    most: int = 1
    open: int = 0
    opened: int = 0
    messages: list[dict[str, Any]] = field(default_factory=list)
    drop_before: int = 0
    """How many of the next steps break the connection, unheard."""
    answer: str = ""
    """Given to every step instead of the right answer."""
    silent: bool = False
    """No step is answered."""
    has_schema: bool = True
    drifts: bool = False
    """Each reset gives another game."""

    def kinds(self) -> list[str]:
        return [message["type"] for message in self.messages]

    # The HTTP server's side.

    def answer_page(self, request: Request) -> Reply:
        pages = {
            "/schema": {"action": self.action, "observation": self.observation, "state": {}},
            "/metadata": {"name": "Counting", "description": "Count to three."},
        }
        if request.path not in pages or not self.has_schema:
            return NOT_FOUND
        return Reply(pages[request.path])

    def talk(self, connection: socket.socket, handler: Handler) -> None:
        channel = Channel(connection, handler)
        if self.open >= self.most:
            counts = {"active_sessions": self.open, "max_sessions": self.most}
            said = f"Server at capacity: {self.open}/{self.most} sessions active."
            channel.send(error(said, "CAPACITY_REACHED", **counts))
            channel.close()
            return
        self.open += 1
        self.opened += 1
        try:
            self._episodes(channel)
        except Gone:
            pass
        finally:
            self.open -= 1

    def _episodes(self, channel: Channel) -> None:
        count: int | None = None
        while True:
            message = json.loads(channel.receive())
            self.messages.append(message)
            match message["type"]:
                case "state":
                    channel.send(json.dumps({"type": "state", "data": {"step_count": 0}}))
                case "reset":
                    count = message["data"]["seed"] % 2 + (self.opened if self.drifts else 0)
                    channel.send(self._observed(count, None))
                case "step":
                    if self.drop_before:
                        self.drop_before -= 1
                        return
                    if self.silent:
                        continue
                    if self.answer:
                        channel.send(self.answer)
                        continue
                    if count is None:
                        channel.send(error("reset first", "EXECUTION_ERROR"))
                        continue
                    value = next(iter(message["data"].values()))
                    if value == "crash":
                        channel.send(error("cannot divide a duck", "EXECUTION_ERROR"))
                        continue
                    count += value if isinstance(value, int) else 1
                    channel.send(self._observed(count, 0.5 if count >= GOAL else 0.25))
                case "close":
                    channel.close()
                    return

    def _observed(self, count: int, reward: float | None) -> str:
        data = {"observation": self.shown(count), "reward": reward, "done": count >= GOAL}
        return json.dumps({"type": "observation", "data": data})


class _Api:
    """The server of one ``Counting``."""

    def __init__(self, state: Counting) -> None:
        self._state = state

    def answer(self, request: Request) -> Reply:
        return self._state.answer_page(request)

    def failed(self, error: AgentrError) -> Reply:
        return Reply({"detail": error.message}, 500)

    def conversation(self, path: str) -> Callable[[socket.socket, Handler], None] | None:
        return self._state.talk if path == "/ws" else None


def error(message: str, code: str, **more: Any) -> str:
    """An error message."""
    return json.dumps({"type": "error", "data": {"message": message, "code": code, **more}})


@contextmanager
def counting(state: Counting) -> Iterator[str]:
    """Serve; gives the address."""
    with listening(_Api(state), "127.0.0.1", 0) as url:
        yield url
