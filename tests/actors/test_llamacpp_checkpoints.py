"""States of recurrent layers: where they are saved, which are dropped, and what is cut back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentr_lite.actors.llamacpp.integrity import check_streams
from agentr_lite.actors.llamacpp.segments import CellBytes
from agentr_lite.actors.llamacpp.shelf import Checkpoints, common, reach
from agentr_lite.actors.llamacpp.streams import Stream, Streams
from tests.support.packed_texts import packed, unpacked

CAPACITY = 256
WORTH = 3


class FakeRecurrentMemory:
    """Cells and states that are the tokens themselves; a state knows all that it has seen.

    Without ``cells``, a stream is its state alone, as in a model without attention.
    """

    def __init__(self, count: int, *, cells: bool = True) -> None:
        self.with_cells = cells
        self.cells: list[list[int]] = [[] for _ in range(count)]
        self.states: list[list[int]] = [[] for _ in range(count)]
        self.copies = 0

    def compute(self, sequence: int, tokens: Sequence[int]) -> None:
        self.states[sequence] = [*self.states[sequence], *tokens]
        if self.with_cells:
            self.cells[sequence] = [*self.cells[sequence], *tokens]

    def remove(self, sequence: int, start: int = 0, end: int = -1) -> None:
        assert end == -1
        assert start in (0, len(self.states[sequence])), "a state cannot be cut back"
        del self.cells[sequence][start:]
        if not start:
            self.states[sequence] = []

    def save_state(self, sequence: int) -> CellBytes:
        return packed(self.states[sequence])

    def rewind(self, sequence: int, state: CellBytes, end: int) -> None:
        [tokens] = unpacked(state)
        assert len(tokens) == end
        if self.with_cells:
            assert self.cells[sequence][:end] == tokens, "the state is another text's"
        self.states[sequence] = tokens
        del self.cells[sequence][end:]

    def save_sequence(self, sequence: int) -> CellBytes:
        if not self.with_cells:
            return packed(self.states[sequence])
        return packed(self.states[sequence], self.cells[sequence])

    def load_sequence(self, data: CellBytes, sequence: int) -> None:
        self.states[sequence], *cells = unpacked(data)
        self.cells[sequence] = cells[0] if cells else []

    def copy_stream(self, source: int, targets: Sequence[int]) -> None:
        self.copies += len(targets)
        for target in targets:
            assert target != source
            self.states[target] = list(self.states[source])
            self.cells[target] = list(self.cells[source])

    def exchange_streams(self, left: int, right: int) -> None:
        for kind in (self.states, self.cells):
            kind[left], kind[right] = kind[right], kind[left]

    def clear(self) -> None:
        self.states = [[] for _ in self.states]
        self.cells = [[] for _ in self.cells]


def make(
    count: int, spill_bytes: int = 10**6, *, cells: bool = True
) -> tuple[FakeRecurrentMemory, Streams]:
    memory = FakeRecurrentMemory(count, cells=cells)
    return memory, Streams(
        memory,
        count=count,
        capacity=CAPACITY,
        copy_tokens=WORTH,
        spill_bytes=spill_bytes,
        recurrent=True,
        cells=cells,
    )


def compute(memory: FakeRecurrentMemory, stream: Stream, tokens: Sequence[int]) -> None:
    memory.compute(stream.sequence, tokens)
    stream.extend(tokens)


def ask(memory: FakeRecurrentMemory, streams: Streams, prompt: Sequence[int]) -> tuple[Stream, int]:
    """Compute a prompt as the lane does; returns its stream, busy, and how much was known."""
    stream, known = streams.take(prompt)
    for mark in stream.marks:
        compute(memory, stream, list(prompt[stream.length : mark]))
        streams.mark(stream)
    compute(memory, stream, list(prompt[stream.length :]))
    return stream, known


def hold(
    memory: FakeRecurrentMemory, streams: Streams, prompt: Sequence[int]
) -> tuple[Stream, int]:
    stream, known = ask(memory, streams, prompt)
    streams.release(stream)
    return stream, known


def check(memory: FakeRecurrentMemory, streams: Streams, busy: int) -> None:
    check_streams(streams, busy=busy)
    for stream in streams.streams:
        assert memory.states[stream.sequence] == stream.tokens.tolist()
        if memory.with_cells:
            assert memory.cells[stream.sequence] == stream.tokens.tolist()
    for entry in streams.shelf.entries:
        assert all(text == entry.tokens.tolist() for text in unpacked(entry.data))


@settings(max_examples=200, deadline=None)
@given(
    count=st.integers(1, 5),
    spill_bytes=st.sampled_from([0, 300, 900, 10**6]),
    cells=st.booleans(),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["take", "go on", "fork", "end", "pack", "expect"]),
            st.lists(st.integers(0, 2), max_size=40),
        ),
        max_size=40,
    ),
)
def test_no_state_is_cut_back_whatever_is_asked(
    count: int, spill_bytes: int, cells: bool, steps: list[tuple[str, list[int]]]
) -> None:
    memory, streams = make(count, spill_bytes, cells=cells)
    busy: list[Stream] = []
    for step, tokens in steps:
        if step == "take" and len(busy) < count:
            stream, known = ask(memory, streams, tokens)
            assert stream.busy and stream not in busy
            assert known <= len(tokens) and stream.tokens.tolist() == tokens
            busy.append(stream)
        elif step == "expect":
            streams.expect([tokens, tokens[: len(tokens) // 2], [*tokens, 1, 2, 0]])
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


def test_a_child_goes_on_from_its_siblings_own_end() -> None:
    memory, streams = make(3)
    stream, _ = ask(memory, streams, range(50))
    compute(memory, stream, [7, 7, 7])
    streams.release(stream)
    again, known = hold(memory, streams, [*range(50), 7, 7, 7, *range(60, 70)])
    assert (again, known, memory.copies, streams.rollbacks) == (stream, 53, 0, 0)


def test_siblings_asked_for_later_begin_at_the_prompts_end() -> None:
    memory, streams = make(3)
    stream, _ = ask(memory, streams, range(50))
    compute(memory, stream, [7] * 20)
    streams.release(stream)
    _, known = hold(memory, streams, range(50))
    assert (known, streams.rollbacks) == (50, 0)
    # The first answer's stream is still there.
    assert hold(memory, streams, [*range(50), *[7] * 20, 1])[1] == 70


def test_a_question_in_mid_history_takes_the_state_before_and_is_counted() -> None:
    memory, streams = make(3)
    first, _ = ask(memory, streams, range(50))
    compute(memory, first, range(50, 80))
    streams.release(first)
    _, known = hold(memory, streams, [*range(60), *[200] * 10])
    assert (known, streams.rollbacks, streams.recomputed_tokens) == (50, 1, 10)
    # The second question from the same place finds the state that was saved on the way.
    _, known = hold(memory, streams, [*range(60), *[201] * 10])
    assert (known, streams.rollbacks, streams.recomputed_tokens) == (60, 1, 10)
    check(memory, streams, 0)


def test_the_place_where_expected_prompts_part_is_saved() -> None:
    memory, streams = make(4)
    prompts = [[*range(40), *[100 + index] * 20] for index in range(3)]
    streams.expect(prompts)
    assert [hold(memory, streams, prompt)[1] for prompt in prompts] == [0, 40, 40]
    assert streams.recomputed_tokens == 0


def test_without_room_for_states_everything_is_computed_again() -> None:
    memory, streams = make(2, 0)
    stream, _ = ask(memory, streams, range(50))
    compute(memory, stream, [7] * 20)
    streams.release(stream)
    assert hold(memory, streams, [*range(50), 9])[1] == 0
    assert (streams.rollbacks, streams.recomputed_tokens) == (1, 50)


@pytest.mark.parametrize("cells", [True, False])
def test_what_was_overwritten_comes_back_and_its_state_stays(cells: bool) -> None:
    memory, streams = make(1, cells=cells)
    talks = [list(range(start, start + 30)) for start in (0, 100)]
    hold(memory, streams, talks[0])
    hold(memory, streams, talks[1])
    assert hold(memory, streams, [*talks[0], *range(60, 80)])[1] == 30
    assert hold(memory, streams, [*talks[0], *range(80, 99)])[1] == 30
    assert streams.rollbacks == 0
    check(memory, streams, 0)


def test_the_state_that_saves_least_for_its_bytes_is_dropped_first() -> None:
    def tokens(*numbers: int) -> np.ndarray:
        return np.array(numbers, np.int32)

    held = Checkpoints(100, cells=True)
    long = tokens(*range(60))
    held.put_state(long, np.zeros(40, np.uint8))
    held.put_state(long[:58], np.zeros(40, np.uint8))
    held.put_state(tokens(*range(100, 110)), np.zeros(40, np.uint8))
    assert [len(entry.tokens) for entry in held.entries] == [60, 58]
    assert held.used_bytes == 80
    # One that is far from the others, again and again, outlives those that nobody uses.
    for index in range(20):
        held.put_state(tokens(*range(200 + index, 230 + index)), np.zeros(40, np.uint8))
    assert not held.holds_state(long)


def test_how_far_a_stream_can_be_cut_back() -> None:
    assert reach(5, 0, []) == 5, "cells alone"
    assert reach(9, 9, []) == 9, "its own end"
    assert [reach(same, 6, [3]) for same in (2, 4, 6, 7)] == [0, 3, 6, 7], "a window"
    assert [reach(same, 99, [3, 7]) for same in (2, 3, 6, 7, 50)] == [0, 3, 3, 7, 7]
    assert common(np.array([1, 2], np.int32), np.array([1, 3], np.int32)) == 1
