"""What is counted in one episode: repetitions, reflections, revision length.

Pure functions of the steps, so that they can be recomputed from the store.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from agentr_lite.core.steps import Step

LOOP_LENGTHS = (1, 2, 3, 4)
"""Lengths of runs of actions whose repetitions are counted."""

SUCCESS_REWARD = 1.0
"""An episode that earns this much is a success."""


def repeated_runs(steps: Sequence[Step]) -> dict[int, int]:
    """How often a run of actions repeats at once, by its length.

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
    covered: set[int] = set()
    for length, starts in _repetitions(steps).items():
        for start in starts:
            covered.update(range(start, start + length))
    return len(covered)


def _repetitions(steps: Sequence[Step]) -> dict[int, list[int]]:
    """Run length to the positions where a second, third … copy of a run begins."""
    keys = [_key(step) for step in steps]
    found: dict[int, list[int]] = {length: [] for length in LOOP_LENGTHS}
    for length in LOOP_LENGTHS:
        at = length
        while at + length <= len(keys):
            run = keys[at : at + length]
            if run == keys[at - length : at] and _is_primitive(run):
                found[length].append(at)
                at += length
            else:
                at += 1
    return found


def _is_primitive(run: list[Hashable]) -> bool:
    return not any(
        len(run) % period == 0 and run == run[:period] * (len(run) // period)
        for period in range(1, len(run))
    )


def _key(step: Step) -> Hashable:
    # A turn without an action has none to compare; its text says whether it was said before.
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
