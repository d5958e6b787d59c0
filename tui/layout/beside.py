"""Two episodes of a task side by side, aligned to their first difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentr_lite.console.outcomes import Mark
from agentr_lite.report.model.episodes import difference_sentence

from .documents import StepView, lay_out_turn
from .lines import Line, Span, barred, crop, fold, indented, one_line, pad, rule

BETWEEN: Span = (" │ ", "guide")
"""Between the two columns."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two episodes."""

    name: str
    """Who played it, e.g. ``round 2``; clean."""
    views: Sequence[StepView] = ()
    """The start and the steps in order; empty where it has not been played."""
    end: Mark | None = None
    """How it ended."""
    reward: float = 0.0

    @property
    def steps(self) -> Sequence[StepView]:
        """The steps without the start."""
        return self.views[1:]


def lay_out_beside(
    left: Side, right: Side, goal: str, shared: int, width: int, *, with_shared: bool = False
) -> list[Line]:
    """Both episodes, row by row from their first difference on.

    Args:
        left: the earlier round's.
        right: the later round's.
        goal: the task's; foreign text.
        shared: how many steps are the same in both.
        width: terminal columns.
        with_shared: also show the start and the steps that are the same.
    """
    columns = _Columns(width)
    # Without a difference there is nothing else to show.
    with_shared = with_shared or shared == len(left.steps) == len(right.steps)
    lines: list[Line] = [*indented([(one_line(goal), "title")], width)]
    lines += [*indented([(_difference(left, right, shared), "plain")], width), ()]
    lines += columns.rows(_heading(left), _heading(right))
    lines.append(columns.line("┼", "guide"))
    if with_shared:
        lines += columns.rows(_start(left, columns.left), _start(right, columns.right))
    elif shared:
        text = f"⋯ {shared} step{'' if shared == 1 else 's'} the same (c shows them)"
        lines += columns.rows([((text, "dim"),)], [((text, "dim"),)])
    for at in range(0 if with_shared else shared, max(len(left.steps), len(right.steps))):
        if at == shared:
            lines.append(columns.line("┼", "accent", fill="┄"))
        dim = at < shared
        lines += columns.rows(
            _step(left, at, columns.left, dim=dim), _step(right, at, columns.right, dim=dim)
        )
    lines.append(columns.line("┴", "guide"))
    return lines


class _Columns:
    """Two columns with a line between them."""

    def __init__(self, width: int) -> None:
        self.left = (width - len(BETWEEN[0])) // 2
        self.right = width - len(BETWEEN[0]) - self.left

    def rows(self, left: Sequence[Line], right: Sequence[Line]) -> list[Line]:
        """Lines beside lines; the shorter side is filled."""
        return [
            (
                *pad(left[at] if at < len(left) else (), self.left),
                BETWEEN,
                *pad(right[at] if at < len(right) else (), self.right),
            )
            for at in range(max(len(left), len(right)))
        ]

    def line(self, cross: str, style: str, *, fill: str = "─") -> Line:
        """A line across both columns."""
        text = fill * self.left + f"{fill}{cross}{fill}" + fill * self.right
        return ((text, style),)


def _difference(left: Side, right: Side, shared: int) -> str:
    """Where the two episodes part, in a sentence."""
    actions = [
        [one_line(view.title) for view in side.steps] if side.views else None
        for side in (left, right)
    ]
    return difference_sentence((left.name, right.name), actions[0], actions[1], shared)


def _heading(side: Side) -> list[Line]:
    if side.end is None:
        return [((side.name, "strong"), ("  not played", "dim"))]
    count = len(side.steps)
    steps = f"{count} step{'' if count == 1 else 's'}"
    given = sum(view.is_given for view in side.steps)
    if given:
        steps += f", {given} given"
    return [
        ((side.name, "strong"), (f"  {side.end.glyph} {side.end.word}", side.end.style)),
        ((f"reward {side.reward:.3g} · {steps}", "dim"),),
    ]


def _start(side: Side, width: int) -> list[Line]:
    if not side.views:
        return []
    start = side.views[0]
    facts = [part for fact in start.facts for part in fold(fact, width)]
    return [*facts, rule(("task", "saw"), width), *barred(start.answer, "saw", "dim", width)]


def _step(side: Side, at: int, width: int, *, dim: bool) -> list[Line]:
    if at >= len(side.steps):
        return []
    view = side.steps[at]
    style = "dim" if dim else "strong"
    heading: list[Span] = [(f"{view.number} {view.mark.glyph} ", view.mark.style)]
    heading.append((one_line(view.title), style))
    if view.is_given:
        heading.append(("  given", "signal"))
    return [
        crop(heading, width),
        *lay_out_turn(view.turn, width),
        *barred(view.answer, "saw", "dim", width),
    ]
