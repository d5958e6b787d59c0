"""Environments that wrap another environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment, StepResult


class ReplayLog(NamedTuple):
    """A state, described by the actions that lead to it."""

    task: Task
    seed: int
    actions: tuple[str, ...]
    observations: tuple[str, ...]
    """The observation after each action, to notice a replay that differs."""


class ReplayEnvironment(Environment):
    """Gives snapshots to an environment that cannot save its state.

    A snapshot holds the task, the seed and the actions so far. Restoring it starts the task again
    and repeats the actions, which is right only if the same actions lead to the same observations.
    Restoring the current state costs nothing.

    Args:
        inner: the environment that does the work.
    """

    def __init__(self, inner: Environment) -> None:
        self._inner = inner
        self.time_limit_s = inner.time_limit_s
        self.keeps_full_stop = inner.keeps_full_stop
        self.lists_exactly = inner.lists_exactly
        self._task: Task | None = None
        """None if the actions that led to the inner environment's state are not known."""
        self._seed = 0
        self._actions: list[str] = []
        self._observations: list[str] = []

    @property
    def name(self) -> str:  # type: ignore[override]
        """The inner environment's name."""
        return self._inner.name

    @property
    def inner(self) -> Environment:
        """The wrapped environment."""
        return self._inner

    def tasks(self, split: str) -> Sequence[Task]:
        """See ``Environment.tasks``."""
        return self._inner.tasks(split)

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        """See ``Environment.reset``."""
        self._task = None
        begun = self._inner.reset(task, seed=seed)
        self._task, self._seed = task, seed
        self._actions, self._observations = [], []
        return begun

    def step(self, action: str) -> StepResult:
        """See ``Environment.step``."""
        # A step that raises an error or is stopped may have changed the state. The state is then
        # unknown, and the next restore has to start again.
        task, self._task = self._task, None
        result = self._inner.step(action)
        self._actions.append(action)
        self._observations.append(result.observation)
        self._task = task
        return result

    def instructions(self, *, brief: bool = False) -> str:
        """See ``Environment.instructions``."""
        return self._inner.instructions(brief=brief)

    def snapshot(self) -> ReplayLog:
        """The actions that lead to the current state; its size grows with the number of steps.

        Raises:
            EnvironmentFault: no episode has begun, or its state is no longer known.
        """
        if self._task is None:
            raise EnvironmentFault(
                self.name,
                "snapshot before the first reset, or after a call that failed or ran the oracle",
                hint="Reset it, or restore an earlier snapshot.",
            )
        return ReplayLog(self._task, self._seed, tuple(self._actions), tuple(self._observations))

    def restore(self, snapshot: ReplayLog) -> None:
        """Start the task again and repeat a snapshot's actions.

        Raises:
            EnvironmentFault: an action gave another observation than the first time.
        """
        if self._task is not None and snapshot == self.snapshot():
            return
        self.reset(snapshot.task, seed=snapshot.seed)
        for index, (action, expected) in enumerate(
            zip(snapshot.actions, snapshot.observations, strict=True), 1
        ):
            observation = self.step(action).observation
            if observation != expected:
                raise EnvironmentFault(
                    self.name,
                    f"task '{snapshot.task.name}': step {index} ({action!r}) gave another"
                    " observation when it was repeated",
                    hint="An environment must be deterministic if it has no snapshots.",
                )

    def solve(self, task: Task) -> list[str]:
        """See ``Environment.solve``. The episode in progress is lost: the oracle may have played.

        Raises:
            NotImplementedError: there is no oracle; then the episode continues.
        """
        current, self._task = self._task, None
        try:
            return self._inner.solve(task)
        except NotImplementedError:
            self._task = current
            raise

    def demonstrate(self, task: Task) -> list[str]:
        """See ``Environment.demonstrate``. The episode in progress is lost, as with ``solve``.

        Raises:
            NotImplementedError: there is neither an expert nor an oracle; the episode continues.
        """
        current, self._task = self._task, None
        try:
            return self._inner.demonstrate(task)
        except NotImplementedError:
            self._task = current
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
        self._inner.close()
