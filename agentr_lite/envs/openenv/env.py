"""Makes an ``Environment`` of an OpenEnv server.

Source: ``openenv.core`` (``env_client``, ``env_server``) of the package ``openenv`` 0.10, and the
messages of ``openenv-core`` 0.3, which are the same.
"""

from __future__ import annotations

import copy
import importlib.util
import math
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from agentr_lite.core.errors import EnvironmentFault, UsageError
from agentr_lite.core.suggestions import did_you_mean
from agentr_lite.core.tasks import SPLITS, Task
from agentr_lite.envs.base import Environment, EpisodeLost, StepResult
from agentr_lite.envs.openenv.schema import (
    ActionSchema,
    NotAnAction,
    ObservationText,
    names_of,
)
from agentr_lite.envs.openenv.server import ask_about, parse_address
from agentr_lite.envs.openenv.session import Full, Refused, Session

_FIRST_SEED = {"train": 0, "dev": 1_000_000, "test": 2_000_000}
_SEEDS = {"train": 200, "dev": 50, "test": 100}
_BUSY_ATTEMPTS = 10
_BUSY_WAIT_S = 0.2
_DIGITS = 9
"""Of a sum of rewards, which has a rounding error."""
_HOLDERS: weakref.WeakSet[OpenEnv] = weakref.WeakSet()
"""The instances in this program that hold a session."""
_INSTRUCTIONS = """\
You act in the environment {name}. {description}

Write two lines each turn:
Thought: what you see, what the goal needs, and what to do next
Action: exactly one action

{actions}"""
_BRIEF = "Act in the environment. Answer with a Thought line and an Action line."


class OpenEnv(Environment):
    """The episodes of an OpenEnv server.

    States are replayed. Each instance holds one session; ``another`` opens further ones, as many as
    the server and ``sessions`` allow. If a connection breaks, its episode is replayed in a new
    session.

    If the server lists its tasks, these are the tasks. Otherwise a task is a seed. An action that
    does not fit the server's schema is answered here, and one that the server refuses is answered
    with what it says; neither changes the state.

    Args:
        address: ``http://host:port``.
        train, dev, test: most tasks of each split; the number of seeds if the server lists no
            tasks. Default: all, or 200, 50 and 100 seeds.
        instructions: the system prompt; default: the server's description and the form of actions.
        action_field: the field of the action that a model writes, if the schema leaves that open.
        observation_field: the field of the observation that is its text.
        reset: further fields of every reset.
        reward: ``sum`` of the episode's rewards so far, or the ``last`` one.
        reward_low, reward_high: the rewards that become 0 and 1.
        max_steps: longest episode; 0 = no limit.
        keeps_full_stop: whether a full stop at the end belongs to an action.
        sessions: most sessions at the same time.
        timeout_s: longest wait for an answer.

    Raises:
        UsageError: an option is wrong, or the package ``websockets`` is not installed.
        EnvironmentFault: no server answers, or it is no OpenEnv server.
    """

    def __init__(
        self,
        address: str,
        train: int | None = None,
        dev: int | None = None,
        test: int | None = None,
        instructions: str = "",
        action_field: str = "",
        observation_field: str = "",
        reset: Mapping[str, Any] | None = None,
        reward: str = "sum",
        reward_low: float = 0.0,
        reward_high: float = 1.0,
        max_steps: int = 0,
        keeps_full_stop: bool = False,
        sessions: int = 4,
        timeout_s: float = 60,
    ) -> None:
        self._url = parse_address(address)
        self.name = f"openenv+{self._url}"  # type: ignore[misc]  # known here, not in the class
        counts = {"train": train, "dev": dev, "test": test}
        for option, value, least in (
            *((split, 0 if count is None else count, 0) for split, count in counts.items()),
            ("max_steps", max_steps, 0),
            ("sessions", sessions, 1),
        ):
            if type(value) is not int or value < least:
                raise UsageError(f"openenv: {option} needs a whole number >= {least}")
        if reward not in ("sum", "last"):
            raise UsageError(f"openenv: reward is 'sum' or 'last', not {reward!r}")
        if not reward_low < reward_high:
            raise UsageError("openenv: reward_low must be less than reward_high")
        if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or timeout_s <= 0:
            raise UsageError(f"openenv: timeout_s needs a number > 0, not {timeout_s!r}")
        if importlib.util.find_spec("websockets") is None:
            raise UsageError(
                f"{self.name}: the package 'websockets' is not installed",
                hint="pip install 'agentr-lite[openenv]'",
            )
        about = ask_about(self.name, self._url, timeout_s=timeout_s)
        try:
            self._action = ActionSchema(about.action, action_field)
        except KeyError:
            known = names_of(about.action)
            raise UsageError(
                f"openenv: an action has no field '{action_field}'"
                f"{did_you_mean(action_field, list(known))}",
                hint=f"Its fields: {', '.join(known)}.",
            ) from None
        self._text = ObservationText(about.observation, observation_field)
        self._fields = names_of(about.observation)
        self._tasks = _tasks(about.tasks, counts)
        self._instructions = instructions or _prompt(about.name, about.description, self._action)
        self.keeps_full_stop = keeps_full_stop
        self._more = dict(reset or {})
        self._sums = reward == "sum"
        self._range = (float(reward_low), float(reward_high))
        self._max_steps = max_steps
        self._most = sessions
        self._timeout_s = timeout_s
        self._family = [self]
        """This instance and the others that came of it; the same list in each."""
        self._session: Session | None = None
        self._thread = 0
        """The thread that opened it."""
        self._total = 0.0
        self._steps = 0
        self._last: StepResult | None = None

    def tasks(self, split: str) -> Sequence[Task]:
        """The server's tasks, or seeds; no seed is in two splits.

        Raises:
            UsageError: there is no such split.
        """
        if split not in self._tasks:
            raise UsageError(
                f"{self.name} has no split '{split}'", hint=f"Splits: {', '.join(SPLITS)}."
            )
        return self._tasks[split]

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        """Begin a task. The server gets the task's own seed, or else ``seed``.

        Raises:
            EnvironmentFault: the server fails, has no free session, or refuses.
        """
        wishes = {"seed": seed, **self._more, **task.payload}
        try:
            data = self._opened().ask("reset", wishes)
        except EpisodeLost:
            # The server may have been started again since the last episode.
            self._session = None
            data = self._opened().ask("reset", wishes)
        self._total, self._steps = 0.0, 0
        self._last = None
        self._last = self._result(data, {})
        return self._last.observation, {}

    def step(self, action: str) -> StepResult:
        """Carry out one action.

        After the end, nothing is sent; the last observation is repeated.

        Raises:
            EpisodeLost: the connection broke.
            EnvironmentFault: the server fails.
        """
        last = self._last
        if last is None:
            raise UsageError(f"{self.name}: reset comes before the first step")
        if last.terminated or last.truncated:
            return last._replace(info={"invalid": True})
        if self._session is None:
            raise EpisodeLost(self.name, "step: the session has ended")
        self._steps += 1
        try:
            # Bytes that are not valid text cannot be sent.
            clean = action.encode("utf-8", "replace").decode()
            data = self._session.ask("step", self._action.read(clean))
        except NotAnAction as error:
            result = self._invalid(f"That is no action. {error}", last)
        except Refused as error:
            result = self._invalid(f"Error: {error.said}", last)
        except EpisodeLost:
            self._session = None
            raise
        else:
            result = self._result(data, {"invalid": False})
        if self._max_steps and self._steps >= self._max_steps and not result.terminated:
            result = result._replace(truncated=True)
        self._last = result
        return result

    def instructions(self, *, brief: bool = False) -> str:
        """The system prompt."""
        return _BRIEF if brief else self._instructions

    def valid_actions(self) -> list[str] | None:
        """All actions, if the server's schema lists them."""
        if self._action.choices is None or self._last is None:
            return None
        over = self._last.terminated or self._last.truncated
        return [] if over else self._action.choices

    def another(self) -> OpenEnv | None:
        """An instance with a session; None if there are as many as there may be."""
        if len(self._family) >= self._most:
            return None
        other = copy.copy(self)
        other._session, other._last = None, None
        try:
            other._open()
        except Full:
            return None
        self._family.append(other)
        return other

    def close(self) -> None:
        """End the session."""
        if self._session is not None:
            self._session.close()
            self._session = None
            _HOLDERS.discard(self)

    def _open(self) -> Session:
        self._session = Session(self.name, self._url, timeout_s=self._timeout_s)
        self._thread = threading.get_ident()
        _HOLDERS.add(self)
        return self._session

    def _opened(self) -> Session:
        """The session; a new one if there is none.

        If the server has none left, another instance of this program gives up its own: it holds a
        state that can be replayed. Instances in other threads may be using theirs.
        """
        if self._session is not None:
            return self._session
        for _ in range(_BUSY_ATTEMPTS):
            try:
                return self._open()
            except Full:
                for other in list(_HOLDERS):
                    if other._url == self._url and other._thread == threading.get_ident():
                        other.close()
                        break
                # A server frees the session of a closed connection a moment later.
                time.sleep(_BUSY_WAIT_S)
        return self._open()

    def _invalid(self, text: str, last: StepResult) -> StepResult:
        return StepResult(text, last.reward, False, False, {"invalid": True})

    def _result(self, data: Mapping[str, Any], info: dict[str, Any]) -> StepResult:
        """The meaning of an observation message."""
        observation, reward = data.get("observation"), data.get("reward")
        over = data.get("done")
        if (
            not isinstance(observation, dict)
            or not isinstance(reward, int | float | None)
            or over not in (None, False, True)
        ):
            raise EnvironmentFault(
                self.name,
                "the server's observation has no object as observation, no number as reward, or"
                " no truth value as done",
                hint="Check that this is the address of an OpenEnv server.",
            )
        try:
            text = self._text.read(observation)
        except KeyError as error:
            raise EnvironmentFault(
                self.name,
                f"the observation has no text in the field {error}",
                hint=f"-o observation_field=FIELD names another one: {', '.join(self._fields)}.",
            ) from None
        facts = data.get("metadata")
        facts = facts if isinstance(facts, dict) else {}
        self._total = float(reward or 0.0) + (self._total if self._sums else 0.0)
        cut = bool(over) and facts.get("truncated") is True
        if "invalid" in info:
            info = {"invalid": facts.get("invalid") is True}
        return StepResult(text, self._share(), bool(over) and not cut, cut, info)

    def _share(self) -> float:
        low, high = self._range
        share = (self._total - low) / (high - low)
        # NaN is kept, so that the checker notices it.
        return share if math.isnan(share) else min(1.0, max(0.0, round(share, _DIGITS)))


def _tasks(
    listed: Mapping[str, Sequence[Any]], counts: Mapping[str, int | None]
) -> dict[str, list[Task]]:
    if not listed:
        return {
            split: [
                Task(f"seed-{seed}", split, f"seed {seed}", payload={"seed": seed})
                for seed in range(first, first + _wanted(counts[split], _SEEDS[split]))
            ]
            for split, first in _FIRST_SEED.items()
        }
    return {
        split: [
            Task(row.name, split, row.goal, payload={"split": row.split, "index": row.place})
            for row in rows[: counts[split]]
        ]
        for split, rows in listed.items()
    }


def _wanted(count: int | None, default: int) -> int:
    return default if count is None else count


def _prompt(name: str, description: str, action: ActionSchema) -> str:
    """The server's description if it tells the form of a turn, or else one around it."""
    said = description.strip()
    if "Thought:" in said and "Action:" in said:
        return said
    return _INSTRUCTIONS.format(name=name, description=said, actions=action.description)
