"""Sessions on an AgentGym server: their states, and the meaning of the server's answers."""

from __future__ import annotations

import hashlib
import random
from typing import Any, NamedTuple

from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.envs.agentgym.profiles import Profile
from agentr_lite.envs.agentgym.server import Disconnected, Refused, Server, ServerFault
from agentr_lite.envs.base import StepResult

_ATTEMPTS = 2
_QUOTED = 200
_LONGEST_HANDLE = 1000
"""Characters of a session's id."""


class Place(NamedTuple):
    """A state, described by the actions that lead to it."""

    number: int
    """The game's number."""
    actions: tuple[str, ...] = ()
    """All actions since the reset."""
    trace: str = ""
    """Digest of all observations, to notice a replay that differs."""


class Reply(NamedTuple):
    """The result of an action or a reset."""

    result: StepResult
    place: Place
    choices: list[str] | None
    """The actions that the server lists, if it does."""


class _Session:
    """A session, which is one environment on the server."""

    def __init__(self, handle: int | str) -> None:
        self.handle = handle
        self.place: Place | None = None
        """Its state; None: not known, or the game is over."""

    def missing(self, place: Place) -> int | None:
        """The number of actions from this session's state to ``place``; None: there is no way."""
        here = self.place
        if here is None or here.number != place.number:
            return None
        if here.actions != place.actions[: len(here.actions)]:
            return None
        return len(place.actions) - len(here.actions)


class Sessions:
    """The sessions of one server, for one thread.

    Args:
        env: the environment's name, for messages.
        server: the server.
        profile: its kind.
        most: largest number of sessions to hold at the same time.
    """

    def __init__(self, env: str, server: Server, profile: Profile, most: int) -> None:
        self._env = env
        self._server = server
        self._profile = profile
        self._most = most
        self._sessions: list[_Session] = []
        self._draw = random.Random(0)

    def begin(self, number: int) -> Reply:
        """Reset a session to a game.

        Raises:
            ServerFault: the server fails, or has no such game.
        """
        return self._start_game(self._nearest(Place(number)), number)

    def act(self, place: Place, action: str) -> Reply | Refused:
        """Carry out an action in a state.

        Returns:
            The result; or the refusal, if the server refused the action twice.

        Raises:
            ServerFault: the server cannot be reached, or fails before the state is reached.
            EnvironmentFault: a replay of the actions leads to another state.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            session = self._nearest(place)
            try:
                self._go_to(session, place)
            except (Disconnected, Refused):
                if attempt == _ATTEMPTS:
                    raise
                continue
            try:
                return self._send(session, action)
            except Disconnected:
                # The action may have been carried out or not, so the game must be replayed.
                if attempt == _ATTEMPTS:
                    raise
            except Refused as refused:
                if attempt == _ATTEMPTS:
                    return refused
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close the sessions, if the server can close them and answers soon."""
        self._server.hurry()
        for session in self._sessions:
            if not self._close(session):
                break
        self._sessions.clear()

    def _close(self, session: _Session) -> bool:
        """Close one session; False: the server cannot close sessions, or does not answer."""
        try:
            return self._server.has(self._path("close"), self._body(session))
        except Refused:
            # It may have forgotten the session, which is as good.
            return True
        except ServerFault:
            # Nothing depends on it. To ask for the other sessions would take as long again.
            return False

    def _path(self, verb: str) -> str:
        return f"{self._profile.prefix}/{verb}"

    def _body(self, session: _Session) -> dict[str, Any]:
        return {self._profile.handle: session.handle}

    def _nearest(self, place: Place) -> _Session:
        """The session in this state or nearest before it; otherwise a new one, or any."""
        on_the_way = [
            (missing, index)
            for index, session in enumerate(self._sessions)
            if (missing := session.missing(place)) is not None
        ]
        if on_the_way:
            return self._sessions[min(on_the_way)[1]]
        lost = [session for session in self._sessions if session.place is None]
        if lost:
            return lost[0]
        if len(self._sessions) < self._most:
            self._sessions.append(_Session(self._create()))
            return self._sessions[-1]
        # Not the least recently used one: if episodes take turns, it is needed next.
        return self._draw.choice(self._sessions)

    def _create(self) -> int | str:
        """Create a session on the server; returns its id."""
        path, body = self._path("create"), self._profile.create
        try:
            reply = self._server.post(path, body)
        except Disconnected:
            reply = self._server.post(path, body)
        handle = reply.get(self._profile.handle) if isinstance(reply, dict) else reply
        if isinstance(handle, bool) or not isinstance(handle, int | str):
            raise self._malformed("create", reply)
        if len(str(handle)) > _LONGEST_HANDLE:
            raise self._malformed("create", reply)
        return handle

    def _go_to(self, session: _Session, place: Place) -> None:
        if session.missing(place) is None:
            self._start_game(session, place.number)
        assert session.place is not None
        for action in place.actions[len(session.place.actions) :]:
            self._send(session, action)
        if session.place != place:
            session.place = None
            raise EnvironmentFault(
                self._env,
                f"game {place.number}: {len(place.actions)} actions led to another state when they"
                " were repeated",
                hint="Search and replay need a server whose games are deterministic.",
            )

    def _start_game(self, session: _Session, number: int) -> Reply:
        try:
            reply = self._reset(session, number)
        except Disconnected:
            reply = self._reset(session, number)
        except Refused:
            # A restarted server does not know its old sessions. A server that does know this
            # session would keep it for ever, so it is closed.
            self._close(session)
            session.handle = self._create()
            reply = self._reset(session, number)
        choices = self._listed(reply)
        observation = self._opening(reply, choices)
        session.place = Place(number, (), _trace("", observation))
        return Reply(StepResult(observation, 0.0, False, False, {}), session.place, choices)

    def _reset(self, session: _Session, number: int) -> Any:
        session.place = None
        body = {**self._body(session), **self._profile.reset(number)}
        reply = self._server.post(self._path("reset"), body)
        if self._profile.ask:
            return self._server.get(self._path("observation"), self._body(session))
        return reply

    def _opening(self, reply: Any, choices: list[str] | None) -> str:
        """The first observation, in the form of this kind of server."""
        profile = self._profile
        text = reply[0] if isinstance(reply, list) and reply else reply
        if isinstance(text, dict):
            text = text.get("observation")
            if not isinstance(text, str):
                raise self._malformed("reset", reply)
            if choices is not None:
                text = f"{text}\nAVAILABLE ACTIONS: {','.join(choices)}"
            if profile.lead:
                lead = reply.get(profile.lead, "")
                text = f"{lead}\n{text}" if isinstance(lead, str) else None
        if not isinstance(text, str):
            raise self._malformed("reset", reply)
        return text

    def _listed(self, reply: Any) -> list[str] | None:
        if not self._profile.choices or not isinstance(reply, dict):
            return None
        choices = reply.get("available_actions")
        choices = [] if choices is None else choices
        if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
            raise self._malformed("step", reply)
        return choices

    def _send(self, session: _Session, action: str) -> Reply:
        """Carry out one action in a session."""
        here = session.place
        assert here is not None
        # Until the answer arrives, the state is not known.
        session.place = None
        reply = self._server.post(self._path("step"), {**self._body(session), "action": action})
        if not isinstance(reply, dict) or not isinstance(reply.get(self._profile.text), str):
            raise self._malformed("step", reply)
        result = self._result(reply)
        place = Place(here.number, (*here.actions, action), _trace(here.trace, result.observation))
        # After the end of a game, servers accept only a reset.
        session.place = None if result.terminated or result.truncated else place
        return Reply(result, place, self._listed(reply))

    def _result(self, reply: dict[str, Any]) -> StepResult:
        profile = self._profile
        over = self._flag(reply, "terminated" if "terminated" in reply else "done")
        raw = reply.get("score" if profile.scale in ("score", "percent") else "reward", 0.0)
        if isinstance(raw, bool) or not isinstance(raw, int | float | None):
            raise self._malformed("step", reply)
        value = float(raw or 0.0)
        disaster = profile.scale == "percent" and value < 0
        if profile.scale == "percent":
            value /= 100
        elif profile.scale == "maze":
            value = float(over and value >= 0)
        return StepResult(
            reply[profile.text],
            min(1.0, max(0.0, value)),
            over,
            self._flag(reply, "truncated") and not over,
            {"invalid": False, "disaster": disaster},
        )

    def _flag(self, reply: dict[str, Any], name: str) -> bool:
        value = reply.get(name)
        # Servers also answer with nothing and with numbers; a text such as "false" says nothing.
        if value not in (None, False, True):
            raise self._malformed("step", reply)
        return bool(value)

    def _malformed(self, verb: str, reply: Any) -> ServerFault:
        shown = self._server.shown(repr(reply))
        return ServerFault(
            self._env,
            f"POST {self._path(verb)}: {shown[:_QUOTED]} is not what a '{self._profile.kind}'"
            " server answers",
            hint="If it is another kind, name it at the end of the address.",
        )


def _trace(before: str, observation: str) -> str:
    text = f"{before}\n{observation}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=8).hexdigest()
