"""Evaluated episodes: as steps, as marks, and compared with another round's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from agentr_lite.console.outcomes import (
    BROKEN,
    CUT_EPISODE,
    FAILED,
    FATAL,
    GAINED,
    LOST,
    OVERFLOWED,
    PARTIAL,
    SOLVED,
    Mark,
    turn_mark,
)
from agentr_lite.core.openings import Example, Opening
from agentr_lite.core.steps import Step
from agentr_lite.metrics.episodes import OVERFLOW, is_faulty
from agentr_lite.store.records import EpisodeStep, EvalItemRow

from .columns import Row
from .documents import StepView, text_before_task, view_of_opening, view_of_step
from .lines import Line, Span

Key = tuple[int, int]
"""(task id, sample)."""


def key_of(item: EvalItemRow) -> Key:
    """What an episode is called within its evaluation."""
    return (item.task.id, item.sample)


def keys_of(rows: Iterable[Row]) -> list[Key]:
    """The episodes that a table's rows stand for; their keys are ``key_of``."""
    return [row.key for row in rows if isinstance(row.key, tuple)]


def episode_mark(item: EvalItemRow) -> Mark:
    """The mark of an episode in a list: from its reward, and without any from its last step."""
    if is_faulty(item):
        return BROKEN
    if item.success:
        return SOLVED
    if item.reward > 0:
        return PARTIAL
    last = item.episode[-1].step if item.episode else None
    if last is not None and last.disaster:
        return FATAL
    return CUT_EPISODE if last is not None and last.truncated else FAILED


def episode_views(
    item: EvalItemRow, *, examples: tuple[Example, ...] = (), instructions: str = ""
) -> tuple[list[StepView], Mark]:
    """An evaluated episode as steps, and how it ended.

    Args:
        item: the episode with its steps.
        examples: the run's, which every prompt shows between the instructions and the task.
        instructions: those of the run's searches. They stand for the episode's own where an older
            release has not stored these; its goal then stands for its first observation.
    """
    steps = [played.step for played in item.episode]
    end = episode_end(item, steps)
    saw = item.observation or item.task.goal
    notes: list[Line] = []
    if item.observation is None:
        text = "an older release has not stored what the model saw first: this is the goal"
        also = ", and the instructions of the run's searches" if instructions else ""
        notes.append(((text + also, "dim"),))
    elif not item.observation:
        notes.append((("the environment could not begin this task", "odd"),))
    given = sum(played.given for played in item.episode)
    if given:
        text = f"the first {given} of {len(steps)} steps were given: those of a failed episode"
        notes.append(((text, "signal"),))
    opening = Opening(item.instructions or instructions, saw, examples)
    views = [view_of_opening(text_before_task(opening), saw, notes)]
    for number, played in enumerate(item.episode, 1):
        step = played.step
        facts: tuple[Line, ...] = ()
        if played.given:
            facts = ((("given: part of the failed episode to recover from", "signal"),),)
        views.append(view_of_step(number, step, saw=saw, facts=facts, is_given=played.given))
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


def kept(before: EvalItemRow | None, now: EvalItemRow | None) -> bool:
    """Whether both episodes succeeded."""
    return before is not None and now is not None and before.success and now.success


def same_steps(before: Sequence[EpisodeStep], now: Sequence[EpisodeStep]) -> int:
    """How many steps two episodes of a task share, from the first one on.

    Two steps are the same where the action and the environment's answer are; a thought may differ.
    Turns without an action are compared by their text.
    """
    shared = 0
    for left, right in zip(before, now, strict=False):
        if _key(left.step) != _key(right.step):
            break
        shared += 1
    return shared


def _key(step: Step) -> tuple[str, str, str]:
    return (step.kind, step.text if step.action is None else step.action, step.observation)


def outcome_span(before: EvalItemRow | None, now: EvalItemRow | None) -> Span:
    """What became of a task from one round to another, as a sign and a word."""
    if before is None or now is None:
        return ("played by one round only", "dim")
    if is_faulty(before) or is_faulty(now):
        return (f"{BROKEN.glyph} {BROKEN.word}", BROKEN.style)
    if flipped := flip(before, now):
        mark = GAINED if flipped > 0 else LOST
        return (f"{mark.glyph} {mark.word}", mark.style)
    return (f"{SOLVED.glyph} kept", "good") if kept(before, now) else ("failed in both", "dim")


def flip_span(flipped: int) -> Span:
    """``flip`` as a sign."""
    if not flipped:
        return (" ", "plain")
    mark = GAINED if flipped > 0 else LOST
    return (mark.glyph, mark.style)
