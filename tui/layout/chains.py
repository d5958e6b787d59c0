"""A folded chain as one line: its beginning, its first bad step, and its end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .lines import Span, crop, width_of

SHOWN = 5
"""Nodes of a longer chain that are named: its first ones and its last."""

Part = tuple[int, Sequence[Span], Sequence[Span]]
"""A step's place in the chain, the step, and the sign of its error."""


def named(chain: Sequence[int], focus: int) -> list[int]:
    """The places of a chain's nodes that its line names: the first ones, ``focus`` and the last."""
    if len(chain) <= SHOWN:
        return list(range(len(chain)))
    return sorted({*range(SHOWN - 1), chain.index(focus), len(chain) - 1})


def fitted(step: Sequence[Span], sign: Sequence[Span], width: int) -> list[Span]:
    """A step with the sign behind it; without room, the step is cut and the sign is kept."""
    return [*crop(step, max(4, width - width_of(sign))), *sign]


def joined(parts: Iterable[Part], *, focus: int, last: int, room: int) -> list[Span]:
    """The named steps of a chain in a line; the step that matters and the end are kept longest.

    Args:
        parts: the steps in order, some of them left out.
        focus: the place of the step that matters most.
        last: the place of the chain's last step.
        room: terminal columns.
    """
    head: list[Span] = []
    kept: list[Span] = []
    middle: list[Span] = []
    end: list[Span] = []
    behind = -1
    for place, step, sign in parts:
        if place == last:
            part = end
        elif place == focus:
            part = kept
        else:
            part = middle if kept else head
        if place > behind + 1:
            part.append((" › …", "dim"))
        part += fitted(step, sign, 2 * room // 3) if place == focus else [*step, *sign]
        behind = place
    left = max(0, room - width_of(kept) - width_of(end))
    if width_of(head) + width_of(middle) > left:
        head = [*crop(head, max(left - width_of(middle), left // 2, room // 3))]
        middle = [*crop(middle, max(0, left - width_of(head)))]
    return [*head, *kept, *middle, *end]
