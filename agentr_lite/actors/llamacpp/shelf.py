"""Overwritten streams in RAM, and the states that some layers had at places of a conversation.

Keys and values can be cut back to any place, so a stream of them serves every conversation that
begins like it. A recurrent layer's state can only go on from where it was saved. So for models with
such layers, states are saved where conversations may part; a stream is cut back to such a
checkpoint by putting the state beside the keys and values that are still there. If layers with a
sliding window keep their window's cells only, these cells are such a state, too::

    tokens      | system prompt | task A | turn 1 | answer |
    cells       kept, cut back to any place
    states                      ^        ^        ^
                                saved    saved    the stream's own

Source: Marconi (arXiv 2411.19379) saves states at the ends of texts and where texts part, and
evicts by what a state saves to compute. The eviction is GreedyDual-Size (P. Cao, S. Irani,
"Cost-aware WWW proxy caching algorithms", USITS 1997).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from agentr_lite.actors.llamacpp.segments import CellBytes

Tokens = npt.NDArray[np.int32]
"""(n,): token ids."""
Places = Sequence[int]
"""Numbers of tokens, ascending, to which streams can be cut back by a saved state."""


class Saved:
    """What is held in RAM."""

    __slots__ = ("data", "rank", "shortest", "tokens", "whole", "worth")

    def __init__(
        self, tokens: Tokens, data: CellBytes, *, whole: bool = True, shortest: int = 0
    ) -> None:
        self.tokens = tokens
        self.data = data
        self.whole = whole
        """A whole stream; otherwise its state alone."""
        self.shortest = shortest
        """The least tokens to which a whole stream can be cut back without a saved state."""
        self.worth = 0.0
        """Tokens that it saves to compute, for each byte."""
        self.rank = 0.0
        """The lowest is dropped first."""


class Shelf:
    """Overwritten streams within a budget of bytes; drops the least recently used.

    Attributes:
        budget_bytes: most bytes that are held; 0 = nothing is kept.
        used_bytes: bytes that are held.
        entries: what is held, the least recently used first.
        spilled_tokens: tokens put here so far.
        restored_tokens: prompt tokens taken from here so far instead of computed.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.spilled_tokens = 0
        self.restored_tokens = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything that is held."""
        self.entries: list[Saved] = []
        self.used_bytes = 0

    def put(self, tokens: Tokens, data: CellBytes, own: int = 0) -> None:
        """Hold a stream. Shorter entries that it begins with are dropped.

        Args:
            tokens: of the stream.
            data: a copy of its cells.
            own: see ``shortest``.
        """
        self.spilled_tokens += len(tokens)
        for entry in list(self.entries):
            if begins(tokens, entry.tokens):
                self.drop(entry)
        self.entries.append(self._saved(tokens, data, own))
        self.used_bytes += data.nbytes
        while self.used_bytes > self.budget_bytes:
            self.drop(self.entries[0])

    def _saved(self, tokens: Tokens, data: CellBytes, own: int) -> Saved:
        return Saved(tokens.copy(), data, shortest=self.shortest(len(tokens), own))

    def places(self, wanted: Tokens) -> Places:
        """Where states are held of streams that begin like ``wanted``."""
        return ()

    def shortest(self, length: int, own: int = 0) -> int:
        """The least tokens to which a copy of a stream can be cut back without a saved state.

        Args:
            length: tokens of the stream.
            own: the same of the stream itself.
        """
        return 0

    def best(self, wanted: Tokens, places: Places = ()) -> tuple[Saved | None, int]:
        """The stream that gives most of a prompt's tokens, and how many."""
        best, most = None, 0
        for entry in self.entries:
            if entry.whole:
                given = reach(common(entry.tokens, wanted), entry.shortest, places)
                if given > most:
                    best, most = entry, given
        return best, most

    def use(self, entry: Saved, same: int) -> None:
        """Note that a stream took the first ``same`` tokens of ``entry``."""
        self.restored_tokens += same
        # The entry may be gone: room was made for the stream that was overwritten.
        if entry in self.entries:
            self.entries.remove(entry)
            if same < len(entry.tokens):
                self.entries.append(entry)
            else:
                self.used_bytes -= entry.data.nbytes

    def drop(self, entry: Saved) -> None:
        """Forget an entry."""
        self.entries.remove(entry)
        self.used_bytes -= entry.data.nbytes


class Checkpoints(Shelf):
    """Overwritten streams, and states, of streams that have them; drops the least useful.

    What is dropped first saves the fewest tokens for its bytes, and was not used for long.
    """

    def __init__(self, budget_bytes: int, *, cells: bool, window: int = 0) -> None:
        """
        Args:
            budget_bytes: most bytes that are held; 0 = nothing is kept.
            cells: whether some layers have keys and values. If none has, a state is all there is
                of a stream.
            window: the states are the cells of a window of so many tokens; 0: of recurrent layers.
        """
        self._cells = cells
        self._window = window
        super().__init__(budget_bytes)

    def clear(self) -> None:
        """See ``Shelf``."""
        super().clear()
        self._clock = 0.0

    def put(self, tokens: Tokens, data: CellBytes, own: int = 0) -> None:
        """See ``Shelf``. Shorter entries stay."""
        self.spilled_tokens += len(tokens)
        self._hold(self._saved(tokens, data, own))

    def put_state(self, tokens: Tokens, data: CellBytes) -> None:
        """Hold the state after ``tokens``."""
        size = len(tokens)
        self._hold(Saved(tokens.copy(), data, whole=not self._cells, shortest=size))

    def holds_state(self, tokens: Tokens) -> bool:
        """Whether the state after ``tokens`` is held."""
        return self._find(tokens, whole=not self._cells) is not None

    def shortest(self, length: int, own: int = 0) -> int:
        """See ``Shelf``. A copy has no cells from before the window of the stream's last token.

        The stream has no more than these itself if it was cut back as far as possible.
        """
        if not self._window:
            return length
        return max(own, 0 if length <= self._window else length - 1)

    def places(self, wanted: Tokens) -> list[int]:
        """See ``Shelf``."""
        return sorted(
            len(entry.tokens)
            for entry in self.entries
            if not entry.whole and begins(wanted, entry.tokens)
        )

    def state(self, tokens: Tokens) -> Saved | None:
        """The state after ``tokens``, if it is held; it counts as used."""
        entry = self._find(tokens, whole=False)
        if entry is not None:
            self._rank(entry)
        return entry

    def use(self, entry: Saved, same: int) -> None:
        """See ``Shelf``. The state at the end of ``entry`` is lost with it, unless it is all."""
        if self._cells:
            super().use(entry, same)
        else:
            self.restored_tokens += same
        self._rank(entry)

    def met(self, wanted: Tokens) -> int:
        """The longest common prefix of ``wanted`` and anything that is held."""
        return max((common(entry.tokens, wanted) for entry in self.entries), default=0)

    def _find(self, tokens: Tokens, *, whole: bool) -> Saved | None:
        size = len(tokens)
        for entry in self.entries:
            alike = entry.whole == whole and len(entry.tokens) == size
            if alike and begins(entry.tokens, tokens):
                return entry
        return None

    def _hold(self, entry: Saved) -> None:
        known = self._find(entry.tokens, whole=entry.whole)
        if known is not None:
            self.drop(known)
        before = max(
            (
                len(other.tokens)
                for other in self.entries
                if other.whole == entry.whole and begins(entry.tokens, other.tokens)
            ),
            default=0,
        )
        entry.worth = (len(entry.tokens) - before) / max(1, entry.data.nbytes)
        self._rank(entry)
        self.entries.append(entry)
        self.used_bytes += entry.data.nbytes
        while self.used_bytes > self.budget_bytes:
            least = min(self.entries, key=lambda entry: entry.rank)
            self._clock = least.rank
            self.drop(least)

    def _rank(self, entry: Saved) -> None:
        entry.rank = self._clock + entry.worth


def reach(same: int, shortest: int, places: Places) -> int:
    """How many tokens of a prompt a stream can give.

    Args:
        same: tokens that both begin with.
        shortest: the least tokens to which it can be cut back without a saved state.
        places: where it can be cut back to by a saved one.
    """
    if same >= shortest:
        return same
    at = bisect_right(places, same)
    return places[at - 1] if at else 0


def common(left: Tokens, right: Tokens) -> int:
    """The length of the longest common prefix."""
    size = min(len(left), len(right))
    differ = left[:size] != right[:size]
    at = int(differ.argmax()) if size else 0
    return at if size and differ[at] else size


def begins(longer: Tokens, shorter: Tokens) -> bool:
    """Whether ``longer`` begins with ``shorter``."""
    size = len(shorter)
    return size <= len(longer) and bool((longer[:size] == shorter).all())
