"""The measures of played episodes: what each counts, in which unit, and whether more is better."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from agentr_lite.metrics.episodes import is_graded, played_steps, revision_lengths
from agentr_lite.store.records import EvalItemRow, EvalMode

Unit = Literal["percent", "decimal", "count"]


@dataclass(frozen=True, slots=True)
class Played:
    """What the measures take from one episode."""

    env: str
    task: int
    success: bool
    reward: float
    steps: int
    invalid: int
    repeated: int
    reflections: int
    lengths: tuple[int, ...]
    """Bad steps before each reflection that follows some (see ``episodes.revision_lengths``)."""

    @classmethod
    def of(cls, item: EvalItemRow, task: int) -> Played:
        """A stored episode.

        Args:
            item: its row; without the steps it has no ``lengths``.
            task: the number by which its task goes.
        """
        return cls(
            item.task.env,
            task,
            item.success,
            item.reward,
            item.steps,
            item.invalid_actions,
            item.repeated_actions,
            item.reflections,
            tuple(n for n in revision_lengths(played_steps(item)) if n > 0),
        )


Rounds = Mapping[tuple[EvalMode, int], Sequence[Played]]
"""(mode, round) to episodes, of finished evaluations only."""
Seeds = Mapping[int, Rounds]
"""Seed to what its run played."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A ratio of two sums over episodes."""

    key: str
    title: str
    """The title of its table."""
    column: str
    """Its name in a table of several measures."""
    mode: EvalMode
    above: Callable[[Played], float]
    below: Callable[[Played], float]
    unit: Unit
    better: Literal["more", "fewer"] = "more"

    @property
    def is_rate(self) -> bool:
        """Whether it is the share of episodes that have something."""
        return self.unit == "percent" and self.below is _each


def _each(_: Played) -> float:
    return 1.0


SUCCESS = Measure(
    "success", "Success", "success", "greedy", lambda p: float(p.success), _each, "percent"
)
REWARD = Measure("reward", "Mean reward", "reward", "greedy", lambda p: p.reward, _each, "decimal")
RECOVERY = Measure(
    "recovery",
    "Recovery from the base's failures",
    "recovery",
    "recovery",
    lambda p: float(p.success),
    _each,
    "percent",
)
RECOVERY_REWARD = Measure(
    "recovery_reward",
    "Mean reward from the base's failures on",
    "reward from failures",
    "recovery",
    lambda p: p.reward,
    _each,
    "decimal",
)
REPEATED = Measure(
    "repeated",
    "Repeated actions",
    "repeated actions",
    "greedy",
    lambda p: p.repeated,
    lambda p: p.steps,
    "percent",
    "fewer",
)
LENGTH = Measure(
    "revision_length",
    "Revision length",
    "revision length",
    "greedy",
    lambda p: sum(p.lengths),
    lambda p: len(p.lengths),
    "count",
    "fewer",
)
VALID = Measure(
    "valid",
    "Valid actions",
    "valid actions",
    "greedy",
    lambda p: p.steps - p.invalid,
    lambda p: p.steps,
    "percent",
)
REFLECTIONS = Measure(
    "reflections",
    "Reflections an episode",
    "reflections",
    "greedy",
    lambda p: p.reflections,
    _each,
    "count",
)
STEPS = Measure(
    "steps", "Steps an episode", "steps", "greedy", lambda p: p.steps, _each, "count", "fewer"
)

OUTCOMES = (SUCCESS, REWARD, RECOVERY, RECOVERY_REWARD)
BEHAVIOUR = (REPEATED, LENGTH, VALID, REFLECTIONS, STEPS)


def in_env(rounds: Rounds, env: str) -> Rounds:
    """What was played in one of several environments."""
    mine = {
        key: [episode for episode in played if episode.env == env] for key, played in rounds.items()
    }
    return {key: played for key, played in mine.items() if played}


def any_graded(runs: Iterable[Rounds]) -> bool:
    """Whether any evaluation has rewards between none and all; see ``episodes.is_graded``."""
    return any(
        is_graded(
            sum(episode.success for episode in played) / len(played),
            sum(episode.reward for episode in played) / len(played),
        )
        for rounds in runs
        for played in rounds.values()
        if played
    )


def main_measure(graded: bool) -> Measure:
    """What an environment is about: reward where it is graded, success elsewhere."""
    return REWARD if graded else SUCCESS


def recovery_measure(graded: bool) -> Measure:
    """How well an actor recovers from the base's failures; the counterpart of ``main_measure``."""
    return RECOVERY_REWARD if graded else RECOVERY
