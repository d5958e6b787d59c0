"""Evaluated episodes: as steps, and their outcome compared with another round's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from agentr_lite.console.outcomes import CUT_EPISODE, GAINED, LOST, Mark
from agentr_lite.core.openings import Example, Opening
from agentr_lite.report.model.episodes import Key, episode_end, outcome_mark
from agentr_lite.store.records import EvalItemRow

from .columns import Row
from .documents import StepView, view_of_opening, view_of_step
from .lines import Line, Span


def key_of(item: EvalItemRow) -> Key:
    """What an episode is called within its evaluation."""
    return (item.task.id, item.sample)


def keys_of(rows: Iterable[Row]) -> list[Key]:
    """The episodes that a table's rows stand for; their keys are ``key_of``."""
    return [row.key for row in rows if isinstance(row.key, tuple)]


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
    views = [view_of_opening(opening.before_task, saw, notes)]
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


def outcome_span(before: EvalItemRow | None, now: EvalItemRow | None) -> Span:
    """What became of a task from one round to another, as a sign and a word."""
    mark = outcome_mark(before, now)
    return (f"{mark.glyph} {mark.word}", mark.style)


def flip_span(flipped: int) -> Span:
    """``flip`` as a sign."""
    if not flipped:
        return (" ", "plain")
    mark = GAINED if flipped > 0 else LOST
    return (mark.glyph, mark.style)
