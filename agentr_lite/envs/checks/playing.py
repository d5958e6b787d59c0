"""Episodes that the checks play."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from agentr_lite.core.interruptions import interruption_kept
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment, StepResult
from agentr_lite.envs.limits import bounded, time_limit

T = TypeVar("T")

NONSENSE = ("", "  ", "inventory", "go \x1b[2J", "get 1 nothing", "x" * 500, "工作 £ \u202e")
"""Actions that any environment must answer, most of them by refusing them."""

_LISTS = ("tasks", "solve", "plan", "valid_actions")
"""Calls that give lists."""


@dataclass(frozen=True, slots=True)
class Script:
    """The actions that are tried in one task."""

    task: Task
    mixed: Sequence[str]
    """Those of ``real`` with some nonsense between them."""
    real: Sequence[str]
    """The oracle's, or a walk along valid actions; empty where neither is known."""
    by_oracle: bool
    """Whether ``real`` are the oracle's."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The visible result of one step, in comparable form."""

    observation: str
    reward: float
    terminated: bool
    truncated: bool
    state: str
    invalid: bool = field(default=False, compare=False)

    @property
    def ended(self) -> bool:
        """Whether the episode is over."""
        return self.terminated or self.truncated


class _Limited:
    """An environment whose calls are all under its time limit, as in a run."""

    def __init__(self, env: Environment) -> None:
        self._env = env

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._env, name)
        if not callable(attribute):
            return attribute

        def call(*arguments: Any, **named: Any) -> Any:
            shown = [a.name if isinstance(a, Task) else a for a in arguments]
            what = f"{name}({', '.join(repr(a) for a in shown if isinstance(a, str))})"
            # An environment's output must not be mixed with data on stdout.
            with (
                interruption_kept(),
                time_limit(self._env.time_limit_s, self._env.name, what),
                redirect_stdout(sys.stderr),
            ):
                given = attribute(*arguments, **named)
                # Within the limit: a generator does its work while it is read.
                listed = name in _LISTS and given is not None
                return bounded(given, self._env.name, what) if listed else given

        return call


def limited(env: Environment) -> Environment:
    """An environment whose calls are all under its time limit."""
    return cast(Environment, _Limited(env))


def play(env: Environment, task: Task, actions: Iterable[str], *, seed: int = 0) -> Iterator[Turn]:
    """The first observation as a turn, then a turn for each action, up to the end."""
    yield begin(env, task, seed=seed)
    for action in actions:
        turn = turn_of(env, env.step(action))
        yield turn
        if turn.ended:
            return


def begin(env: Environment, task: Task, *, seed: int = 0) -> Turn:
    """Begin a task; returns the first observation."""
    observation, _ = env.reset(task, seed=seed)
    return Turn(observation, 0.0, False, False, env.describe_state())


def turn_of(env: Environment, result: StepResult) -> Turn:
    """A step's result, with the state after it."""
    observation, reward, terminated, truncated, info = result
    state = env.describe_state()
    invalid = isinstance(info, dict) and bool(info.get("invalid"))
    return Turn(observation, float(reward), terminated, truncated, state, invalid)


class Places:
    """Returns to states of an episode: by snapshots, or else by playing it again.

    Args:
        env: the environment.
        task: what is played.
        saves: whether its snapshots can be relied on.
    """

    def __init__(self, env: Environment, task: Task, *, saves: bool) -> None:
        self._env = env
        self._task = task
        self._saves = saves

    def mark(self, actions: Sequence[str]) -> Any:
        """The current state, to which ``actions`` led; for ``go_back``."""
        return self._env.snapshot() if self._saves else tuple(actions)

    def go_back(self, mark: Any) -> None:
        """Return to a marked state."""
        if self._saves:
            self._env.restore(mark)
            return
        self._env.reset(self._task)
        for action in mark:
            self._env.step(action)


def script_for(env: Environment, task: Task, oracle: Sequence[str] | None, steps: int) -> Script:
    """Choose actions for a task: the oracle's, or else valid ones, if they are known; and nonsense.

    Args:
        env: the environment.
        task: the task.
        oracle: the oracle's actions; None: there is none.
        steps: the most actions, unless the oracle needs more.
    """
    real = list(_walk(env, task, steps) if oracle is None else oracle)
    mixed = [NONSENSE[4], *real[:1], "inventory", *real[1:]]
    return Script(task, mixed[: max(steps, len(real) + 2)], real, oracle is not None)


def _walk(env: Environment, task: Task, most: int) -> list[str]:
    """An episode of valid actions; each is drawn from those that its state offers."""
    draw = random.Random(task.name)
    env.reset(task)
    actions: list[str] = []
    while len(actions) < most and (choices := env.valid_actions()):
        actions.append(draw.choice(choices))
        result = env.step(actions[-1])
        if result.terminated or result.truncated:
            break
    return actions


def spread(items: Sequence[T], count: int) -> list[T]:
    """``count`` evenly spaced items."""
    if len(items) <= count:
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]
