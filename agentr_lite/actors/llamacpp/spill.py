"""Cells that were evicted from the cache and are kept in RAM, within a budget of bytes.

Copying a prefix's cells out and back takes milliseconds; computing them takes seconds. So evicted
prefixes are kept as long as there is memory for them.
"""

from __future__ import annotations

from agentr_lite.actors.llamacpp.segments import CellBytes, Saved, Segment


class Spill:
    """The segments of one prefix tree whose cells are in RAM, oldest first.

    Leaves are evicted first, so a segment was always put here later than the segments below it:
    the oldest one has no children.

    Attributes:
        budget_bytes: most bytes that may be held; 0 = nothing is kept.
        used_bytes: bytes that are held.
        spilled_tokens: tokens put here so far.
        restored_tokens: tokens brought back into the cache so far.
    """

    def __init__(self, budget_bytes: int = 0) -> None:
        self.budget_bytes = budget_bytes
        self.spilled_tokens = 0
        self.restored_tokens = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything that is held."""
        self.used_bytes = 0
        # A dictionary for its order.
        self._segments: dict[Segment, None] = {}

    def __contains__(self, segment: Segment) -> bool:
        return segment in self._segments

    def __len__(self) -> int:
        return len(self._segments)

    def put(self, segment: Segment, data: CellBytes) -> None:
        """Hold a segment's cells. This may exceed the budget; then call ``over_budget``."""
        self._hold(segment, Saved(data, len(segment.tokens)))
        self.used_bytes += data.nbytes
        self.spilled_tokens += len(segment.tokens)

    def drop(self, segment: Segment) -> None:
        """Drop a segment's cells: they are in the cache again, or no longer wanted."""
        saved = segment.saved
        assert saved is not None
        del self._segments[segment]
        segment.saved = None
        saved.users -= 1
        if not saved.users:
            self.used_bytes -= saved.data.nbytes

    def split(self, upper: Segment, lower: Segment) -> None:
        """Hold ``upper`` as well, which was cut off the top of ``lower``."""
        assert lower.saved is not None
        self._hold(upper, lower.saved)

    def over_budget(self) -> Segment | None:
        """The segment to drop next; None if the budget is kept or all segments are pinned."""
        if self.used_bytes <= self.budget_bytes:
            return None
        return next((segment for segment in self._segments if not segment.pins), None)

    def _hold(self, segment: Segment, saved: Saved) -> None:
        segment.saved = saved
        saved.users += 1
        self._segments[segment] = None
