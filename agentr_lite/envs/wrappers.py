"""Environments that wrap another environment."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment, EpisodeLost, StepResult


class ReplayLog(NamedTuple):
    """A state, described by the actions that lead to it."""

    task: Task
    seed: int
    actions: tuple[str, ...]
    observations: tuple[str, ...]
    """The observation after each action, to notice a replay that differs."""


class _Played:
    """An instance of the inner environment, and the actions that led to its state."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        self.task: Task | None = None
        """None if these actions are not known."""
        self.seed = 0
        self.actions: list[str] = []
        self.observations: list[str] = []
        self.over = False
        """The episode has ended, so no state lies beyond this one."""

    @property
    def log(self) -> ReplayLog | None:
        """The state; None if it is not known."""
        if self.task is None:
            return None
        return ReplayLog(self.task, self.seed, tuple(self.actions), tuple(self.observations))

    def missing(self, log: ReplayLog) -> int | None:
        """The number of actions from this instance's state to ``log``; None: there is no way."""
        if self.task is None or self.seed != log.seed or self.task != log.task:
            return None
        done = len(self.actions)
        if tuple(self.observations) != log.observations[:done]:
            return None
        if tuple(self.actions) != log.actions[:done]:
            return None
        missing = len(log.actions) - done
        return None if missing and self.over else missing


class ReplayEnvironment(Environment):
    """Gives snapshots to an environment that cannot save its state.

    A snapshot holds the task, the seed and the actions so far. Restoring it repeats the actions,
    which is right only if the same actions lead to the same observations. The restored state is
    reached from an instance that is in it (no action), that is on the way to it (the rest of the
    actions), or that starts the task again (all actions). How many instances there are, the
    environment says (``Environment.another``).

    Args:
        inner: the environment that does the work.
    """

    def __init__(self, inner: Environment) -> None:
        self._first = inner
        self.time_limit_s = inner.time_limit_s
        self.keeps_full_stop = inner.keeps_full_stop
        self.lists_exactly = inner.lists_exactly
        self._now = _Played(inner)
        self._all = [self._now]
        self._grows = True
        self._draw = random.Random(0)

    @property
    def name(self) -> str:  # type: ignore[override]
        """The inner environment's name."""
        return self._first.name

    @property
    def inner(self) -> Environment:
        """The wrapped environment: the instance that is played."""
        return self._now.env

    @property
    def _inner(self) -> Environment:
        return self._now.env

    def tasks(self, split: str) -> Sequence[Task]:
        """See ``Environment.tasks``."""
        return self._first.tasks(split)

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        """See ``Environment.reset``."""
        self._now = self._free()
        return self._begin(task, seed)

    def step(self, action: str) -> StepResult:
        """See ``Environment.step``.

        If the episode got lost with what held it (``EpisodeLost``), it is replayed once.
        """
        before = self._now.log
        try:
            return self._step(action)
        except EpisodeLost:
            if before is None:
                raise
        self._replay(before)
        return self._step(action)

    def _begin(self, task: Task, seed: int) -> tuple[str, dict[str, Any]]:
        now = self._now
        now.task = None
        begun = now.env.reset(task, seed=seed)
        now.task, now.seed, now.over = task, seed, False
        now.actions, now.observations = [], []
        return begun

    def _step(self, action: str) -> StepResult:
        # A step that raises an error or is stopped may have changed the state. The state is then
        # unknown, and the next restore has to start again.
        now = self._now
        task, now.task = now.task, None
        result = now.env.step(action)
        now.actions.append(action)
        now.observations.append(result.observation)
        now.over = bool(result.terminated or result.truncated)
        now.task = task
        return result

    def _free(self) -> _Played:
        """The instance whose state is needed least; a new one if there may be one."""
        for played in self._all:
            if played.task is None or played.over:
                return played
        another = self._first.another() if self._grows else None
        if another is not None:
            self._all.append(_Played(another))
            return self._all[-1]
        self._grows = False
        # Not the least recently used one: if episodes take turns, it is needed next.
        return self._draw.choice(self._all)

    def instructions(self, *, brief: bool = False) -> str:
        """See ``Environment.instructions``."""
        return self._first.instructions(brief=brief)

    def snapshot(self) -> ReplayLog:
        """The actions that lead to the current state; its size grows with the number of steps.

        Raises:
            EnvironmentFault: no episode has begun, or its state is no longer known.
        """
        log = self._now.log
        if log is None:
            raise EnvironmentFault(
                self.name,
                "snapshot before the first reset, or after a call that failed or ran the oracle",
                hint="Reset it, or restore an earlier snapshot.",
            )
        return log

    def restore(self, snapshot: ReplayLog) -> None:
        """Return to a state, by repeating the actions that are missing.

        Raises:
            EnvironmentFault: an action gave another observation than the first time.
        """
        ways = [
            (missing, index)
            for index, played in enumerate(self._all)
            if (missing := played.missing(snapshot)) is not None
        ]
        if not ways:
            self._now = self._free()
            self._replay(snapshot)
            return
        missing, index = min(ways)
        self._now = self._all[index]
        try:
            self._repeat(snapshot, len(snapshot.actions) - missing)
        except EpisodeLost:
            self._replay(snapshot)

    def _replay(self, log: ReplayLog) -> None:
        """Start the task again and repeat all actions."""
        self._begin(log.task, log.seed)
        self._repeat(log, 0)

    def _repeat(self, log: ReplayLog, done: int) -> None:
        """Repeat the actions after the first ``done``."""
        rest = zip(log.actions[done:], log.observations[done:], strict=True)
        for index, (action, expected) in enumerate(rest, done + 1):
            observation = self._step(action).observation
            if observation != expected:
                self._now.task = None
                raise EnvironmentFault(
                    self.name,
                    f"task '{log.task.name}': step {index} ({action!r}) gave another"
                    " observation when it was repeated",
                    hint="An environment must be deterministic if it has no snapshots.",
                )

    def solve(self, task: Task) -> list[str]:
        """See ``Environment.solve``. The episode in progress is lost: the oracle may have played.

        Raises:
            NotImplementedError: there is no oracle; then the episode continues.
        """
        now = self._now
        current, now.task = now.task, None
        try:
            return now.env.solve(task)
        except NotImplementedError:
            now.task = current
            raise

    def demonstrate(self, task: Task) -> list[str]:
        """See ``Environment.demonstrate``. The episode in progress is lost, as with ``solve``.

        Raises:
            NotImplementedError: there is neither an expert nor an oracle; the episode continues.
        """
        now = self._now
        current, now.task = now.task, None
        try:
            return now.env.demonstrate(task)
        except NotImplementedError:
            now.task = current
            raise

    def plan(self) -> list[str]:
        """See ``Environment.plan``."""
        return self._inner.plan()

    def valid_actions(self) -> list[str] | None:
        """See ``Environment.valid_actions``."""
        return self._inner.valid_actions()

    def grammar(self) -> str:
        """See ``Environment.grammar``."""
        return self._inner.grammar()

    def describe_state(self) -> str:
        """See ``Environment.describe_state``."""
        return self._inner.describe_state()

    def close(self) -> None:
        """See ``Environment.close``."""
        errors: list[Exception] = []
        for played in self._all:
            try:
                played.env.close()
            except Exception as error:
                errors.append(error)
        # The others are closed all the same; the first error is the one to see.
        if errors:
            raise errors[0]
