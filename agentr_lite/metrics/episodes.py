"""What is counted in one episode: repetitions, reflections, revision length, how it ended.

Pure functions of the steps, so that everything can be counted again from the store.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from agentr_lite.core.steps import Step
from agentr_lite.store.records import EvalItemRow

LOOP_LENGTHS = (1, 2, 3, 4)
"""Repetitions of runs of actions are counted for these lengths of the run."""

SUCCESS_REWARD = 1.0
"""An episode that earns this much is a success."""

OVERFLOW = "overflow: the task and the last turns do not fit the model's context"
"""The error of an episode that outgrew the model's context; the episode counts as it ended."""


def played_steps(item: EvalItemRow) -> list[Step]:
    """The steps that the actor chose; a given prefix is left out."""
    return [played.step for played in item.episode if not played.given]


class Ended(Protocol):
    """An episode, stored or just played."""

    @property
    def error(self) -> str | None:
        """Why it could not go on, if it could not."""


def is_faulty(episode: Ended) -> bool:
    """Whether the environment broke: such an episode says nothing about the actor."""
    return episode.error is not None and episode.error != OVERFLOW


@dataclass(frozen=True, slots=True)
class Endings:
    """How many episodes were cut, and how many ended in a disaster."""

    cut: int = 0
    """Episodes that a limit ended: the evaluation's own or the environment's."""
    disasters: int = 0
    """Episodes that ended in what the environment calls a fatal mistake."""


def count_endings(items: Iterable[EvalItemRow]) -> Endings:
    """Count by the episodes' last steps; broken episodes are left out.

    Args:
        items: an evaluation's rows, with at least the last step of each episode. Databases of
            earlier versions do not mark such steps, and have none to count.
    """
    cut = disasters = 0
    for item in items:
        steps = played_steps(item)
        if is_faulty(item) or not steps:
            continue
        disasters += steps[-1].disaster
        cut += steps[-1].truncated and not steps[-1].disaster
    return Endings(cut, disasters)


def is_graded(success: float, reward: float) -> bool:
    """Whether some episodes earned a part of the reward, neither nothing nor all of it.

    An episode is a success exactly where it earns the full reward. So the two means differ if and
    only if some reward lies between 0 and 1; stored figures hold no more than these means.

    Args:
        success: the success rate of some episodes.
        reward: the mean reward of the same episodes.
    """
    return abs(success - reward) > 1e-9


def repeated_runs(steps: Sequence[Step]) -> dict[int, int]:
    """How often a run of actions is repeated immediately, by the length of the run.

    A step repeats another when action *and* observation are the same: fetching a second log is
    progress where the environment answers differently, and a loop where it does not. Runs that
    are themselves repetitions of a shorter run count under the shorter length only: ``aaaa`` is
    3 repetitions of length 1 and none of length 2.

    Args:
        steps: one episode.

    Returns:
        length (1 to 4) to number of immediate repetitions.

    Source: the idea of Agent-R's section on loops (repeated actions by length).
    """
    return {length: len(starts) for length, starts in _repetitions(steps).items()}


def repeated_actions(steps: Sequence[Step]) -> int:
    """Steps that belong to an immediate repetition of a run of 1 to 4 steps.

    ``aaa`` holds two, ``abab`` two: the first copy is no repetition.
    """
    return len(repeated_places(steps))


def repeated_places(steps: Sequence[Step]) -> set[int]:
    """The places, from 0, of the steps that ``repeated_actions`` counts."""
    covered: set[int] = set()
    for length, starts in _repetitions(steps).items():
        for start in starts:
            covered.update(range(start, start + length))
    return covered


def _repetitions(steps: Sequence[Step]) -> dict[int, list[int]]:
    """Length of a run to the positions where its second, third … copy begins."""
    keys = [_key(step) for step in steps]
    starts: dict[int, list[int]] = {length: [] for length in LOOP_LENGTHS}
    for length in LOOP_LENGTHS:
        at = length
        while at + length <= len(keys):
            run = keys[at : at + length]
            if run == keys[at - length : at] and _is_primitive(run):
                starts[length].append(at)
                at += length
            else:
                at += 1
    return starts


def _is_primitive(run: list[Hashable]) -> bool:
    return not any(
        len(run) % period == 0 and run == run[:period] * (len(run) // period)
        for period in range(1, len(run))
    )


def _key(step: Step) -> Hashable:
    # Turns without an action are compared by their text.
    return (step.kind, step.text if step.action is None else step.action, step.observation)


def revision_lengths(steps: Sequence[Step]) -> list[int]:
    """For each reflection, how many bad steps the agent took before it reflected.

    A step counts as bad where it shows: it was invalid, or it repeats an earlier step of the
    episode with the same observation. The length is the number of such steps in a row directly
    before the reflection. A reflection after a step that looks fine has length 0.
    """
    seen: set[Hashable] = set()
    lengths, bad_in_a_row = [], 0
    for step in steps:
        if step.kind == "reflect":
            lengths.append(bad_in_a_row)
            bad_in_a_row = 0
            continue
        key = _key(step)
        bad_in_a_row = bad_in_a_row + 1 if step.invalid or key in seen else 0
        seen.add(key)
    return lengths


def final_reward(steps: Sequence[Step]) -> float:
    """The episode's reward: that of the last step that reached the environment, else 0."""
    return next((step.reward for step in reversed(steps) if step.kind == "act"), 0.0)
