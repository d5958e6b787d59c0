"""Streams whose windows lose old cells: what is cut back, copied and saved, on visible cells."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from agentr_lite.actors.llamacpp.integrity import check_streams
from agentr_lite.actors.llamacpp.segments import CellBytes
from agentr_lite.actors.llamacpp.shelf import Checkpoints
from agentr_lite.actors.llamacpp.streams import Stream, Streams
from tests.support.packed_texts import packed, unpacked

CAPACITY = 256
WORTH = 3
WINDOW = 10
SPARE = 6
"""Cells that a stream has beside its window."""


class FakeWindowMemory:
    """Cells that are the tokens themselves; windows hold the last ones, and a copy no others."""

    def __init__(self, count: int) -> None:
        self.cells: list[list[int]] = [[] for _ in range(count)]
        self.first = [0] * count
        """The first position in the windows."""
        self.copies = 0

    def compute(self, sequence: int, tokens: Sequence[int]) -> None:
        held = self.cells[sequence]
        assert self.shortest(sequence) <= len(held), "the window has a hole"
        held += tokens
        self.first[sequence] = max(self.first[sequence], len(held) - WINDOW - SPARE)

    def shortest(self, sequence: int) -> int:
        return self.first[sequence] + WINDOW - 1 if self.first[sequence] else 0

    def remove(self, sequence: int, start: int = 0, end: int = -1) -> None:
        assert end == -1
        assert not start or start >= self.shortest(sequence), "the window was overwritten"
        del self.cells[sequence][start:]
        if not start:
            self.first[sequence] = 0

    def _saved(self, sequence: int) -> int:
        return max(self.first[sequence], len(self.cells[sequence]) - WINDOW)

    def save_state(self, sequence: int) -> CellBytes:
        return packed([self._saved(sequence)], self.cells[sequence])

    def rewind(self, sequence: int, state: CellBytes, end: int) -> None:
        [first], tokens = unpacked(state)
        assert len(tokens) == end
        assert self.cells[sequence][:end] == tokens, "the window is another text's"
        self.first[sequence] = first
        del self.cells[sequence][end:]

    def save_sequence(self, sequence: int) -> CellBytes:
        return self.save_state(sequence)

    def load_sequence(self, data: CellBytes, sequence: int) -> None:
        [self.first[sequence]], self.cells[sequence] = unpacked(data)

    def copy_stream(self, source: int, targets: Sequence[int]) -> None:
        self.copies += len(targets)
        for target in targets:
            assert target != source
            self.load_sequence(self.save_sequence(source), target)

    def exchange_streams(self, left: int, right: int) -> None:
        ours, theirs = self.save_sequence(left), self.save_sequence(right)
        self.load_sequence(theirs, left)
        self.load_sequence(ours, right)

    def clear(self) -> None:
        self.cells = [[] for _ in self.cells]
        self.first = [0] * len(self.first)


def make(count: int, spill_bytes: int = 10**6) -> tuple[FakeWindowMemory, Streams]:
    memory = FakeWindowMemory(count)
    return memory, Streams(
        memory,
        count=count,
        capacity=CAPACITY,
        copy_tokens=WORTH,
        spill_bytes=spill_bytes,
        window=WINDOW,
    )


def compute(memory: FakeWindowMemory, stream: Stream, tokens: Sequence[int]) -> None:
    # As llama.cpp computes them: no more at once than there is room for beside the window.
    for start in range(0, len(tokens), SPARE):
        memory.compute(stream.sequence, tokens[start : start + SPARE])
    stream.extend(tokens)


def ask(memory: FakeWindowMemory, streams: Streams, prompt: Sequence[int]) -> tuple[Stream, int]:
    """Compute a prompt as the lane does; returns its stream, busy, and how much was known."""
    stream, known = streams.take(prompt)
    for mark in stream.marks:
        compute(memory, stream, list(prompt[stream.length : mark]))
        streams.mark(stream)
    compute(memory, stream, list(prompt[stream.length :]))
    return stream, known


def hold(memory: FakeWindowMemory, streams: Streams, prompt: Sequence[int]) -> tuple[Stream, int]:
    stream, known = ask(memory, streams, prompt)
    streams.release(stream)
    return stream, known


def check(memory: FakeWindowMemory, streams: Streams, busy: int) -> None:
    check_streams(streams, busy=busy)
    for stream in streams.streams:
        assert memory.cells[stream.sequence] == stream.tokens.tolist()
        assert memory.shortest(stream.sequence) <= stream.length
    for entry in streams.shelf.entries:
        [first], tokens = unpacked(entry.data)
        assert tokens == entry.tokens.tolist()
        shortest = first + WINDOW - 1 if first else 0
        assert entry.shortest == shortest if entry.whole else shortest <= len(tokens)


@settings(max_examples=300, deadline=None)
@given(
    count=st.integers(1, 5),
    spill_bytes=st.sampled_from([0, 300, 900, 10**6]),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["take", "back", "go on", "fork", "end", "pack", "expect"]),
            st.lists(st.integers(0, 1), max_size=40),
        ),
        max_size=40,
    ),
)
def test_no_window_is_cut_back_further_than_it_reaches(
    count: int, spill_bytes: int, steps: list[tuple[str, list[int]]]
) -> None:
    memory, streams = make(count, spill_bytes)
    busy: list[Stream] = []
    for step, tokens in steps:
        if step == "take" and len(busy) < count:
            prompt = tokens * 3
            stream, kept = ask(memory, streams, prompt)
            assert stream.busy and stream not in busy
            assert kept <= len(prompt) and stream.tokens.tolist() == prompt
            busy.append(stream)
        elif step == "back" and len(busy) < count:
            # To the place to which a stream can just be cut back, and to the one before it.
            known = streams.streams[len(tokens) % count]
            place = memory.shortest(known.sequence)
            for prompt in (known.tokens[:place].tolist(), known.tokens[: place - 1].tolist()):
                hold(memory, streams, prompt)
        elif step == "expect":
            streams.expect([tokens, tokens[: len(tokens) // 2], [*tokens, 1, 0, 0]])
        elif busy and step == "go on":
            compute(memory, busy[-1], tokens[: CAPACITY - busy[-1].length])
        elif busy and step == "fork":
            copies = streams.fork(busy[0], min(len(tokens), count - len(busy)))
            assert all(copy.tokens.tolist() == busy[0].tokens.tolist() for copy in copies)
            busy += copies
        elif busy and step == "end":
            streams.release(busy.pop(len(tokens) % len(busy)))
        elif busy and step == "pack":
            streams.pack()
        check(memory, streams, len(busy))


def test_short_of_the_window_everything_can_be_cut() -> None:
    memory, streams = make(3, 0)
    hold(memory, streams, range(WINDOW))
    _, known = hold(memory, streams, [*range(5), 9, 9])
    assert (known, streams.rollbacks, memory.copies) == (5, 0, 1)
    check(memory, streams, 0)


def test_a_few_tokens_are_taken_back_in_place() -> None:
    memory, streams = make(3, 0)
    first, _ = hold(memory, streams, range(50))
    lost = SPARE - 2
    again, known = hold(memory, streams, [*range(50 - lost), *range(100, 120)])
    # A copy would have nothing to offer: no window ends there.
    assert (again, known, memory.copies, streams.rollbacks) == (first, 50 - lost, 0, 0)
    check(memory, streams, 0)


def test_what_is_taken_back_waits_in_ram() -> None:
    memory, streams = make(3)
    first, _ = ask(memory, streams, range(40))
    compute(memory, first, range(40, 46))
    streams.release(first)
    streams.shelf.clear()  # the states that were saved
    assert hold(memory, streams, [*range(41), *range(100, 120)])[1] == 41
    assert hold(memory, streams, [*range(46), 7])[1] == 46
    assert streams.rollbacks == 0
    check(memory, streams, 0)


def test_further_back_a_saved_window_is_taken_and_the_rest_is_counted() -> None:
    memory, streams = make(3)
    first, _ = ask(memory, streams, range(50))
    compute(memory, first, range(50, 90))
    streams.release(first)
    _, known = hold(memory, streams, [*range(60), *range(200, 210)])
    assert (known, streams.rollbacks, streams.recomputed_tokens) == (50, 1, 10)
    # The second question from the same place finds the window that was saved on the way.
    _, known = hold(memory, streams, [*range(60), *range(210, 220)])
    assert (known, streams.rollbacks, streams.recomputed_tokens) == (60, 1, 10)
    check(memory, streams, 0)


def test_without_room_for_states_everything_is_computed_again() -> None:
    memory, streams = make(2, 0)
    hold(memory, streams, range(90))
    assert hold(memory, streams, [*range(50), 9])[1] == 0
    assert (streams.rollbacks, streams.recomputed_tokens) == (1, 50)


def test_how_far_a_copy_can_be_cut() -> None:
    held = Checkpoints(0, cells=True, window=WINDOW)
    assert [held.shortest(length) for length in (0, 1, WINDOW, WINDOW + 1)] == [0, 0, 0, WINDOW]
    assert [held.shortest(50, own) for own in (0, 40, 49, 50)] == [49, 49, 49, 50]
    assert held.shortest(WINDOW, WINDOW) == WINDOW, "the cell before the window is gone"
    assert Checkpoints(0, cells=True).shortest(7) == 7


def test_a_copy_of_a_stream_that_was_cut_back_as_far_as_possible_cannot_be_cut() -> None:
    memory, streams = make(3, 0)
    first, _ = hold(memory, streams, range(50))
    shortest = memory.shortest(first.sequence)
    assert hold(memory, streams, range(shortest)) == (first, shortest)
    assert memory.shortest(first.sequence) == first.length, "nothing is left beside the window"
    assert hold(memory, streams, [*range(shortest - 1), 100])[1] == 0
    again, known = hold(memory, streams, [*range(shortest), *range(100, 120)])
    assert (again, known) == (first, shortest)
    check(memory, streams, 0)


def test_a_saved_stream_that_was_cut_back_as_far_as_possible_cannot_be_cut() -> None:
    memory, streams = make(1)
    first, _ = hold(memory, streams, range(50))
    shortest = memory.shortest(first.sequence)
    hold(memory, streams, range(shortest))
    streams.shelf.clear()  # what was cut off, and the states
    hold(memory, streams, range(200, 250))
    [saved] = [entry for entry in streams.shelf.entries if len(entry.tokens) == shortest]
    assert saved.whole and saved.shortest == shortest
    check(memory, streams, 0)
    assert hold(memory, streams, [*range(shortest - 1), 100])[1] == 0
    check(memory, streams, 0)
