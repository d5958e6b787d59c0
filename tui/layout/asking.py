"""The critic that is asked about a tree: what it does, and what became of it."""

from __future__ import annotations

from ..critic_desk import CriticDesk, problem_text
from .lines import Line, one_line


def asking_line(desk: CriticDesk, tree_id: int) -> tuple[Line, Line]:
    """The left and the right part of a line on what the critic is asked; empty: nothing.

    Args:
        desk: where the critic is asked.
        tree_id: the tree that is shown.
    """
    if desk.asking == tree_id:
        return ((" ● ", "good"), (f"critic: {desk.doing} …", "plain")), (("a cancels ", "dim"),)
    if desk.asking is not None:
        return ((" ● ", "good"), ("critic: asked about another tree", "dim")), ()
    if tree_id in desk.problems:
        text = one_line(problem_text(desk.problems[tree_id]))
        return ((" ✗ ", "bad"), (f"critic: {text}", "bad")), ()
    if tree_id in desk.answers and desk.answers[tree_id].note:
        note = one_line(desk.answers[tree_id].note)
        return ((" ○ ", "partial"), (f"critic: shown, not stored: {note}", "partial")), ()
    return (), ()


def asking_notes(desk: CriticDesk, tree_id: int) -> list[Line]:
    """What the detail of a tree's start says about asking."""
    if tree_id in desk.problems:
        return [((one_line(problem_text(desk.problems[tree_id])), "bad"),)]
    return [(("Press a to ask the critic which step was wrong first.", "signal"),)]
