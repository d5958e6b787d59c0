"""Sessions on an AgentGym server: who stands where, and what the server's answers mean."""

from __future__ import annotations

import contextlib
import hashlib
import random
from typing import Any, NamedTuple

from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.envs.agentgym.profiles import Profile
from agentr_lite.envs.agentgym.server import Disconnected, Refused, Server, ServerFault
from agentr_lite.envs.base import StepResult

_ATTEMPTS = 2
_QUOTED = 200


class Place(NamedTuple):
    """A state, told as the way to it."""

    number: int
    """Of the game."""
    actions: tuple[str, ...] = ()
    """Since the reset."""
    trace: str = ""
    """Digest of all observations, to notice a replay that goes another way."""


class Reply(NamedTuple):
    """What an action, or a reset, led to."""

    result: StepResult
    place: Place
    choices: list[str] | None
    """The actions that the server lists, where it does."""


class _Session:
    """An environment on the server."""

    def __init__(self, handle: int | str) -> None:
        self.handle = handle
        self.place: Place | None = None
        """Where it stands; None: not known, or at an end."""

    def missing(self, place: Place) -> int | None:
        """How many actions lead from here to ``place``; None: none do."""
        here = self.place
        if here is None or here.number != place.number:
            return None
        if here.actions != place.actions[: len(here.actions)]:
            return None
        return len(place.actions) - len(here.actions)


class Sessions:
    """The sessions of one server. Not for several threads at a time.

    Args:
        env: the environment's name, for messages.
        server: the server.
        profile: its kind.
        most: how many sessions to hold at the same time.
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
        return self._begin(self._nearest(Place(number)), number)

    def act(self, place: Place, action: str) -> Reply | Refused:
        """Carry out an action in a state; or why the server will not, twice.

        Raises:
            ServerFault: the server cannot be reached, or cannot get there.
            EnvironmentFault: the way there no longer leads there.
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
                # It may have been carried out or not: only a replay makes sure.
                if attempt == _ATTEMPTS:
                    raise
            except Refused as refused:
                if attempt == _ATTEMPTS:
                    return refused
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close the sessions, on servers that can."""
        for session in self._sessions:
            if not self._close(session):
                break
        self._sessions.clear()

    def _close(self, session: _Session) -> bool:
        """Close one session; False: the server can close none."""
        # Whatever is wrong with a session or its server, it is no longer of any concern.
        with contextlib.suppress(ServerFault):
            return self._server.has(self._path("close"), self._body(session))
        return True

    def _path(self, verb: str) -> str:
        return f"{self._profile.prefix}/{verb}"

    def _body(self, session: _Session) -> dict[str, Any]:
        return {self._profile.handle: session.handle}

    def _nearest(self, place: Place) -> _Session:
        """The session that stands there or on the way there; else a new one, or any."""
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
        # Not the one unused for longest: where episodes take turns, its turn is next.
        return self._draw.choice(self._sessions)

    def _create(self) -> int | str:
        """A new session's number, or whatever the server calls it by."""
        path, body = self._path("create"), self._profile.create
        try:
            reply = self._server.post(path, body)
        except Disconnected:
            reply = self._server.post(path, body)
        handle = reply.get(self._profile.handle) if isinstance(reply, dict) else reply
        if isinstance(handle, bool) or not isinstance(handle, int | str):
            raise self._malformed("create", reply)
        return handle

    def _go_to(self, session: _Session, place: Place) -> None:
        if session.missing(place) is None:
            self._begin(session, place.number)
        assert session.place is not None
        for action in place.actions[len(session.place.actions) :]:
            self._send(session, action)
        if session.place != place:
            session.place = None
            raise EnvironmentFault(
                self._env,
                f"game {place.number}: {len(place.actions)} actions led elsewhere when they were"
                " repeated",
                hint="Search and replay need a server whose games are the same each time.",
            )

    def _begin(self, session: _Session, number: int) -> Reply:
        try:
            reply = self._reset(session, number)
        except Disconnected:
            reply = self._reset(session, number)
        except Refused:
            # A server that was started anew does not know its old sessions. One that does know
            # this one would keep it, with all that it holds: nobody else closes it.
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
        """The first observation, of whichever of the kinds' forms."""
        profile = self._profile
        found = reply[0] if isinstance(reply, list) and reply else reply
        if isinstance(found, dict):
            found = found.get("observation")
            if choices is not None:
                found = f"{found}\nAVAILABLE ACTIONS: {','.join(choices)}"
            if profile.lead:
                found = f"{reply.get(profile.lead, '')}\n{found}"
        if not isinstance(found, str):
            raise self._malformed("reset", reply)
        return found

    def _listed(self, reply: Any) -> list[str] | None:
        if not self._profile.choices or not isinstance(reply, dict):
            return None
        return [str(choice) for choice in reply.get("available_actions") or []]

    def _send(self, session: _Session, action: str) -> Reply:
        """One action in a session, which stands one action further afterwards."""
        here = session.place
        assert here is not None
        # Until the answer is there, nobody knows.
        session.place = None
        reply = self._server.post(self._path("step"), {**self._body(session), "action": action})
        if not isinstance(reply, dict) or not isinstance(reply.get(self._profile.text), str):
            raise self._malformed("step", reply)
        result = self._result(reply)
        place = Place(here.number, (*here.actions, action), _trace(here.trace, result.observation))
        # After an end, servers take nothing but a reset.
        session.place = None if result.terminated or result.truncated else place
        return Reply(result, place, self._listed(reply))

    def _result(self, reply: dict[str, Any]) -> StepResult:
        profile = self._profile
        over = bool(reply.get("terminated", reply.get("done", False)))
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
            bool(reply.get("truncated", False)) and not over,
            {"invalid": False, "disaster": disaster},
        )

    def _malformed(self, verb: str, reply: Any) -> ServerFault:
        shown = " ".join(repr(reply).split())
        return ServerFault(
            self._env,
            f"POST {self._path(verb)}: {shown[:_QUOTED]} is not what a '{self._profile.kind}'"
            " server answers",
            hint="Name the kind at the end of the address if it is another one.",
        )


def _trace(before: str, observation: str) -> str:
    text = f"{before}\n{observation}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=8).hexdigest()
