"""Makes an ``Environment`` of an AgentGym server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from agentr_lite.core.errors import UsageError
from agentr_lite.core.tasks import SPLITS, Task
from agentr_lite.envs.agentgym.detect import find_profile, parse_address
from agentr_lite.envs.agentgym.profiles import Profile, split_numbers
from agentr_lite.envs.agentgym.server import Refused, Server, without_login
from agentr_lite.envs.agentgym.sessions import Place, Sessions
from agentr_lite.envs.base import Environment, StepResult

_RANGE = re.compile(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?")


class AgentGymSnapshot(NamedTuple):
    """A state of an episode: the actions that lead to it, and the last observation."""

    task: Task
    place: Place
    """Actions that the server refused are left out of these actions."""
    steps: int
    """Number of turns, including refused ones."""
    last: StepResult
    choices: list[str] | None


class AgentGym(Environment):
    """The games of an AgentGym server.

    States are replayed. Several sessions are held on the server, and a step uses the session in the
    right state, or the one that needs the fewest actions to get there. If the server fails, the
    call is tried again from the start of the game. If it fails at the same action again, that is
    the action's observation.

    Args:
        address: ``http://host:port``, with the kind at the end if the server does not tell it.
        kind: the kind, instead of at the end of the address.
        train: numbers of the training games, as a list or like ``0-99,120``; default: by kind.
        dev: numbers of the development games.
        test: numbers of the test games.
        max_steps: longest episode; 0 = as AgentGym evaluates the kind.
        sessions: sessions to hold at the same time; 0 = by kind. Many servers cannot close them.
        timeout_s: longest wait for an answer.

    Raises:
        UsageError: an option is wrong, or the kind cannot be determined.
        EnvironmentFault: no server answers.
    """

    def __init__(
        self,
        address: str,
        kind: str = "",
        train: str | Sequence[int] | None = None,
        dev: str | Sequence[int] | None = None,
        test: str | Sequence[int] | None = None,
        max_steps: int = 0,
        sessions: int = 0,
        timeout_s: float = 300,
    ) -> None:
        # Names are shown and stored.
        self._name = f"agentgym+{without_login(address)}"
        for option, value in (("max_steps", max_steps), ("sessions", sessions)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise UsageError(f"agentgym: {option} needs a whole number >= 0, not {value!r}")
        if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or timeout_s <= 0:
            raise UsageError(f"agentgym: timeout_s needs a number > 0, not {timeout_s!r}")
        url, named = parse_address(address)
        self._server = Server(self._name, url, timeout_s=timeout_s)
        try:
            self._profile: Profile = find_profile(self._server, kind or named)
            self._tasks = self._split({"train": train, "dev": dev, "test": test})
        except BaseException:
            self._server.close()
            raise
        self._max_steps = max_steps or self._profile.rounds
        self.keeps_full_stop = self._profile.keeps_full_stop
        self._sessions = Sessions(
            self._name, self._server, self._profile, sessions or self._profile.sessions
        )
        self._state: AgentGymSnapshot | None = None

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name with which the environment was opened, including its address."""
        return self._name

    @property
    def kind(self) -> str:
        """The kind of AgentGym environment."""
        return self._profile.kind

    def tasks(self, split: str) -> Sequence[Task]:
        """The split's games, in the order of their numbers.

        Raises:
            UsageError: there is no such split.
        """
        if split not in self._tasks:
            raise UsageError(
                f"agentgym has no split '{split}'", hint=f"Splits: {', '.join(SPLITS)}."
            )
        return self._tasks[split]

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        """Begin a game. ``seed`` changes nothing: the server selects games by number only.

        Raises:
            UsageError: the task is not of this environment.
            EnvironmentFault: the server fails.
        """
        number = task.payload.get("number")
        if not isinstance(number, int):
            raise UsageError(f"agentgym: '{task.name}' is no task of an AgentGym server")
        reply = self._sessions.begin(number)
        self._state = AgentGymSnapshot(task, reply.place, 0, reply.result, reply.choices)
        return reply.result.observation, {}

    def step(self, action: str) -> StepResult:
        """Carry out one action.

        After the end of the game, nothing is sent, since servers refuse it; the last observation
        is repeated.

        Raises:
            EnvironmentFault: the server fails, even when the game is started again, or a replay
                differs.
        """
        state = self._playing()
        if state.last.terminated or state.last.truncated:
            return state.last._replace(info={"invalid": True})
        steps = state.steps + 1
        # Bytes that are not valid text cannot be sent.
        clean = action.encode("utf-8", "replace").decode()
        reply = self._sessions.act(state.place, clean)
        if isinstance(reply, Refused):
            said = f"Error: {reply.said}"
            result = StepResult(said, state.last.reward, False, False, {"invalid": True})
            place, choices = state.place, state.choices
        else:
            result, place, choices = reply
            is_refused = result.observation.lstrip().startswith(self._profile.refusals)
            result = result._replace(info={**result.info, "invalid": is_refused})
        if steps >= self._max_steps and not result.terminated:
            result = result._replace(truncated=True)
        self._state = AgentGymSnapshot(state.task, place, steps, result, choices)
        return result

    def instructions(self, *, brief: bool = False) -> str:
        """The system prompt; ``brief`` gives only the form of a turn."""
        if brief:
            return "Do the task. Answer with a Thought line and an Action line."
        return self._profile.instructions

    def snapshot(self) -> AgentGymSnapshot:
        """The actions that lead to the current state; its size grows with the number of steps."""
        return self._playing()

    def restore(self, snapshot: AgentGymSnapshot) -> None:
        """Return to a state. If no session is in it, the next step replays it."""
        self._state = snapshot

    def valid_actions(self) -> list[str] | None:
        """The actions that the server's last answer listed; None for kinds that list none."""
        return self._playing().choices

    def close(self) -> None:
        """Close the connection, and the sessions if the server can close them."""
        self._sessions.close()
        self._server.close()

    def _split(self, wanted: dict[str, Any]) -> dict[str, list[Task]]:
        numbers = {split: _numbers(split, value) for split, value in wanted.items()}
        if any(value is not None for value in numbers.values()):
            # If some games are named, the others must be named as well: defaults could overlap.
            chosen = {split: value or [] for split, value in numbers.items()}
        else:
            chosen = {split: list(value) for split, value in split_numbers(self._profile).items()}
        seen: dict[int, str] = {}
        for split, members in chosen.items():
            for number in members:
                if number in seen:
                    raise UsageError(
                        f"agentgym: game {number} is in {seen[number]} and in {split}",
                        hint="Splits must not overlap.",
                    )
                seen[number] = split
        kind = self._profile.kind
        return {
            split: [
                Task(
                    f"{kind}-{number}", split, f"{kind}, game {number}", payload={"number": number}
                )
                for number in members
            ]
            for split, members in chosen.items()
        }

    def _playing(self) -> AgentGymSnapshot:
        if self._state is None:
            raise UsageError("agentgym: reset comes before the first step")
        return self._state


def _numbers(split: str, value: str | Sequence[int] | None) -> list[int] | None:
    """Numbers of games from a list, or from ranges like ``0-99,120``."""
    if value is None:
        return None
    numbers: list[int] = []
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        for part in value.split(","):
            ends = _RANGE.fullmatch(part)
            if ends is None:
                raise UsageError(f"agentgym: {split}: '{part}' is no range of numbers like 0-99")
            first, last = int(ends[1]), int(ends[2] or ends[1])
            numbers += range(first, last + 1)
    elif isinstance(value, Sequence) and all(type(number) is int for number in value):
        numbers.extend(int(number) for number in value)
    else:
        raise UsageError(f"agentgym: {split} needs numbers of games, e.g. 0-99, not {value!r}")
    return list(dict.fromkeys(numbers))
