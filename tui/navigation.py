"""Where a screen can lead: destinations, and what screens know of the application.

A screen names a destination and the application opens the screen for it, so that no screen imports
another one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from agentr_lite.agent.states import Origin
from agentr_lite.report.model.episodes import Key
from agentr_lite.store.records import EvalRow

from .critic_desk import CriticDesk
from .layout.documents import StepView
from .state_reader import StateReader


@dataclass(frozen=True, slots=True)
class ToTasks:
    """The searched tasks of a run."""

    run_id: str


@dataclass(frozen=True, slots=True)
class ToTree:
    """A search tree."""

    tree_id: int


@dataclass(frozen=True, slots=True)
class ToSteps:
    """A trajectory, one step at a time."""

    crumbs: Sequence[str]
    """Where the trajectory comes from, outermost first; foreign text."""
    views: Sequence[StepView]
    """The start and the steps in order."""
    at: int
    """The step to begin with; 0 is the start."""
    origin: Origin
    """The episode, for repeating its steps."""


@dataclass(frozen=True, slots=True)
class ToSplices:
    """The revisions of a run."""

    run_id: str
    tree_id: int | None = None
    """Only this tree's; None: all."""


@dataclass(frozen=True, slots=True)
class ToSplice:
    """One revision, side by side."""

    revision_ids: Sequence[int]
    """The revisions that left and right go through."""
    at: int
    """The place of the one to begin with."""


@dataclass(frozen=True, slots=True)
class ToPreferences:
    """The pairs of a better and a worse continuation of a run."""

    run_id: str
    tree_id: int | None = None
    """Only this tree's; None: all."""


@dataclass(frozen=True, slots=True)
class ToPreference:
    """One such pair."""

    preference_ids: Sequence[int]
    """The pairs that left and right go through."""
    at: int
    """The place of the one to begin with."""


@dataclass(frozen=True, slots=True)
class ToDemonstrations:
    """The demonstrations of the database."""


@dataclass(frozen=True, slots=True)
class ToEvals:
    """The evaluations of a run."""

    run_id: str


@dataclass(frozen=True, slots=True)
class ToEpisodes:
    """The episodes of one evaluation."""

    run_id: str
    eval_id: int
    env: str = ""
    """The environment to show first; empty: all."""


@dataclass(frozen=True, slots=True)
class ToComparison:
    """All rounds of an evaluation's mode and split, task by task."""

    run_id: str
    eval_id: int
    env: str = ""
    """The environment to show first; empty: all."""


@dataclass(frozen=True, slots=True)
class ToEpisode:
    """One episode of an evaluation, one step at a time."""

    run_id: str
    evaluation: EvalRow
    key: Key
    """(task id, sample)."""


@dataclass(frozen=True, slots=True)
class ToBeside:
    """Two rounds' episodes of a task, side by side."""

    evals: Sequence[EvalRow]
    """The evaluations of one mode and split, by round."""
    rounds: tuple[int, int]
    """The places of the left and of the right one among them."""
    keys: Sequence[Key]
    """(task id, sample) of the tasks to go through."""
    at: int
    """The place of the one to begin with."""


Destination = (
    ToTasks
    | ToTree
    | ToSteps
    | ToSplices
    | ToSplice
    | ToPreferences
    | ToPreference
    | ToDemonstrations
    | ToEvals
    | ToEpisodes
    | ToComparison
    | ToEpisode
    | ToBeside
)


class Navigator(Protocol):
    """The application, as far as screens know it."""

    following: bool
    """Whether the screens go to what was written last."""
    states: StateReader
    remove: Callable[[str], str] | None
    """Deletes a run; None where that is not offered."""
    critic: CriticDesk | None
    """Asks the critic about trees; None where that is not offered."""

    def open_screen(self, destination: Destination, *, replace: bool = False) -> None:
        """Open the screen for a destination.

        If the subject of the screen has been deleted, a note says so and the screen below is read
        again.

        Args:
            destination: where to go.
            replace: close the current screen first.
        """
