"""Streams: conversations that each have cells of their own, so attention reads no others.

Each stream is a sequence of llama.cpp with a fixed number of cells. A prefix that several
conversations share is in the cells of each, so a fork copies cells::

    stream 0 | system prompt | task A | turn 1 | turn 2      grows
    stream 1 | system prompt | task B | turn 1               idle: task B may go on
    stream 2 | system prompt | task A | turn 1 | turn 2'     grows; copied from stream 0
    RAM      | system prompt | task C | turn 1               overwritten by stream 2

A copy takes about as long as computing a few tokens. In return, a step over many conversations
reads the weights once, and each conversation's cells once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from agentr_lite.actors.llamacpp.segments import CellBytes

Tokens = npt.NDArray[np.int32]
"""(n,): token ids."""


class StreamMemory(Protocol):
    """The part of a context that streams use. Sequence ids are in [0, n)."""

    def remove(self, sequence: int, start: int = 0, end: int = -1) -> None:
        """Free the cells at positions [start, end); -1 = to the last."""

    def save_sequence(self, sequence: int) -> CellBytes:
        """A copy of all cells."""

    def load_sequence(self, data: CellBytes, sequence: int) -> None:
        """Replace all cells by the saved ones."""

    def copy_stream(self, source: int, targets: Sequence[int]) -> None:
        """Replace all cells of ``targets`` by copies of ``source``'s."""

    def exchange_streams(self, left: int, right: int) -> None:
        """Let two sequences change places."""

    def clear(self) -> None:
        """Empty the cache."""


class Stream:
    """The tokens in one sequence's cells."""

    __slots__ = ("_cells", "busy", "length", "sequence", "stamp")

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

    @property
    def tokens(self) -> Tokens:
        """(length,): a view."""
        return self._cells[: self.length]

    def extend(self, tokens: Sequence[int] | Tokens) -> None:
        """Note that ``tokens`` take the next cells."""
        end = self.length + len(tokens)
        self._cells[self.length : end] = tokens
        self.length = end


class Saved:
    """An overwritten stream in RAM."""

    __slots__ = ("data", "tokens")

    def __init__(self, tokens: Tokens, data: CellBytes) -> None:
        self.tokens = tokens
        self.data = data


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

    def put(self, tokens: Tokens, data: CellBytes) -> None:
        """Hold a stream. Shorter entries that it begins with are dropped."""
        self.spilled_tokens += len(tokens)
        for entry in list(self.entries):
            if begins(tokens, entry.tokens):
                self.drop(entry)
        self.entries.append(Saved(tokens.copy(), data))
        self.used_bytes += data.nbytes
        while self.used_bytes > self.budget_bytes:
            self.drop(self.entries[0])

    def best(self, wanted: Tokens) -> tuple[Saved | None, int]:
        """The entry with the longest common prefix, and the prefix's length."""
        best, most = None, 0
        for entry in self.entries:
            same = common(entry.tokens, wanted)
            if same > most:
                best, most = entry, same
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


class Streams:
    """Which tokens are in which stream; who may be overwritten; copies and moves.

    Attributes:
        streams: all streams, in no order that matters.
        capacity: cells of a stream.
        shelf: overwritten streams in RAM.
    """

    def __init__(
        self,
        memory: StreamMemory,
        *,
        count: int,
        capacity: int,
        copy_tokens: int,
        spill_bytes: int = 0,
    ) -> None:
        """
        Args:
            memory: holds the cells.
            count: number of streams; their ids run from 0 to ``count - 1``.
            capacity: cells of a stream.
            copy_tokens: a copy costs as much as computing this many tokens, so it must save more.
            spill_bytes: RAM for overwritten streams.
        """
        self._memory = memory
        self._count = count
        self._worth = copy_tokens
        self.capacity = capacity
        self.shelf = Shelf(spill_bytes)
        self._reset()

    def _reset(self) -> None:
        self.streams = [Stream(sequence, self.capacity) for sequence in range(self._count)]
        self.shelf.clear()
        self._clock = 0

    def clear(self) -> None:
        """Forget everything, even what grows."""
        self._memory.clear()
        self._reset()

    def expect(self, prompts: Sequence[Sequence[int]]) -> None:
        """Note that these prompts are next, the first one first: what they need is kept longest."""
        for prompt in reversed(prompts):
            wanted = np.asarray(prompt, np.int32)
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
        same = {stream: common(stream.tokens, wanted) for stream in self.streams}
        source = max(self.streams, key=lambda stream: same[stream])
        entry, held = self.shelf.best(wanted)
        known = max(same[source], held)
        target = self._continued(same, known)
        kept = same[target]
        if known > kept + self._worth:
            self._keep(target, 0)
            kept = known
            if entry is not None and held > same[source]:
                self._memory.load_sequence(entry.data, target.sequence)
                self.shelf.use(entry, held)
            else:
                self._memory.copy_stream(source.sequence, [target.sequence])
        else:
            self._keep(target, kept)
        self._memory.remove(target.sequence, kept)
        target.length = 0
        target.extend(wanted[:kept])
        target.busy = True
        self._touch(target)
        return target, kept

    def _continued(self, same: dict[Stream, int], known: int) -> Stream:
        """The idle stream to use: in place if that loses nothing, else the one to overwrite."""
        near = [
            stream
            for stream in self.streams
            if not stream.busy and same[stream] + self._worth >= known
        ]
        for stream in sorted(near, key=lambda stream: (-same[stream], stream.length)):
            lost = stream.length - same[stream]
            if same[stream] and (lost <= self._worth or self._elsewhere(stream)):
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
            self.shelf.put(stream.tokens, self._memory.save_sequence(stream.sequence))

    def _elsewhere(self, stream: Stream) -> bool:
        """Whether another stream or the RAM has all of a stream's tokens."""
        tokens = stream.tokens
        return any(
            other is not stream and begins(other.tokens, tokens) for other in self.streams
        ) or any(begins(entry.tokens, tokens) for entry in self.shelf.entries)

    def _touch(self, stream: Stream) -> None:
        self._clock += 1
        stream.stamp = self._clock


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
