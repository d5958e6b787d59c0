"""The prefix tree's books against a model of llama.cpp's cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentr_lite.actors.llamacpp.integrity import check_integrity
from agentr_lite.actors.llamacpp.prefix import PrefixTree
from agentr_lite.actors.llamacpp.segments import Branch, CellBytes, Segment

SEQUENCES = 12
CAPACITY = 40


class Cells:
    """Cells as llama.cpp keeps them: a position, a token, and the sequences that see it."""

    def __init__(self) -> None:
        self.cells: list[tuple[int, int, set[int]]] = []

    def write(self, sequence: int, position: int, token: int) -> None:
        assert position == len(self.tokens(sequence)), "a gap in the positions"
        self.cells.append((position, token, {sequence}))
        assert len(self.cells) <= CAPACITY, "the cache is full"

    def tokens(self, sequence: int) -> list[int]:
        mine = sorted((p, t) for p, t, owners in self.cells if sequence in owners)
        assert [p for p, _ in mine] == list(range(len(mine))), "positions with holes"
        return [t for _, t in mine]

    def copy_sequence(self, source: int, target: int, end: int) -> None:
        self.copy_range(source, target, 0, end)

    def copy_range(self, source: int, target: int, start: int, end: int) -> None:
        for position, _, owners in self.cells:
            if source in owners and start <= position < end:
                owners.add(target)

    def remove(self, sequence: int, start: int = 0, end: int = -1) -> None:
        for position, _, owners in self.cells:
            if start <= position and (end < 0 or position < end):
                owners.discard(sequence)
        self.cells = [cell for cell in self.cells if cell[2]]

    def save(self, sequence: int, start: int, end: int) -> CellBytes:
        """Ten bytes a cell: position, token, padding."""
        mine = sorted((p, t) for p, t, owners in self.cells if sequence in owners)
        rows = [[p, t, *([0] * 8)] for p, t in mine if start <= p < end]
        assert len(rows) == end - start
        return np.array(rows, np.uint8).reshape(-1)

    def load(self, data: CellBytes, sequence: int, start: int, end: int) -> None:
        rows = data.reshape(-1, 10).tolist()
        assert len(self.cells) + len(rows) <= CAPACITY, "no room for what was saved"
        for position, token, *_ in rows:
            if start <= position < end:
                self.write(sequence, position, token)

    def clear(self) -> None:
        self.cells = []


def make_tree(spill_bytes: int = 0) -> tuple[PrefixTree, Cells]:
    cells = Cells()
    tree = PrefixTree(cells, capacity=CAPACITY, sequences=SEQUENCES, spill_bytes=spill_bytes)
    return tree, cells


def prefill(tree: PrefixTree, cells: Cells, segment: Segment) -> None:
    for part in tree.incomplete(segment):
        if part.saved is not None and tree.restore(part):
            continue
        missing = len(part.tokens) - part.decoded
        assert tree.make_room(missing)
        sequence = tree.writable(part)
        for index in range(part.decoded, len(part.tokens)):
            cells.write(sequence, part.start + index, part.tokens[index])
        tree.advance(part, missing)


def grow(tree: PrefixTree, cells: Cells, branch: Branch, token: int) -> None:
    assert tree.make_room(1)
    cells.write(branch.sequence, branch.position, token)
    tree.extend(branch, token)


def path(segment: Segment) -> list[int]:
    tokens: list[int] = []
    walk: Segment | None = segment
    while walk is not None:
        tokens = walk.tokens + tokens
        walk = walk.parent
    return tokens


def check(tree: PrefixTree, cells: Cells) -> None:
    check_integrity(tree)
    assert tree.used == len(cells.cells)
    for segment in tree.segments():
        if segment.complete:
            whole = path(segment)
            assert cells.tokens(segment.sequence)[: len(whole)] == whole


def test_a_shared_prefix_takes_its_cells_once() -> None:
    tree, cells = make_tree()
    first, cached = tree.insert([1, 2, 3, 4])
    assert cached == 0
    prefill(tree, cells, first)
    second, cached = tree.insert([1, 2, 5])
    assert cached == 2
    prefill(tree, cells, second)
    assert tree.used == 5
    check(tree, cells)


def test_a_waiting_prefix_is_not_computed_twice() -> None:
    tree, cells = make_tree()
    first, _ = tree.insert([1, 2, 3, 4])
    second, cached = tree.insert([1, 2, 3, 5])
    assert cached == 3
    prefill(tree, cells, first)
    assert [len(segment.tokens) for segment in tree.incomplete(second)] == [1]
    prefill(tree, cells, second)
    assert tree.used == 5
    check(tree, cells)


def test_a_branch_that_repeats_the_tree_gives_its_cells_back() -> None:
    tree, cells = make_tree()
    segment, _ = tree.insert([1, 2])
    prefill(tree, cells, segment)
    for last in (4, 4, 5):
        branch = tree.fork(segment)
        grow(tree, cells, branch, 3)
        grow(tree, cells, branch, last)
        tree.unpin(tree.commit(branch))
        check(tree, cells)
    assert tree.used == 2 + 1 + 2  # 1 2, then 3, then 4 and 5


def test_the_least_recently_used_leaf_goes_first_and_pins_hold() -> None:
    tree, cells = make_tree()
    segments = []
    for start in (1, 2, 3):
        segment, _ = tree.insert([start, 10 + start, 20 + start])
        prefill(tree, cells, segment)
        segments.append(segment)
    tree.unpin(segments[0])
    tree.unpin(segments[1])
    again, cached = tree.insert([1, 11, 21])
    assert cached == 3
    tree.unpin(again)
    assert tree.make_room(CAPACITY - 6)
    left = {segment.tokens[0] for segment in tree.segments()}
    assert left == {1, 3}, "2 was used before 1, and 3 is pinned"
    assert tree.make_room(CAPACITY - 3)
    assert not tree.make_room(CAPACITY - 2)
    check(tree, cells)


def test_idle_prefixes_expire_but_used_ones_stay() -> None:
    tree, cells = make_tree()
    old, _ = tree.insert([1, 2, 3])
    prefill(tree, cells, old)
    tree.unpin(old)
    fresh, _ = tree.insert([4, 5, 6, 7, 8])
    prefill(tree, cells, fresh)
    tree.expire(age=5)
    assert {segment.tokens[0] for segment in tree.segments()} == {4}
    check(tree, cells)


def test_what_an_insert_would_pin_is_told_before() -> None:
    tree, cells = make_tree()
    segment, _ = tree.insert([1, 2, 3, 4])
    prefill(tree, cells, segment)
    assert tree.unpinned([1, 2, 9]) == 1
    tree.unpin(segment)
    assert tree.unpinned([1, 2, 9]) == 3, "evictable cells count as needed"


def test_damaged_books_are_noticed() -> None:
    tree, cells = make_tree()
    segment, _ = tree.insert([1, 2, 3])
    prefill(tree, cells, segment)
    tree.used += 1
    with pytest.raises(RuntimeError, match="cells counted"):
        check_integrity(tree)


def test_what_cannot_be_brought_back_is_computed_once_and_for_all() -> None:
    """All that was evicted together needs room for a moment, also for a part of it."""
    tree, cells = make_tree(1_000_000)
    long = list(range(30))
    segment, _ = tree.insert(long)
    prefill(tree, cells, segment)
    tree.unpin(segment)
    assert tree.make_room(CAPACITY)
    others, _ = tree.insert(list(range(100, 120)))
    prefill(tree, cells, others)
    again, _ = tree.insert(long[:15])
    assert again.saved is not None
    # Chunk by chunk: what has been decoded is not to come back on top of itself.
    assert not tree.restore(again)
    for first in (0, 5):
        assert tree.make_room(5)
        for place in range(first, first + 5):
            cells.write(tree.writable(again), place, long[place])
        tree.advance(again, 5)
        check(tree, cells)
    tree.unpin(others)
    prefill(tree, cells, again)
    check(tree, cells)
    assert cells.tokens(again.sequence) == long[:15]
    whole, _ = tree.insert(long)
    prefill(tree, cells, whole)
    assert cells.tokens(whole.sequence) == long
    check(tree, cells)


tokens = st.integers(0, 2)
prompts = st.one_of(
    st.lists(tokens, min_size=1, max_size=10),
    # Long ones that share their beginnings: there is not always room to bring them back.
    st.builds(lambda size, last: [0] * size + [last], st.integers(8, 26), tokens),
)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("prompt"), prompts),
        st.tuples(st.just("announce"), prompts),
        st.tuples(st.just("part"), st.integers(0, 9)),
        st.tuples(st.just("grow"), st.tuples(st.integers(0, 9), tokens)),
        st.tuples(st.just("fork"), st.integers(0, 9)),
        st.tuples(st.just("commit"), st.integers(0, 9)),
        st.tuples(st.just("leave"), st.integers(0, 9)),
        st.tuples(st.just("expire"), st.integers(0, 30)),
    ),
    max_size=60,
)


# A prompt that is half computed is split where its computed part ends, and a branch takes the rest.
HALF_COMPUTED: list[tuple[str, object]] = [
    ("prompt", [0]),
    ("announce", [0] * 11),
    ("part", 0),
    ("prompt", [0] * 9),
    ("fork", 1),
    ("grow", (0, 0)),
]


@given(operations, st.sampled_from([0, 100, 1_000_000]))
@example(HALF_COMPUTED, 0)
@settings(max_examples=3000, deadline=None)
def test_books_and_cells_agree_after_any_work(
    work: list[tuple[str, object]], spill_bytes: int
) -> None:
    tree, cells = make_tree(spill_bytes)
    held: list[Segment] = []
    branches: list[Branch] = []
    announced: list[Segment] = []
    room = SEQUENCES // 2

    for kind, value in work:
        busy = len(held) + len(branches) + len(announced)
        if kind in ("prompt", "announce") and busy < room:
            assert isinstance(value, list)
            # What admission guarantees: the worst case fits.
            loose = sum(len(branch.tokens) for branch in branches)
            if tree.pinned + loose + tree.unpinned(value) > CAPACITY:
                continue
            segment, cached = tree.insert(value)
            assert path(segment) == value
            assert 0 <= cached <= len(value)
            if kind == "announce":
                announced.append(segment)
                continue
            prefill(tree, cells, segment)
            held.append(segment)
        elif kind == "part" and announced:
            # Half of what is missing, as when a batch is full.
            assert isinstance(value, int)
            segment = announced[value % len(announced)]
            if missing := tree.incomplete(segment):
                part = missing[0]
                if part.saved is None or not tree.restore(part):
                    size = -(-(len(part.tokens) - part.decoded) // 2)
                    assert tree.make_room(size)
                    sequence = tree.writable(part)
                    first = part.decoded
                    for index in range(first, first + size):
                        cells.write(sequence, part.start + index, part.tokens[index])
                    tree.advance(part, size)
        elif kind == "grow" and branches:
            index, token = value  # type: ignore[misc]
            # Admission counts what a branch may grow by, so announced prompts keep their room.
            loose = sum(len(branch.tokens) for branch in branches)
            if tree.pinned + loose < CAPACITY and tree.make_room(1):
                grow(tree, cells, branches[index % len(branches)], token)
        elif kind == "fork" and held and busy < room:
            assert isinstance(value, int)
            branches.append(tree.fork(held[value % len(held)]))
        elif kind == "commit" and branches:
            assert isinstance(value, int)
            branch = branches.pop(value % len(branches))
            expected = path(branch.segment) + branch.tokens
            segment = tree.commit(branch)
            assert path(segment) == expected
            held.append(segment)
        elif kind == "leave" and held:
            assert isinstance(value, int)
            tree.unpin(held.pop(value % len(held)))
        elif kind == "expire":
            assert isinstance(value, int)
            tree.expire(value)
        check(tree, cells)
        for branch in branches:
            assert cells.tokens(branch.sequence) == path(branch.segment) + branch.tokens

    for branch in branches:
        tree.unpin(tree.commit(branch))
        check(tree, cells)
    for segment in announced:
        prefill(tree, cells, segment)
        check(tree, cells)
    for segment in [*held, *announced]:
        tree.unpin(segment)
    assert tree.pinned == 0
    assert tree.make_room(CAPACITY)
    assert tree.used == 0
    check(tree, cells)
