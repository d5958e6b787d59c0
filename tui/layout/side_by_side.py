"""A splice as lines: the bad trajectory beside the good one, and the revision below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentr_lite.agent.turns import parse_action
from agentr_lite.console.outcomes import (
    REVISION_STATUS,
    SEGMENT_STYLES,
    SEGMENT_WORDS,
    naive_outcome,
    revision_outcome,
    revision_reason,
    segment_of,
)
from agentr_lite.core.messages import without_examples
from agentr_lite.core.steps import Step
from agentr_lite.store.records import JudgementRow, RevisionRow

from .documents import lay_out_turn, verdict_line, view_of_step
from .lines import Line, Span, barred, crop, fold, indented, one_line, pad, rule, spread

_BETWEEN: Span = (" │ ", "guide")


@dataclass(frozen=True, slots=True)
class SpliceView:
    """A revision with both of its trajectories."""

    revision: RevisionRow
    goal: str
    bad: Sequence[Step]
    bad_reward: float
    good: Sequence[Step]
    good_reward: float
    judgements: Mapping[int, JudgementRow]
    """The critic's verdicts by step of ``bad``, from 0."""


def spliced_turns(revision: RevisionRow) -> list[tuple[str, str, bool]]:
    """(assistant turn, answer, learnt) of the revision's conversation; empty where rejected."""
    messages, loss = without_examples(revision.messages or (), revision.loss or ())
    turns = []
    for at, message in enumerate(messages):
        if message["role"] == "assistant":
            # The last answer is not part of the training text: no turn follows it.
            answer = messages[at + 1]["content"] if at + 1 < len(messages) else ""
            turns.append((message["content"], answer, bool(loss[at])))
    return turns


def lay_out_splice(view: SpliceView, width: int, *, with_shared: bool = False) -> list[Line]:
    """The splice's facts, both trajectories step by step, and the revision with its verdict.

    Args:
        view: the splice.
        width: terminal columns.
        with_shared: also show the steps that the two share.
    """
    revision = view.revision
    lines = _facts(view, width)
    left_width = (width - len(_BETWEEN[0])) // 2
    right_width = width - len(_BETWEEN[0]) - left_width
    right_title: Span = (f"the good trajectory, reward {view.good_reward:.3g}", "good")
    left_title: Span = (f"the bad trajectory, reward {view.bad_reward:.3g}", "bad")
    lines.append((*pad([left_title], left_width), _BETWEEN, *pad([right_title], right_width)))
    lines.append((("─" * left_width + "─┼─" + "─" * right_width, "guide"),))
    shared = revision.parting_step
    first = 0 if with_shared else shared
    if shared and not with_shared:
        text = f"⋯ {shared} shared step{'' if shared == 1 else 's'}"
        lines.append(
            (*pad([(text, "dim")], left_width), _BETWEEN, *pad([(text, "dim")], right_width))
        )
    for at in range(first, max(len(view.bad), len(view.good))):
        if at == shared:
            # The node where the two part: a line across both columns.
            lines.append((("┄" * left_width + "┄┼┄" + "┄" * right_width, "accent"),))
        left = _bad_step(view, at, left_width)
        right = _good_step(view, at, right_width)
        for row in range(max(len(left), len(right))):
            cells = [left[row] if row < len(left) else (), right[row] if row < len(right) else ()]
            lines.append((*pad(cells[0], left_width), _BETWEEN, *pad(cells[1], right_width)))
    lines.append((("─" * left_width + "─┴─" + "─" * right_width, "guide"),))
    return lines + _result(view, first, width)


def lay_out_cut(view: SpliceView, width: int) -> list[Line]:
    """The last bad step that is kept, with the critic's verdict, and the pair's outcome."""
    lines = _facts(view, width)
    at = view.revision.cut_step - 1
    if view.revision.parting_step <= at < len(view.bad):
        lines += _bad_step(view, at, width)
    return [*lines, (), *indented([_naive(view)], width)]


def _result(view: SpliceView, first: int, width: int) -> list[Line]:
    """The outcome of the pair, then the revision turn by turn from step ``first`` on."""
    revision = view.revision
    mark = REVISION_STATUS[revision.status]
    lines: list[Line] = [
        (),
        rule((f"{mark.glyph} {revision_outcome(revision.status)}", mark.style), width),
        *indented([(revision_reason(one_line(revision.reason)), mark.style)], width),
        *indented([_naive(view)], width),
    ]
    turns = spliced_turns(revision)
    if not turns:
        return lines
    lines.append(((" ● learnt  ○ context only", "dim"),))
    for at in range(first, len(turns)):
        lines += _spliced_step(revision, turns, at, width)
    return lines


def _naive(view: SpliceView) -> Span:
    revision = view.revision
    text = naive_outcome(revision.naive_reward, view.good_reward)
    if revision.naive_reward is None:
        return (text, "dim")
    return (text, "good" if revision.status == "replayed" else "bad")


def _facts(view: SpliceView, width: int) -> list[Line]:
    revision = view.revision
    mark = REVISION_STATUS[revision.status]
    length = revision.revision_length
    where = (
        f"parting after step {revision.parting_step} · t′ = step {revision.cut_step}"
        f" · {length} bad step{'' if length == 1 else 's'} kept"
    )
    return [
        spread(
            [(" " + one_line(view.goal), "title")],
            [(f"{mark.glyph} {mark.word} ", mark.style)],
            width,
        ),
        *indented([(revision_reason(one_line(revision.reason)), mark.style)], width),
        *indented([(where, "dim")], width),
        *indented([("signal: ", "dim"), (one_line(revision.reflection), "signal")], width),
        (),
    ]


def _bad_step(view: SpliceView, at: int, width: int) -> list[Line]:
    if at >= len(view.bad):
        return []
    step, revision = view.bad[at], view.revision
    shown = view_of_step(at + 1, step, saw="")
    heading: list[Span] = [(f"{at + 1} {shown.mark.glyph} ", shown.mark.style)]
    heading.append((one_line(shown.title), "dim" if at < revision.parting_step else "strong"))
    tail: list[Span] = [("◀ t′", "bad")] if at + 1 == revision.cut_step else []
    lines: list[Line] = [spread(heading, tail, width)]
    judgement = view.judgements.get(at)
    if judgement is not None:
        lines += [(("  ", "plain"), *part) for part in fold(verdict_line(judgement), width - 2)]
    style = "dim" if at >= revision.cut_step else "plain"
    return [
        *lines,
        *lay_out_turn(step.text, width, bar="bad"),
        *barred(step.observation, "saw", style, width),
    ]


def _spliced_step(
    revision: RevisionRow, turns: Sequence[tuple[str, str, bool]], at: int, width: int
) -> list[Line]:
    if at >= len(turns):
        return []
    text, answer, learnt = turns[at]
    segment = segment_of(at, parting_step=revision.parting_step, cut_step=revision.cut_step)
    bar = SEGMENT_STYLES[segment]
    action = one_line(parse_action(text) or "(no action)")
    heading: list[Span] = [(f"{at + 1} {'●' if learnt else '○'} ", bar), (action, "strong")]
    lines: list[Line] = [spread(heading, [(SEGMENT_WORDS[segment], bar)], width)]
    lines += lay_out_turn(text, width, bar=bar)
    return lines + (barred(answer, "saw", "dim", width) if answer else [])


def _good_step(view: SpliceView, at: int, width: int) -> list[Line]:
    if at >= len(view.good):
        return []
    step = view.good[at]
    shown = view_of_step(at + 1, step, saw="")
    heading: list[Span] = [(f"{at + 1} {shown.mark.glyph} ", shown.mark.style)]
    heading.append((one_line(shown.title), "dim" if at < view.revision.parting_step else "strong"))
    lines: list[Line] = [crop(heading, width)]
    lines += lay_out_turn(step.text, width, bar="good")
    return lines + barred(step.observation, "saw", "dim", width)
