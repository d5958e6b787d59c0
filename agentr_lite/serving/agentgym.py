"""AgentGym's servers for TextCraft, WebShop and ScienceWorld, for its own client.

Each of the three has its own form of JSON (``Form``). Numbers of games are those of AgentGym's
servers where the data are the same: TextCraft with the Minecraft 1.16.5 recipes, WebShop with the
original files, ScienceWorld always.

Source: ``agentenv-textcraft``, ``agentenv-webshop`` and ``agentenv-sciworld`` of WooooDyy/AgentGym,
and the clients in its ``agentenv/envs``.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentr_lite.agent.boundary import guarded_tasks, guarded_valid_actions
from agentr_lite.core.errors import AgentrError, UsageError
from agentr_lite.core.tasks import SPLITS, Split, Task
from agentr_lite.envs.base import Environment
from agentr_lite.envs.textcraft import TextCraft
from agentr_lite.serving.http import MISSING, NOT_FOUND, Handler, Reply, Request, field
from agentr_lite.serving.stage import Session, Stage, TooMany

SETTINGS: Mapping[str, Mapping[str, Any]] = {"sciworld": {"games": "agentgym"}}
"""Settings with which an environment has AgentGym's games, unless the user sets them."""
_OLDEST_SPLIT_FIRST: Sequence[Split] = ("test", "dev", "train")
"""WebShop's order of goals."""


@dataclass(frozen=True, slots=True)
class Form:
    """One kind of server."""

    greeting: str
    """The answer to ``GET /``."""
    handle: str
    """The name of a session's id."""
    number: str
    """The field of a reset that holds the game's number."""
    optional: bool
    """Whether the number may be left out."""
    wraps: bool
    """Whether a number beyond the last game begins at the first one again."""
    status: int
    """The status of an error: some servers answer 200."""
    created: Callable[[AgentGymApi, int, Session], Any]
    begun: Callable[[AgentGymApi, int, Session], Any]
    """The answers to ``/create`` and ``/reset``."""
    stepped: Callable[[Session, float], Any]
    """The answer to ``/step``; the second argument is the reward before it."""
    ends: bool = False
    """Whether steps are refused after the end."""
    needs_body: bool = False
    """Whether ``/create`` needs a body."""


class AgentGymApi:
    """The routes of one server.

    Args:
        stage: plays.
        kind: ``textcraft``, ``webshop`` or ``sciworld``.

    Raises:
        UsageError: AgentGym has no client for this environment.
    """

    def __init__(self, stage: Stage, kind: str) -> None:
        self._stage = stage
        self.form = form_of(kind)
        self.tasks = numbered_tasks(stage.env, kind)
        self._sessions: OrderedDict[int, Session] = OrderedDict()
        """The one that was used last is the last. Only the stage's thread uses it."""
        self._next = 0

    def answer(self, request: Request) -> Reply:
        """See ``Api``."""
        form, body = self.form, request.body
        match request.method, request.path:
            case "GET", "/":
                return Reply(form.greeting)
            case "GET", "/openapi.json":
                return Reply(self._description())
            case "POST", "/create":
                if form.needs_body and not isinstance(body, dict):
                    field(MISSING, "", str)
                return Reply(self._stage.call(self._create))
            case "POST", "/step":
                handle, action = field(body, form.handle, int), field(body, "action", str)
                return Reply(self._stage.call(lambda: self._step(handle, action)))
            case "POST", "/reset":
                handle, number = field(body, form.handle, int), self._number(body)
                return Reply(self._stage.call(lambda: self._reset(handle, number)))
            case "POST", "/close":
                handle = field(body, form.handle, int)
                return Reply({"closed": self._stage.call(lambda: self._close(handle))})
            case "GET", "/observation":
                return self._asked(request, lambda session: session.last.observation)
            case "GET", "/detail" if form.handle == "id":
                return self._asked(request, _detail)
            case "GET", "/available_actions" if form.handle == "env_idx":
                return self._asked(request, self._clickable)
            case "GET", "/list_envs" if form.handle == "env_idx":
                return Reply(self._stage.call(lambda: sorted(self._sessions)))
        return NOT_FOUND

    def failed(self, error: AgentrError) -> Reply:
        """See ``Api``."""
        return Reply({"error": error.message}, self.form.status)

    def conversation(self, path: str) -> Callable[[socket.socket, Handler], None] | None:
        """See ``Api``: there is none."""
        return None

    def _asked(self, request: Request, answer: Callable[[Session], Any]) -> Reply:
        handle = field(request.query, self.form.handle, int, "query")
        return Reply(self._stage.call(lambda: answer(self._known(handle))))

    def _number(self, body: Any) -> int | None:
        name = self.form.number
        if self.form.optional and isinstance(body, dict) and body.get(name) is None:
            return None
        number: int = field(body, name, int)
        return number

    def _create(self) -> Any:
        try:
            session = self._stage.open()
        except TooMany:
            # Most of AgentGym's clients never close a session.
            self._close(next(iter(self._sessions)))
            session = self._stage.open()
        handle, self._next = self._next, self._next + 1
        self._sessions[handle] = session
        try:
            return self.form.created(self, handle, session)
        except BaseException:
            self._close(handle)
            raise

    def begin(self, session: Session, number: int | None) -> None:
        """Reset a session to a game."""
        number = 0 if number is None else number
        if self.form.wraps:
            number %= len(self.tasks)
        if not 0 <= number < len(self.tasks):
            raise AgentrError("list index out of range")
        self._stage.reset(session, self.tasks[number])

    def _reset(self, handle: int, number: int | None) -> Any:
        session = self._known(handle)
        self.begin(session, number)
        return self.form.begun(self, handle, session)

    def _step(self, handle: int, action: str) -> Any:
        session = self._known(handle)
        if session.task is None:
            raise AgentrError(f"The task with environment {handle} has not begun.")
        if self.form.ends and session.over:
            raise AgentrError(f"The task with environment {handle} has finished.")
        before = _score(session)
        self._stage.step(session, action)
        return self.form.stepped(session, before)

    def _close(self, handle: int) -> bool:
        session = self._sessions.pop(handle, None)
        if session is not None:
            self._stage.end(session)
        return session is not None

    def _known(self, handle: int) -> Session:
        if handle not in self._sessions:
            raise AgentrError(f"The id {handle} is not valid.")
        self._sessions.move_to_end(handle)
        return self._sessions[handle]

    def _clickable(self, session: Session) -> Any:
        actions = guarded_valid_actions(self._stage.entered(session)) or []
        clicks = [action[6:-1] for action in actions if action.startswith("click[")]
        return {
            "has_search_bar": any(action.startswith("search[") for action in actions),
            "clickables": clicks,
        }

    def _description(self) -> dict[str, Any]:
        """The part of FastAPI's description by which clients tell the kinds apart."""
        fields = {name: {"type": "integer"} for name in (self.form.handle, self.form.number)}
        schema = {"properties": fields, "type": "object"}
        content = {"content": {"application/json": {"schema": schema}}}
        return {
            "openapi": "3.1.0",
            "info": {"title": "AgentGym", "version": "0.1.0"},
            "paths": {"/reset": {"post": {"requestBody": content}}},
        }


def _score(session: Session) -> float:
    """The score so far, where the environment has one, or else the reward."""
    return session.last.info.get("score", session.last.reward)


def _plain(number: float) -> float | int:
    """As the original servers write it: a whole number without a point."""
    return int(number) if number == int(number) else number


def _detail(session: Session) -> dict[str, Any]:
    return {
        "observation": session.last.observation,
        "reward": _plain(session.last.reward),
        "done": session.over,
        "deleted": False,
    }


def _textcraft_created(api: AgentGymApi, handle: int, session: Session) -> Any:
    # The original server begins the game whose number is the session's.
    api.begin(session, handle)
    return _textcraft_begun(api, handle, session)


def _textcraft_begun(api: AgentGymApi, handle: int, session: Session) -> Any:
    return {"id": handle, "observation": session.last.observation, "done": False, "reward": 0}


def _textcraft_stepped(session: Session, before: float) -> Any:
    last = session.last
    return {"observation": last.observation, "reward": _plain(last.reward), "done": session.over}


def _sciworld_begun(api: AgentGymApi, handle: int, session: Session) -> Any:
    assert session.task is not None
    description, _, look = session.last.observation.partition("\n")
    return {
        "task_name": session.task.payload["task"],
        "var_num": session.task.payload["variation"],
        "task_description": description,
        "observation": look,
        "reward": 0,
        "score": 0,
        "deleted": False,
        "done": False,
    }


def _sciworld_stepped(session: Session, before: float) -> Any:
    return {
        "observation": session.last.observation,
        "reward": _plain(_score(session) - before),
        "score": _plain(_score(session)),
        "done": session.over,
    }


def _webshop_created(api: AgentGymApi, handle: int, session: Session) -> Any:
    api.begin(session, None)
    return handle


def _webshop_stepped(session: Session, before: float) -> Any:
    last = session.last
    return {"state": last.observation, "reward": last.reward, "done": session.over, "info": None}


_FORMS: Mapping[str, Form] = {
    "textcraft": Form(
        "This is environment TextCraft.",
        handle="id",
        number="data_idx",
        optional=True,
        wraps=True,
        status=200,
        created=_textcraft_created,
        begun=_textcraft_begun,
        stepped=_textcraft_stepped,
        needs_body=True,
    ),
    "sciworld": Form(
        "This is environment ScienceWorld.",
        handle="id",
        number="data_idx",
        optional=False,
        wraps=False,
        status=200,
        created=lambda api, handle, session: {"id": handle},
        begun=_sciworld_begun,
        stepped=_sciworld_stepped,
        ends=True,
    ),
    "webshop": Form(
        "ok",
        handle="env_idx",
        number="session_id",
        optional=True,
        wraps=False,
        status=500,
        created=_webshop_created,
        begun=lambda api, handle, session: [session.last.observation, None],
        stepped=_webshop_stepped,
    ),
}


def form_of(kind: str) -> Form:
    """The form of a kind of server.

    Raises:
        UsageError: AgentGym has no client for this environment.
    """
    if kind not in _FORMS:
        raise UsageError(
            f"AgentGym has no client that could play '{kind}'",
            hint=f"Environments: {', '.join(_FORMS)}. --protocol openenv serves any other.",
        )
    return _FORMS[kind]


def numbered_tasks(env: Environment, kind: str) -> Sequence[Task]:
    """The tasks in the order of AgentGym's numbers.

    Raises:
        UsageError: the numbers of the games are not known.
    """
    splits = {split: guarded_tasks(env, split) for split in SPLITS}
    if kind == "webshop":
        return [task for split in _OLDEST_SPLIT_FIRST for task in splits[split]]
    tasks = [task for members in splits.values() for task in members]
    if kind == "textcraft":
        if not isinstance(env, TextCraft):
            raise UsageError(
                "an isolated TextCraft does not tell the order of its goals",
                hint="Leave out -o isolate.",
            )
        place = {name: number for number, name in enumerate(env.goals)}
        return sorted(tasks, key=lambda task: place[task.name])
    tasks.sort(key=lambda task: task.payload["number"])
    if [task.payload["number"] for task in tasks] != list(range(len(tasks))):
        raise UsageError(
            "the options leave out games, so the others would have wrong numbers",
            hint="Leave out -o kinds and -o test_set.",
        )
    return tasks
