"""A pair of a better and a worse continuation as lines: what both share, then each of the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentr_lite.core.steps import Step
from agentr_lite.store.preferences import Continuations
from agentr_lite.store.records import PreferenceRow

from .documents import lay_out_turn
from .lines import Line, Span, barred, fold, one_line, rule

KIND_WORDS = {
    "episode": "a successful and a failed episode",
    "step": "two actions in one state",
    "revision": "a revision, and going on as the bad trajectory did",
}


@dataclass(frozen=True, slots=True)
class PreferenceView:
    """A pair with its turns."""

    row: PreferenceRow
    goal: str
    turns: Continuations


def lay_out_preference(
    view: PreferenceView, width: int, *, with_shared: bool = False
) -> list[Line]:
    """The pair's facts, where the two part, and both continuations turn by turn.

    Args:
        view: the pair.
        width: terminal columns.
        with_shared: also show the steps that the two share.
    """
    row, turns = view.row, view.turns
    shared = len(turns.shared)
    lines: list[Line] = [
        ((" " + one_line(view.goal), "title"),),
        *fold([(f" {row.kind}: {KIND_WORDS[row.kind]}", "dim")], width),
        (),
    ]
    if with_shared or not shared:
        lines += barred(turns.opening.observation, "saw", "dim", width)
    first = 0 if with_shared else max(0, shared - 1)
    if first:
        text = f" ⋯ {first} earlier shared step{'' if first == 1 else 's'}"
        lines.append(((text, "dim"),))
    lines += _steps(turns.shared[first:], first, width)
    value = "value" if row.kind == "step" else "reward"
    better: Span = (f"better, {value} {row.chosen_value:.3g}", "good")
    worse: Span = (f"worse, {value} {row.rejected_value:.3g}", "bad")
    for title, steps in ((better, turns.chosen), (worse, turns.rejected)):
        lines += [(), rule(title, width), *_steps(steps, shared, width)]
    return lines


def _steps(steps: Sequence[Step], before: int, width: int) -> list[Line]:
    lines: list[Line] = []
    for number, step in enumerate(steps, start=before + 1):
        lines.append(((f" step {number}", "dim"),))
        lines += lay_out_turn(step.text, width)
        if step.observation:
            lines += barred(step.observation, "saw", "dim", width)
    return lines
