"""The marks of a tree's nodes, from the tree's numbers alone."""

from __future__ import annotations

from agentr_lite.console.outcomes import Mark, mark_of
from agentr_lite.store.inspection import DISASTER, INVALID, KINDS, TERMINATED, TRUNCATED, TreeShape


def mark_in(shape: TreeShape, idx: int) -> Mark:
    """The mark of a node of a tree."""
    flags = shape.flags[idx]
    return mark_of(
        KINDS[shape.kind[idx]],
        shape.reward[idx],
        terminated=bool(flags & TERMINATED),
        truncated=bool(flags & TRUNCATED),
        invalid=bool(flags & INVALID),
        disaster=bool(flags & DISASTER),
        visits=shape.visits[idx],
    )
