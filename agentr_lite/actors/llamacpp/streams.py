"""Streams: conversations that each have cells of their own, so attention reads no others.

Each stream is a sequence of llama.cpp with a fixed number of cells. A prefix that several
conversations share is in the cells of each, so a fork copies cells::

    stream 0 | system prompt | task A | turn 1 | turn 2      grows
    stream 1 | system prompt | task B | turn 1               idle: task B may go on
    stream 2 | system prompt | task A | turn 1 | turn 2'     grows; copied from stream 0
    RAM      | system prompt | task C | turn 1               overwritten by stream 2

A copy takes about as long as computing a few tokens. In return, a step over many conversations
reads the weights once, and each conversation's cells once.

The state of recurrent layers belongs to a stream as its cells do, but it cannot be cut back. Where
a stream has to be, its state is replaced by one that was saved at that place (``Checkpoints``). The
cells of a sliding window are such a state, but can be cut back as far as older cells are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from agentr_lite.actors.llamacpp.segments import CellBytes
from agentr_lite.actors.llamacpp.shelf import Checkpoints, Saved, Shelf, Tokens, common, reach

_APART = 8
"""Least distance of saved states in tokens: each divides a prompt, and small parts are slow."""


class StreamMemory(Protocol):
    """The part of a context that streams use. Sequence ids are in [0, n)."""

    def remove(self, sequence: int, start: int = 0, end: int = -1) -> None:
        """Free the cells at positions [start, end); -1 = to the last."""

    def save_sequence(self, sequence: int) -> CellBytes:
        """A copy of all cells."""

    def load_sequence(self, data: CellBytes, sequence: int) -> None:
        """Replace all cells by the saved ones."""

    def save_state(self, sequence: int) -> CellBytes:
        """A copy of the state of the recurrent layers, or of the windows' cells."""

    def rewind(self, sequence: int, state: CellBytes, end: int) -> None:
        """Cut a stream with such a state back to [0, end), where ``state`` was saved."""

    def shortest(self, sequence: int) -> int:
        """With windows: the least tokens to which a stream can be cut back without a state."""

    def copy_stream(self, source: int, targets: Sequence[int]) -> None:
        """Replace all cells of ``targets`` by copies of ``source``'s."""

    def exchange_streams(self, left: int, right: int) -> None:
        """Let two sequences change places."""

    def clear(self) -> None:
        """Empty the cache."""


class Stream:
    """The tokens in one sequence's cells."""

    __slots__ = ("_cells", "busy", "length", "marks", "sequence", "stamp")

    def __init__(self, sequence: int, capacity: int) -> None:
        self._cells = np.zeros(capacity, np.int32)
        self.sequence = sequence
        """llama.cpp's id; it changes when the stream changes places with another."""
        self.length = 0
        """Cells in use: positions [0, length)."""
        self.busy = False
        """Whether a continuation grows here; then it is neither moved away nor overwritten."""
        self.stamp = 0
        """When it was last used, by the clock of ``Streams``."""
        self.marks: list[int] = []
        """Lengths, ascending, at which ``Streams.mark`` is to be called while a prompt is computed
        here."""

    @property
    def tokens(self) -> Tokens:
        """(length,): a view."""
        return self._cells[: self.length]

    def extend(self, tokens: Sequence[int] | Tokens) -> None:
        """Note that ``tokens`` take the next cells."""
        end = self.length + len(tokens)
        self._cells[self.length : end] = tokens
        self.length = end


class Streams:
    """Which tokens are in which stream; who may be overwritten; copies and moves.

    Attributes:
        streams: all streams, in no order that matters.
        capacity: cells of a stream.
        shelf: overwritten streams in RAM.
        rollbacks: how often tokens were known that a prompt begins with, but not the state after
            them, so that an earlier one was taken.
        recomputed_tokens: tokens from these states on that had to be computed again.
    """

    def __init__(
        self,
        memory: StreamMemory,
        *,
        count: int,
        capacity: int,
        copy_tokens: int,
        spill_bytes: int = 0,
        recurrent: bool = False,
        cells: bool = True,
        window: int = 0,
    ) -> None:
        """
        Args:
            memory: holds the cells.
            count: number of streams; their ids run from 0 to ``count - 1``.
            capacity: cells of a stream.
            copy_tokens: a copy costs as much as computing this many tokens, so it must save more.
            spill_bytes: RAM for overwritten streams, and for states.
            recurrent: whether some layers have a state that cannot be cut back.
            cells: whether some layers have keys and values.
            window: tokens of the sliding window whose cells alone are kept in some layers; 0: there
                are no such layers.
        """
        self._memory = memory
        self._count = count
        self._worth = copy_tokens
        self.capacity = capacity
        self._window = window
        self._states = (
            Checkpoints(spill_bytes, cells=cells, window=window) if recurrent or window else None
        )
        self.shelf = self._states or Shelf(spill_bytes)
        self.rollbacks = 0
        self.recomputed_tokens = 0
        self._reset()

    def _reset(self) -> None:
        self.streams = [Stream(sequence, self.capacity) for sequence in range(self._count)]
        self.shelf.clear()
        self._clock = 0
        self._expected: list[Tokens] = []

    def clear(self) -> None:
        """Forget everything, even what grows."""
        self._memory.clear()
        self._reset()

    def expect(self, prompts: Sequence[Sequence[int]]) -> None:
        """Note that these prompts are next, the first one first: what they need is kept longest."""
        self._expected = [np.asarray(prompt, np.int32) for prompt in prompts]
        for wanted in reversed(self._expected):
            best = max(self.streams, key=lambda stream: common(stream.tokens, wanted))
            if common(best.tokens, wanted) > self._worth:
                self._touch(best)

    def take(self, prompt: Sequence[int]) -> tuple[Stream, int]:
        """Give a prompt a stream that is not busy; there must be one. It is busy then.

        Where the prompt goes on with what an idle stream holds, this is the stream. Otherwise the
        least recently used idle stream is overwritten, with a copy of the longest common prefix if
        one is known and long enough to pay.

        Returns:
            The stream; and how many of the prompt's tokens it holds. It holds nothing else.
        """
        wanted = np.asarray(prompt, np.int32)
        places = self.shelf.places(wanted)
        alike = {stream: common(stream.tokens, wanted) for stream in self.streams}
        same = {
            stream: reach(alike[stream], self._shortest(stream, stream.length), places)
            for stream in self.streams
        }
        copies = {
            stream: reach(alike[stream], self._copys_shortest(stream), places)
            for stream in self.streams
        }
        source = max(self.streams, key=lambda stream: copies[stream])
        entry, held = self.shelf.best(wanted, places)
        known = max(copies[source], held)
        target = self._continued(same, known)
        copied = known > same[target] + self._worth
        kept = known if copied else same[target]
        # What is saved below may take the room of this state.
        state = self._states.state(wanted[:kept]) if self._states else None
        marks = self._marks(wanted, kept, max(alike.values()))
        self._keep(target, 0 if copied else kept)
        length = target.length
        restored = copied and entry is not None and held > copies[source]
        if restored and entry is not None:
            self._memory.load_sequence(entry.data, target.sequence)
            length = len(entry.tokens)
            self.shelf.use(entry, held)
        elif copied:
            self._memory.copy_stream(source.sequence, [target.sequence])
            length = source.length
        self._cut(target, length, kept, state)
        target.length = 0
        target.extend(wanted[:kept])
        target.marks = marks
        target.busy = True
        self._touch(target)
        if restored and kept == length:
            # The state went into the stream, which goes on.
            self.mark(target)
        return target, kept

    def _shortest(self, stream: Stream, length: int) -> int:
        """The least of a stream's ``length`` tokens to which it can be cut back by itself."""
        # Only the memory knows how many cells are left from before the window.
        return (
            self._memory.shortest(stream.sequence) if self._window else self.shelf.shortest(length)
        )

    def _copys_shortest(self, stream: Stream) -> int:
        """The same of a copy."""
        return self.shelf.shortest(stream.length, self._shortest(stream, stream.length))

    def _cut(self, stream: Stream, length: int, kept: int, state: Saved | None) -> None:
        """Cut a stream of ``length`` cells back to ``kept``."""
        if not kept or kept >= self._shortest(stream, length):
            self._memory.remove(stream.sequence, kept)
            return
        if state is None:
            raise RuntimeError("a stream is cut back to a place without a state")
        self._memory.rewind(stream.sequence, state.data, kept)

    def _marks(self, wanted: Tokens, kept: int, met: int) -> list[int]:
        """Where states are worth saving: where other conversations part from this one.

        These are the end, at which the samples begin; and the places at which known or expected
        conversations have other tokens.
        """
        if self._states is None:
            return []
        met = max(met, self._states.met(wanted))
        if met > kept + self._worth:
            self.rollbacks += 1
            self.recomputed_tokens += met - kept
        if not self.shelf.budget_bytes:
            return []
        size = len(wanted)
        partings = {met, *(common(wanted, prompt) for prompt in self._expected)}
        marks: list[int] = []
        last = kept
        for place in sorted(partings):
            if last + _APART <= place <= size - _APART:
                marks.append(place)
                last = place
        return [*marks, size] if size else marks

    def mark(self, stream: Stream) -> None:
        """Save the state at a stream's end, so that other conversations can go on from here."""
        states = self._states
        if states is not None and not states.holds_state(stream.tokens):
            states.put_state(stream.tokens, self._memory.save_state(stream.sequence))

    def _continued(self, same: dict[Stream, int], known: int) -> Stream:
        """The idle stream to use: in place if that loses nothing, else the one to overwrite.

        Args:
            same: what each stream can give in place.
            known: what a copy can give.
        """
        near = [
            stream
            for stream in self.streams
            if not stream.busy and same[stream] + self._worth >= known
        ]
        for stream in sorted(near, key=lambda stream: (-same[stream], stream.length)):
            lost = stream.length - same[stream]
            # Beside its window, a stream may have cells that a copy would not get. What it loses
            # waits in RAM, if there is room.
            given = same[stream] - known - (0 if self.shelf.budget_bytes else lost)
            pays = lost <= self._worth or given > self._worth
            if same[stream] and (pays or self._elsewhere(stream)):
                return stream
        return self._oldest()

    def fork(self, stream: Stream, count: int) -> list[Stream]:
        """Copies of a busy stream, busy too; ``count`` streams must be idle."""
        copies: list[Stream] = []
        for _ in range(count):
            target = self._oldest()
            self._keep(target, 0)
            target.length = 0
            target.extend(stream.tokens)
            target.busy = True
            self._touch(target)
            copies.append(target)
        if copies:
            self._memory.copy_stream(stream.sequence, [copy.sequence for copy in copies])
        return copies

    def release(self, stream: Stream) -> None:
        """Nothing grows on ``stream`` any more; it keeps its tokens until it is overwritten."""
        stream.busy = False
        self._touch(stream)

    def pack(self) -> None:
        """Give the busy streams neighbouring ids, by exchanging streams."""
        busy = [stream for stream in self.streams if stream.busy]
        by_id = {stream.sequence: stream for stream in self.streams}

        def inside(start: int) -> int:
            return sum(start <= stream.sequence < start + len(busy) for stream in busy)

        start = max(range(self._count - len(busy) + 1), key=inside)
        window = range(start, start + len(busy))
        holes = (by_id[place] for place in window if not by_id[place].busy)
        for stream in busy:
            if stream.sequence not in window:
                self._exchange(stream, next(holes))

    def _exchange(self, stream: Stream, other: Stream) -> None:
        if other.length:
            self._memory.exchange_streams(stream.sequence, other.sequence)
        else:
            self._memory.copy_stream(stream.sequence, [other.sequence])
            self._memory.remove(stream.sequence)
        stream.sequence, other.sequence = other.sequence, stream.sequence

    def _oldest(self) -> Stream:
        """The idle stream to overwrite: an empty one, or the least recently used."""
        idle = [stream for stream in self.streams if not stream.busy]
        if not idle:
            raise RuntimeError("all streams are busy")
        return min(idle, key=lambda stream: (bool(stream.length), stream.stamp))

    def _keep(self, stream: Stream, kept: int) -> None:
        """Save in RAM what is lost if all but ``kept`` tokens are overwritten."""
        if (
            self.shelf.budget_bytes
            and stream.length > kept + self._worth
            and not self._elsewhere(stream)
        ):
            own = self._shortest(stream, stream.length)
            self.shelf.put(stream.tokens, self._memory.save_sequence(stream.sequence), own)

    def _elsewhere(self, stream: Stream) -> bool:
        """Whether another stream or the RAM can give all of a stream's tokens."""
        tokens = stream.tokens
        places = self.shelf.places(tokens)
        return self.shelf.best(tokens, places)[1] == len(tokens) or any(
            reach(common(other.tokens, tokens), self._copys_shortest(other), places) == len(tokens)
            for other in self.streams
            if other is not stream
        )

    def _touch(self, stream: Stream) -> None:
        self._clock += 1
        stream.stamp = self._clock
