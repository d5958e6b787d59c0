"""Evaluated episodes: as steps, as marks, and compared with another round's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agentr_lite.console.outcomes import (
    BROKEN,
    CUT_EPISODE,
    FAILED,
    GAINED,
    LOST,
    OVERFLOWED,
    PARTIAL,
    SOLVED,
    Mark,
    turn_mark,
)
from agentr_lite.core.steps import Step
from agentr_lite.metrics.episodes import OVERFLOW, is_faulty
from agentr_lite.store.records import EvalItemRow

from .documents import StepView, view_of_opening, view_of_step
from .lines import Line, Span

Key = tuple[int, int]
"""(task id, sample)."""


def episode_mark(item: EvalItemRow) -> Mark:
    """The mark of an episode in a list, from its reward."""
    if is_faulty(item):
        return BROKEN
    if item.success:
        return SOLVED
    return PARTIAL if item.reward > 0 else FAILED


def episode_views(item: EvalItemRow) -> tuple[list[StepView], Mark]:
    """An evaluated episode as steps, and how it ended.

    The first observation of an evaluated episode is not stored, so the goal stands for it.
    """
    steps = [played.step for played in item.episode]
    end = episode_end(item, steps)
    views = [view_of_opening("", item.task.goal)]
    saw = item.task.goal
    for number, played in enumerate(item.episode, 1):
        step = played.step
        facts: tuple[Line, ...] = ()
        if played.given:
            facts = ((("given: part of the failed episode to recover from", "dim"),),)
        views.append(view_of_step(number, step, saw=saw, facts=facts))
        saw = step.observation
    if end is CUT_EPISODE:
        views[-1] = replace(views[-1], mark=end)
    return views, end


def episode_end(item: EvalItemRow, steps: Sequence[Step]) -> Mark:
    """How an evaluated episode ended: at an end, at a limit, or with a failed environment."""
    if is_faulty(item):
        return BROKEN
    if item.error == OVERFLOW:
        return OVERFLOWED
    if steps and (steps[-1].terminated or steps[-1].disaster):
        return turn_mark(steps[-1])
    # An evaluation goes on until an end or a limit. Older databases do not mark the last step.
    return CUT_EPISODE


def flip(before: EvalItemRow | None, now: EvalItemRow | None) -> int:
    """1 if only ``now`` succeeded, -1 if only ``before`` did, else 0.

    If the environment failed in either episode, the two say nothing about the actor: 0.
    """
    if before is None or now is None or is_faulty(before) or is_faulty(now):
        return 0
    return now.success - before.success


def flip_span(flipped: int) -> Span:
    """``flip`` as a sign."""
    if not flipped:
        return (" ", "plain")
    mark = GAINED if flipped > 0 else LOST
    return (mark.glyph, mark.style)
