"""The environment protocol, in Gymnasium's words.

Source: Farama Gymnasium's ``Env`` (``reset``/``step`` five-tuple); snapshots are ours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.core.steps import turn_text
from agentr_lite.core.tasks import Task

__all__ = ["Environment", "Snapshot", "StepResult", "Task"]

PLAIN_THOUGHT = "I take the next step towards the goal."
"""The thought of a demonstration whose maker knows the actions but not the reasons."""

Snapshot = Any
"""Opaque, immutable, picklable state of an episode, including its task."""


class StepResult(NamedTuple):
    """The result of one action."""

    observation: str
    reward: float
    """In [0, 1]; the episode's reward is that of its last step."""
    terminated: bool
    truncated: bool
    info: dict[str, Any]
    """``invalid``: the action was not understood or impossible; ``disaster``: a fatal mistake."""


class EpisodeLost(EnvironmentFault):
    """What held the episode is gone, such as a session of a server; a replay may succeed."""


class Environment(ABC):
    """A text environment.

    One instance may play many episodes in turn: ``restore`` accepts any snapshot from an instance
    with the same settings.
    """

    name: ClassVar[str]
    time_limit_s: float = 300.0
    """Longest time that a call may take; if a call takes longer, its task fails. 0 = no limit."""

    isolate: ClassVar[bool] = False
    """Whether to run it in a child process. Its time limit then holds for machine code too, and a
    crash costs the task at hand. Each call takes some 0.1 ms longer. Tasks and snapshots must be
    picklable; a recipe's ``env_options.isolate`` overrides it."""

    replays_quickly: ClassVar[bool] = False
    """Whether an episode can be replayed in well under a second without using anything outside
    this process. Then a viewer replays episodes without asking."""

    keeps_full_stop: bool = False
    """Whether a full stop at the end of an action belongs to it, as in free text (``say Hello.``).
    If not, it is taken off before ``step``: models often end a line with one."""

    lists_exactly: bool = True
    """Whether each of ``valid_actions`` is understood. False: the list comes from a simulator that
    may refuse some of it; ``envs check`` then remarks on those that are refused, and passes."""

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
        """Carry out one action. A bad action is answered by an observation, not by an error."""

    @abstractmethod
    def instructions(self, *, brief: bool = False) -> str:
        """The system prompt: rules and action format; ``brief``: for models that know them."""

    def snapshot(self) -> Snapshot:
        """The episode's state. Default: the replay log that ``ReplayEnvironment`` keeps."""
        raise NotImplementedError

    def restore(self, snapshot: Snapshot) -> None:
        """Return to a state from ``snapshot``."""
        raise NotImplementedError

    def another(self) -> Environment | None:
        """Another instance, to hold a second episode; None: there is none, or no more.

        For an environment without ``snapshot``: states are then replayed less often, because each
        instance stays in the state in which it was played last. It is asked for one at a time.
        """
        return None

    def solve(self, task: Task) -> list[str]:
        """An oracle's actions that earn the full reward from reset on.

        Raises:
            NotImplementedError: this environment has no oracle.
        """
        raise NotImplementedError(f"{self.name} has no oracle")

    def demonstrate(self, task: Task) -> list[str]:
        """The turns of an expert that earns the full reward from reset on.

        A model learns from them by imitation, so a useful thought says why the action is right.
        The episode in progress may be lost.

        Returns:
            Assistant turns, each ``Thought: ...`` and ``Action: ...`` on two lines. Default:
            the actions of ``solve`` with a plain thought.

        Raises:
            NotImplementedError: this environment has neither an expert nor an oracle.
        """
        return [turn_text(PLAIN_THOUGHT, action) for action in self.solve(task)]

    def plan(self) -> list[str]:
        """An oracle's actions from the current state on; empty once the goal is reached.

        Raises:
            NotImplementedError: there is no oracle, or it starts from reset only.
        """
        raise NotImplementedError(f"{self.name} cannot plan from a state")

    def valid_actions(self) -> list[str] | None:
        """Actions that would be understood now, or None if they cannot be listed."""
        return None

    def grammar(self) -> str:
        """GBNF rules; the rule ``action`` is the text of a legal action. Empty: no rules are known.

        The rules describe only the form: an action that follows them may still be impossible. In
        every task, every action that the environment understands must follow them. The agent loop
        adds the rule for a whole turn (``agent.turn_grammar``), so the names ``root``, ``thought``
        and ``reflect`` are reserved.
        """
        return ""

    def describe_state(self) -> str:
        """One line about the hidden state (inventory, page) for people; may be empty."""
        return ""

    def close(self) -> None:  # noqa: B027 - optional hook
        """Release processes and files."""
