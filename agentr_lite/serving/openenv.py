"""OpenEnv's protocol: its client, and the trainers that use it, play our environments.

A WebSocket at ``/ws`` is a session. Both sides send JSON:

======================================================  ==========================================
client                                                  server
======================================================  ==========================================
``{"type": "reset", "data": {"split": "train", ...}}``  ``{"type": "observation", "data": {
                                                        "observation": {"text": ...}, "reward":
                                                        null, "done": false}}``
``{"type": "step", "data": {"message": ACTION}}``       the same, with a reward
``{"type": "state"}``                                   ``{"type": "state", "data": {...}}``
``{"type": "close"}``                                   the connection closes
anything else                                           ``{"type": "error", "data": {"message":
                                                        ..., "code": ...}}``
======================================================  ==========================================

A reward is what the last action changed, so that the sum of an episode's rewards is its reward.

Source: ``openenv.core.env_server`` (``http_server``, ``types``, ``serialization``) of the package
``openenv`` 0.10.
"""

from __future__ import annotations

import itertools
import json
import socket
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import agentr_lite
from agentr_lite.agent.boundary import guarded_instructions, guarded_tasks
from agentr_lite.core.errors import AgentrError
from agentr_lite.core.json_values import JsonError, load_json
from agentr_lite.core.tasks import SPLITS, Split, Task
from agentr_lite.envs.base import StepResult
from agentr_lite.serving.http import NOT_FOUND, Handler, Reply, Request, WrongBody, field
from agentr_lite.serving.stage import Session, Stage, TooMany
from agentr_lite.serving.websocket import Channel, Gone, check_installed

_MOST_VALUES = 10_000
_DIGITS = 9
"""Of a reward: a difference of two sums has a rounding error."""
_LARGEST_SEED = 2**31
_TYPES: Mapping[Split, str] = {"train": "train", "dev": "validation", "test": "test"}
"""OpenEnv's name for the purpose of each split."""
_ACTION = {
    "title": "TextAction",
    "type": "object",
    "additionalProperties": False,
    "required": ["message"],
    "properties": {
        "metadata": {"title": "Metadata", "type": "object", "additionalProperties": True},
        "message": {"title": "Message", "type": "string", "description": "One action, as text."},
    },
}
_OBSERVATION = {
    "title": "TextObservation",
    "type": "object",
    "additionalProperties": False,
    "required": ["text"],
    "properties": {
        "done": {"title": "Done", "type": "boolean", "default": False},
        "reward": {"title": "Reward", "anyOf": [{"type": "number"}, {"type": "null"}]},
        "metadata": {"title": "Metadata", "type": "object", "additionalProperties": True},
        "text": {"title": "Text", "type": "string", "description": "The observation."},
    },
}
_STATE = {
    "title": "TextState",
    "type": "object",
    "additionalProperties": True,
    "properties": {
        "episode_id": {"title": "Episode Id", "anyOf": [{"type": "string"}, {"type": "null"}]},
        "step_count": {"title": "Step Count", "type": "integer", "minimum": 0, "default": 0},
        "split": {"title": "Split", "anyOf": [{"type": "string"}, {"type": "null"}]},
        "task": {"title": "Task", "anyOf": [{"type": "string"}, {"type": "null"}]},
    },
}


class Refusal(AgentrError):
    """An error that the client gets; its session goes on.

    Attributes:
        code: OpenEnv's name for its kind.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class OpenEnvApi:
    """The routes of one server.

    Args:
        stage: plays.

    Raises:
        UsageError: the package ``websockets`` is not installed.
    """

    def __init__(self, stage: Stage) -> None:
        check_installed("envs serve")
        self._stage = stage
        self._name = stage.env.name
        self._tasks = {split: guarded_tasks(stage.env, split) for split in SPLITS}
        self._instructions = guarded_instructions(stage.env, brief=False)
        self._turn = itertools.count()

    def answer(self, request: Request) -> Reply:
        """See ``Api``."""
        match request.method, request.path:
            case "GET", "/health":
                return Reply({"status": "healthy"})
            case "GET", "/schema":
                return Reply({"action": _ACTION, "observation": _OBSERVATION, "state": _STATE})
            case "GET", "/metadata":
                return Reply(self._metadata())
            case "GET", "/openapi.json":
                return Reply(_description())
            case "GET", "/state":
                return Reply({"episode_id": None, "step_count": 0})
            case "POST", "/reset":
                body = request.body if isinstance(request.body, dict) else {}
                return Reply(self._stage.call(lambda: self._glimpse(body)))
            case "POST", "/step":
                said = "an episode needs the WebSocket at /ws; over HTTP nothing is kept"
                return Reply({"detail": said}, 409)
            case "POST", "/mcp":
                return Reply(_no_tools(request.body))
            case "GET", "/list_environments":
                return Reply([self._name])
        return self._listed(request)

    def failed(self, error: AgentrError) -> Reply:
        """See ``Api``."""
        if isinstance(error, Refusal):
            return Reply({"detail": error.message}, 422)
        return Reply({"detail": error.message}, 503 if isinstance(error, TooMany) else 500)

    def conversation(self, path: str) -> Callable[[socket.socket, Handler], None] | None:
        """See ``Api``: at ``/ws``."""
        return self._converse if path == "/ws" else None

    def _converse(self, connection: socket.socket, request: Handler) -> None:
        session: Session | None = None
        try:
            channel = Channel(connection, request)
            try:
                session = self._stage.call(self._stage.open)
            except AgentrError as error:
                channel.send(_error(error))
            else:
                talk = _Talk(self, session)
                while (answer := talk.answer(channel.receive())) is not None:
                    channel.send(answer)
            channel.close()
        except Gone:
            # The client went away, which ends its session.
            pass
        finally:
            if session is not None:
                ended = session
                self._stage.call(lambda: self._stage.end(ended))

    def begin(self, session: Session, wishes: Mapping[str, Any]) -> StepResult:
        """Begin the task that a reset asks for.

        Args:
            session: whose episode is replaced.
            wishes: ``task`` by name, or ``index`` in a ``split`` (``train``), or ``seed``, which
                chooses one of the split. Without any of them, the split's tasks take turns.

        Raises:
            Refusal: there is no such task, or a wish has the wrong type.
            AgentrError: the environment fails.
        """
        seed = _whole(wishes, "seed")
        task = self._chosen(wishes, seed)
        number = 0 if seed is None else seed % _LARGEST_SEED
        return self._stage.call(lambda: self._stage.reset(session, task, number))

    def step(self, session: Session, action: str) -> StepResult:
        """Carry out an action.

        Raises:
            Refusal: no episode is in progress.
            AgentrError: the environment fails; the session stays in its state.
        """
        if session.task is None:
            raise Refusal("EXECUTION_ERROR", "reset comes before the first step")
        if session.over:
            raise Refusal("EXECUTION_ERROR", "the episode is over; reset begins another one")
        return self._stage.call(lambda: self._stage.step(session, action))

    def _chosen(self, wishes: Mapping[str, Any], seed: int | None) -> Task:
        split, index, name = wishes.get("split"), _whole(wishes, "index"), wishes.get("task")
        if isinstance(name, str):
            for where in SPLITS if split is None else (split,):
                for task in self._split(where):
                    if task.name == name:
                        return task
            raise Refusal("EXECUTION_ERROR", f"there is no task '{name}'")
        tasks = self._split("train" if split is None else split)
        if not tasks:
            raise Refusal("EXECUTION_ERROR", f"the split '{split}' has no tasks")
        if index is not None:
            if not 0 <= index < len(tasks):
                raise Refusal(
                    "EXECUTION_ERROR", f"index {index} is not one of 0 to {len(tasks) - 1}"
                )
            return tasks[index]
        return tasks[(next(self._turn) if seed is None else seed) % len(tasks)]

    def _split(self, split: Any) -> list[Task]:
        for name, kind in _TYPES.items():
            # Trainers say `validation`, and our splits say `dev`.
            if split in (name, kind):
                return self._tasks[name]
        raise Refusal("EXECUTION_ERROR", f"splits are {', '.join(_TYPES)}, not {split!r}")

    def _glimpse(self, wishes: Mapping[str, Any]) -> Any:
        """The first observation, in a session that ends at once."""
        session = self._stage.open()
        try:
            seed = _whole(wishes, "seed")
            self._stage.reset(session, self._chosen(wishes, seed), (seed or 0) % _LARGEST_SEED)
            return _data(session, None)
        finally:
            self._stage.end(session)

    def _metadata(self) -> dict[str, Any]:
        return {
            "name": self._name,
            "description": self._instructions,
            "readme_content": None,
            "version": agentr_lite.__version__,
            "author": None,
            "documentation_url": None,
        }

    def _listed(self, request: Request) -> Reply:
        """OpenEnv's routes for tasks, ``/NAME/...``."""
        prefix = f"/{self._name}/".lower()
        if not request.path.lower().startswith(prefix):
            return NOT_FOUND
        verb = request.path[len(prefix) :]
        if (request.method, verb) == ("GET", "splits"):
            return Reply([{"name": name, "type": kind} for name, kind in _TYPES.items()])
        if request.method != "POST":
            return NOT_FOUND
        tasks = self._split(field(request.body, "split", str))
        if verb == "num_tasks":
            return Reply({"num_tasks": len(tasks)})
        rows = [_row(task, index) for index, task in enumerate(tasks)]
        if verb == "tasks":
            return Reply({"tasks": rows, "env_name": self._name})
        if verb == "task":
            index = field(request.body, "index", int)
            if not 0 <= index < len(rows):
                return Reply({"detail": "Invalid task index"}, 400)
            return Reply({"task": rows[index]})
        if verb == "task_range":
            return Reply(
                {"tasks": rows[_whole(request.body, "start") : _whole(request.body, "stop")]}
            )
        return NOT_FOUND


class _Talk:
    """The messages of one session."""

    def __init__(self, api: OpenEnvApi, session: Session) -> None:
        self._api = api
        self._session = session
        self._episode: str | None = None

    def answer(self, text: str) -> str | None:
        """The answer to a message; None: the client ends the session."""
        try:
            message = load_json(text, most_values=_MOST_VALUES)
        except JsonError as error:
            return _error(Refusal("INVALID_JSON", f"Invalid JSON: {error}"))
        kind = message.get("type") if isinstance(message, dict) else None
        try:
            match kind:
                case "reset":
                    wishes = message.get("data", {})
                    if not isinstance(wishes, dict):
                        raise WrongBody("dict_type", ["data"], "Input should be a valid dictionary")
                    self._api.begin(self._session, wishes)
                    self._episode = str(wishes.get("episode_id") or uuid.uuid4())
                    return _message("observation", _data(self._session, None))
                case "step":
                    action = field(message.get("data"), "message", str, "data")
                    before = self._session.last.reward
                    self._api.step(self._session, action)
                    return _message("observation", _data(self._session, before))
                case "state":
                    return _message("state", self._state())
                case "close":
                    return None
            return _error(Refusal("UNKNOWN_TYPE", f"Unknown message type: {kind}"))
        except WrongBody as error:
            data = {"message": "Invalid message", "code": "VALIDATION_ERROR"}
            return _message("error", {**data, "errors": [error.problem]})
        except AgentrError as error:
            return _error(error)

    def _state(self) -> dict[str, Any]:
        task = self._session.task
        return {
            "episode_id": self._episode,
            "step_count": self._session.steps,
            "split": task.split if task else None,
            "task": task.name if task else None,
        }


def _data(session: Session, before: float | None) -> dict[str, Any]:
    """An observation; ``before`` is the reward before the action, None after a reset."""
    last = session.last
    facts: dict[str, Any] = {"score": last.reward}
    if before is None and session.task is not None:
        facts |= {"task": session.task.name, "split": session.task.split, "goal": session.task.goal}
    if before is not None:
        facts |= {"invalid": bool(last.info.get("invalid")), "truncated": last.truncated}
    return {
        "observation": {"text": last.observation, "metadata": facts},
        "reward": None if before is None else round(last.reward - before, _DIGITS),
        "done": session.over,
        "metadata": facts,
    }


def _message(kind: str, data: Mapping[str, Any]) -> str:
    return json.dumps({"type": kind, "data": data})


def _error(error: AgentrError) -> str:
    if isinstance(error, TooMany):
        said = f"Server at capacity: {error.most}/{error.most} sessions active."
        counts = {"active_sessions": error.most, "max_sessions": error.most}
        return _message("error", {"message": said, "code": "CAPACITY_REACHED", **counts})
    code = error.code if isinstance(error, Refusal) else "EXECUTION_ERROR"
    return _message("error", {"message": error.message, "code": code})


def _whole(values: Any, name: str) -> int | None:
    value = values.get(name) if isinstance(values, dict) else None
    if value is not None and type(value) is not int:
        raise WrongBody("int_type", ["data", name], "Input should be a valid integer")
    return value


def _row(task: Task, index: int) -> dict[str, Any]:
    return {
        "id": task.name,
        "index": index,
        "split": task.split,
        "goal": task.goal,
        "level": task.level,
    }


def _no_tools(body: Any) -> dict[str, Any]:
    """The answer of JSON-RPC that there is no such method: an action is text, not a tool."""
    asked = body if isinstance(body, dict) else {}
    code, said = (-32601, "Method not found") if "method" in asked else (-32600, "Invalid Request")
    error = {"code": code, "message": said, "data": "This environment has no tools."}
    return {"jsonrpc": "2.0", "error": error, "id": asked.get("id")}


def _description() -> dict[str, Any]:
    """The paths by which OpenEnv's validator tells a server's mode."""
    posts, gets = ("/reset", "/step", "/mcp"), ("/state", "/schema", "/metadata", "/health")
    return {
        "openapi": "3.1.0",
        "info": {"title": "OpenEnv Environment HTTP API", "version": agentr_lite.__version__},
        "paths": {**{path: {"post": {}} for path in posts}, **{path: {"get": {}} for path in gets}},
    }
