"""A local HTTP server that speaks the dialects of the AgentGym servers, and misbehaves on demand.

The game behind all of them: count to three with ``up``. What replies look like is written down here
anew, from the servers' descriptions, so that the client's table is checked against something else.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.quiet_server import QuietServer

GOAL = 3
CHOICES = ["up", "down"]


class Game:
    """Count to three from the number's last digit, modulo two."""

    def __init__(self) -> None:
        self.count: int | None = None
        self.number = -1

    def reset(self, number: int) -> str:
        self.number, self.count = number, number % 2
        return f"Count to {GOAL}. Count: {self.count}."

    def step(self, action: str) -> tuple[str, bool]:
        assert self.count is not None
        if action == "crash":
            raise RuntimeError("cannot divide a duck")
        if action.startswith("jump"):
            return f"Could not {action}", self.done
        self.count += {"up": 1, "down": -1}.get(action, 0)
        return f"Count: {self.count}.", self.done

    @property
    def done(self) -> bool:
        return self.count is not None and (self.count >= GOAL or self.count < 0)

    @property
    def won(self) -> bool:
        return self.count == GOAL


class State:
    """What the server holds, and how it is to misbehave."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.games: dict[int, Game] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self.closed: list[int] = []
        self.greets = True
        self.describes = True
        self.can_close = True
        self.drop_before: list[str] = []
        """Paths whose next request is dropped unheard."""
        self.drop_after: list[str] = []
        """Paths whose next request is carried out, and its answer lost."""
        self.fail_once: list[tuple[str, int]] = []
        """(path, status) of the next failures."""
        self.delay: Callable[[str], None] = lambda path: None
        self.alien: Any = None
        """Given as the answer to every step instead of the right one."""
        self.drifts = False
        """Each reset gives another opening."""

    def count(self, path: str) -> int:
        return sum(1 for _, where, _ in self.requests if where.endswith(path))


ENV_IDX = ("webshop", "sqlgym", "webarena", "searchqa", "weather", "movie", "todo", "tool")
GREETING = {
    "textcraft": "TextCraft",
    "sciworld": "ScienceWorld",
    "babyai": "BabyAI",
    "alfworld": "AlfWorld",
    "maze": "LMRL-Gym",
    "wordle": "LMRL-Gym",
}
RESET_FIELDS = {
    "textcraft": ["id", "data_idx"],
    "sciworld": ["id", "data_idx"],
    "babyai": ["id", "data_idx"],
    "alfworld": ["id", "game", "world_type"],
    "maze": ["id", "game"],
    "wordle": ["id", "seed"],
    "webshop": ["env_idx", "session_id"],
    "sqlgym": ["env_idx", "item_id"],
    "webarena": ["env_idx", "seed", "idx"],
}
NUMBER_FIELD = {
    "textcraft": "data_idx",
    "sciworld": "data_idx",
    "babyai": "data_idx",
    "alfworld": "game",
    "maze": "game",
    "wordle": "seed",
    "webshop": "session_id",
    "sqlgym": "item_id",
    "webarena": "idx",
}
PREFIX = {"maze": "/maze", "wordle": "/wordle"}


class NoSuchPath(Exception):
    """404."""


class WrongBody(Exception):
    """422, as FastAPI says it."""


def answer(state: State, method: str, path: str, query: dict[str, list[str]], body: Any) -> Any:
    """The reply to one request."""
    kind = state.kind
    if method == "GET" and path == "/":
        return f"This is environment {GREETING[kind]}." if kind in GREETING else "ok"
    if method == "GET" and path == "/openapi.json" and state.describes:
        properties = {name: {} for name in reset_fields(kind)}
        reference = {"$ref": "#/components/schemas/ResetQuery"}
        content = {"content": {"application/json": {"schema": reference}}}
        return {
            "paths": {"/reset": {"post": {"requestBody": content}}},
            "components": {"schemas": {"ResetQuery": {"properties": properties}}},
        }
    prefix = PREFIX.get(kind, "")
    if not path.startswith(prefix + "/"):
        raise NoSuchPath
    verb = path.removeprefix(prefix + "/")
    handle_name = "env_idx" if kind in ENV_IDX else "id"
    if (method, verb) == ("POST", "create"):
        return create(state, body)
    if (method, verb) == ("GET", "observation"):
        game = state.games[int(query[handle_name][0])]
        return f"Page. Count: {game.count}."
    if method != "POST" or verb not in ("step", "reset", "close"):
        raise NoSuchPath
    if handle_name not in body:
        raise WrongBody
    handle = body[handle_name]
    if verb == "close":
        if not state.can_close:
            raise NoSuchPath
        state.closed.append(handle)
        return {"closed": True}
    if handle not in state.games:
        return {"error": f"The id {handle} is not valid."}
    game = state.games[handle]
    if verb == "reset":
        if sorted(reset_fields(kind)) != sorted(body):
            raise WrongBody
        return reset(state, game, handle, body[NUMBER_FIELD.get(kind, "id")])
    if set(body) != {handle_name, "action"}:
        raise WrongBody
    return step(state, game, handle, body["action"])


def reset_fields(kind: str) -> list[str]:
    return RESET_FIELDS.get(kind, ["env_idx", "id"])


def create(state: State, body: Any) -> Any:
    kind = state.kind
    if kind == "textcraft" and not isinstance(body, dict):
        raise WrongBody
    if kind in ("weather", "searchqa", "tool") and set(body) != {"id"}:
        raise WrongBody
    handle = len(state.games)
    state.games[handle] = Game()
    if kind == "webarena":
        return {"env_idx": handle}
    return handle if kind in ENV_IDX else {"id": handle}


def reset(state: State, game: Game, handle: int, number: int) -> Any:
    if number >= 5000:
        return {"error": "list index out of range"}
    text = game.reset(number)
    if state.drifts:
        text += f" Visit {state.count('/reset')}."
    kind = state.kind
    if kind == "sciworld":
        return {
            "task_name": "boil",
            "var_num": number,
            "task_description": "Your task is to count.",
            "observation": text,
            "reward": 0,
            "score": 0,
            "deleted": False,
            "done": False,
        }
    if kind == "alfworld":
        return {"id": handle, "observation": text, "available_actions": CHOICES, "task_type": "t"}
    if kind in ("webshop", "sqlgym"):
        return [text, None]
    if kind in ENV_IDX and kind != "webarena":
        return text
    return {"id": handle, "observation": text, "done": False, "reward": 0}


def step(state: State, game: Game, handle: int, action: str) -> Any:
    if state.alien is not None:
        return state.alien
    kind = state.kind
    if game.done and kind in ("sciworld", "alfworld", "maze", "wordle"):
        return {"error": f"The task with environment {handle} has finished."}
    try:
        text, done = game.step(action)
    except RuntimeError as error:
        return {"error": str(error)}
    won = float(game.won)
    reply: dict[str, Any] = {"observation": text, "reward": won, "done": done}
    if kind == "sciworld":
        reply["score"] = -100 if done and not game.won else 100 * (game.count or 0) // GOAL
        reply["reward"] = 33
    elif kind == "babyai":
        reply["score"] = won
    elif kind == "alfworld":
        reply["available_actions"] = CHOICES
    elif kind == "maze":
        reply["reward"] = 0 if game.won else -1
    elif kind in ("webshop", "sqlgym"):
        reply = {"state": text, "reward": won, "done": done, "info": None}
    elif kind == "webarena":
        reply = {
            "observation": text,
            "reward": won,
            "terminated": done,
            "truncated": False,
            "info": {},
        }
    return reply


class Handler(BaseHTTPRequestHandler):
    """Keeps connections open, as uvicorn does."""

    protocol_version = "HTTP/1.1"
    state: State

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""

    def _serve(self, method: str) -> None:
        state = self.state
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        state.requests.append((method, parts.path, body))
        state.delay(parts.path)
        if parts.path in state.drop_before:
            state.drop_before.remove(parts.path)
            self.close_connection = True
            return
        for where, status in state.fail_once:
            if where == parts.path:
                state.fail_once.remove((where, status))
                self._reply(status, "Internal Server Error")
                return
        if parts.path == "/" and not state.greets:
            self._reply(404, {"detail": "Not Found"})
            return
        try:
            content = answer(state, method, parts.path, parse_qs(parts.query), body)
        except NoSuchPath:
            self._reply(404, {"detail": "Not Found"})
            return
        except WrongBody:
            self._reply(422, {"detail": [{"type": "missing", "loc": ["body"]}]})
            return
        if parts.path in state.drop_after:
            state.drop_after.remove(parts.path)
            self.close_connection = True
            return
        self._reply(200, content)

    def _reply(self, status: int, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        if status >= 500:
            # Seen with real servers: an error costs the connection, and nothing says so.
            self.close_connection = True


@contextmanager
def serving(kind: str) -> Iterator[tuple[str, State]]:
    """A server of a kind; gives its address and its state."""
    state = State(kind)
    handler = type("Bound", (Handler,), {"state": state})
    server = QuietServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
