"""Labels that fit a plot's margin and still differ where what they name differs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from agentr_lite.console.text import display_width, truncate


def fitted(labels: Sequence[str], columns: int) -> list[str]:
    """Labels cut to a number of terminal columns; different ones stay different.

    A cut at the end comes first. Where it makes two labels equal, their common beginning is left
    out, then their middle; at last they are numbered.

    Args:
        labels: any texts; equal ones may occur.
        columns: at least 6.
    """
    settings, words = (_common_beginning(labels, after) for after in (r", ", r"[\s,:/_-]+"))
    ways: tuple[Callable[[int, str], str], ...] = (
        lambda number, label: truncate(label, columns),
        lambda number, label: truncate(f"…{label[settings:]}" if settings else label, columns),
        lambda number, label: truncate(f"…{label[words:]}" if words else label, columns),
        lambda number, label: _without_middle(label, columns),
        lambda number, label: truncate(f"{number}: {label}", columns),
    )
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels), 1)}
    shown: dict[str, str] = {}
    for way in ways:
        shown = {label: way(number, label) for label, number in numbers.items()}
        if len(set(shown.values())) == len(numbers):
            break
    return [shown[label] for label in labels]


def _common_beginning(labels: Sequence[str], after: str) -> int:
    """Characters that all labels begin with, up to the last match of a pattern in them."""
    shared = 0
    for characters in zip(*labels, strict=False):
        if len(set(characters)) > 1:
            break
        shared += 1
    ends = [match.end() for match in re.finditer(after, labels[0][:shared])] if labels else []
    return ends[-1] if ends else 0


def _without_middle(label: str, columns: int) -> str:
    if display_width(label) <= columns:
        return label
    end, room = "", (columns - 1) // 2
    for character in reversed(label):
        if display_width(character + end) > room:
            break
        end = character + end
    return f"{truncate(label, columns - display_width(end))}{end}"
