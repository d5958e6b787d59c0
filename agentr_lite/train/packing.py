"""Sequences with common beginnings as one row, in which each beginning stands once.

Three continuations of one conversation::

    sequences                 row                      branches
    a b c d                   a b c d | e | f g        0-4
    a b e                     0 1 2 3   4   5 6        0-2, 4-5
    a b e f g                                          0-2, 4-5, 5-7

A branch is the way to its end: the spans of the row from its root. Its last span is its own; the
others are earlier branches'. Each token of the row is in one own span, attends to what comes before
it on the way, and has its place on the way as its position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Branch = tuple[tuple[int, int], ...]
"""Spans (begin, end) of a row, in the order of the way; the last one is the branch's own."""


@dataclass(frozen=True)
class Packed:
    """Sequences as one row.

    Attributes:
        tokens: the row.
        branches: in the order of their own spans, which together are the row.
        places: one array for each sequence: where its tokens stand in the row.
    """

    tokens: list[int]
    branches: tuple[Branch, ...]
    places: list[npt.NDArray[np.int64]]


def pack(sequences: Sequence[Sequence[int]]) -> Packed:
    """Write sequences with common beginnings into one row.

    Args:
        sequences: of tokens, none of them empty. Those without a common beginning share nothing
            but the row.

    Returns:
        The row. It depends on the order of the sequences only in ``places``.
    """
    tokens: list[int] = []
    branches: list[Branch] = []
    places: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)] * len(sequences)
    before: Sequence[int] = ()
    way: Branch = ()
    # In this order, no earlier sequence has more in common with one than its neighbour.
    for index in sorted(range(len(sequences)), key=lambda index: list(sequences[index])):
        sequence = sequences[index]
        shared = common(before, sequence)
        way = _first(way, shared)
        if shared < len(sequence):
            way = (*way, (len(tokens), len(tokens) + len(sequence) - shared))
            branches.append(way)
            tokens += sequence[shared:]
        places[index] = np.concatenate([np.arange(*span) for span in way])
        before = sequence
    return Packed(tokens, tuple(branches), places)


def packed_length(sequences: Sequence[Sequence[int]]) -> int:
    """Tokens of ``pack``'s row."""
    ordered = sorted(sequences, key=list)
    shared = sum(map(common, ordered, ordered[1:]))
    return sum(map(len, ordered)) - shared


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many first tokens two sequences share."""
    length = min(len(one), len(other))
    differing = np.flatnonzero(np.asarray(one[:length]) != np.asarray(other[:length]))
    return int(differing[0]) if len(differing) else length


def _first(way: Branch, length: int) -> Branch:
    """The beginning of a way, up to so many tokens."""
    kept: list[tuple[int, int]] = []
    for begin, end in way:
        if length <= 0:
            break
        kept.append((begin, min(end, begin + length)))
        length -= end - begin
    return tuple(kept)
