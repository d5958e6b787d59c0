"""The environment protocol, in Gymnasium's words.

Source: Farama Gymnasium's ``Env`` (``reset``/``step`` five-tuple); snapshots are ours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from agentr_lite.core.tasks import Task

__all__ = ["Environment", "Snapshot", "StepResult", "Task"]

Snapshot = Any
"""Opaque, immutable, picklable state of an episode, the task included."""


class StepResult(NamedTuple):
    """What one action led to."""

    observation: str
    reward: float
    """In [0, 1]; the episode's reward is that of its last step."""
    terminated: bool
    truncated: bool
    info: dict[str, Any]
    """``invalid``: the action was not understood or not possible; ``disaster``: a fatal mistake."""


class Environment(ABC):
    """A text environment.

    One instance may serve many episodes in turn: ``restore`` brings back any snapshot taken from
    an instance made with the same settings.
    """

    name: ClassVar[str]
    time_limit_s: float = 300.0
    """Longest time that a call may take; what takes longer costs its task. 0 = no limit."""

    replays_quickly: ClassVar[bool] = False
    """Making one and taking an episode again costs well under a second and nothing outside this
    process, so that a viewer may do it unasked."""

    path_options: ClassVar[tuple[str, ...]] = ("data_dir", "games_dir", "recipes_dir")
    """Constructor options that name files or directories. A run stores them as absolute paths, so
    that it can be resumed from any working directory. Default: the usual names."""

    @abstractmethod
    def tasks(self, split: str) -> Sequence[Task]:
        """The split's tasks, in a fixed order."""

    @abstractmethod
    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        """Begin ``task``; returns (observation, info)."""

    @abstractmethod
    def step(self, action: str) -> StepResult:
        """Carry out one action. Never raises on a bad action: that is an observation."""

    @abstractmethod
    def instructions(self, *, brief: bool = False) -> str:
        """The system prompt: rules and action format. ``brief`` is for models that know them."""

    def snapshot(self) -> Snapshot:
        """The episode's state. Default: the replay log kept by ``ReplayEnvironment``."""
        raise NotImplementedError

    def restore(self, snapshot: Snapshot) -> None:
        """Bring back a state taken by ``snapshot``."""
        raise NotImplementedError

    def solve(self, task: Task) -> list[str]:
        """An oracle's action list that earns the full reward from reset.

        Raises:
            NotImplementedError: this environment has no oracle.
        """
        raise NotImplementedError(f"{self.name} has no oracle")

    def plan(self) -> list[str]:
        """An oracle's actions from the current state on; empty once the goal is reached.

        Raises:
            NotImplementedError: this environment's oracle, if any, starts from reset only.
        """
        raise NotImplementedError(f"{self.name} cannot plan from a state")

    def valid_actions(self) -> list[str] | None:
        """Actions that would be understood now, or None where they cannot be listed."""
        return None

    def grammar(self) -> str:
        """GBNF rules of which ``action`` is a legal action's text; empty: none are known.

        The form alone: an action that follows it may still be impossible. Every action that the
        environment understands must follow it, in every task. The agent loop adds the rule for a
        whole turn (``agent.turn_grammar``); rules called ``root``, ``thought`` and ``reflect`` are
        its own.
        """
        return ""

    def describe_state(self) -> str:
        """One line about the hidden state (inventory, page) for people; may be empty."""
        return ""

    def close(self) -> None:  # noqa: B027 - optional hook
        """Release processes and files."""
