"""Sequences with common beginnings in one row: each is found again, and nothing stands twice."""

from __future__ import annotations

import numpy as np
import pytest

from agentr_lite.train.packing import common, pack, packed_length


def test_the_example_of_the_module() -> None:
    packed = pack([list(b"abcd"), list(b"abe"), list(b"abefg")])
    assert bytes(packed.tokens) == b"abcdefg"
    assert packed.branches == (((0, 4),), ((0, 2), (4, 5)), ((0, 2), (4, 5), (5, 7)))
    assert [places.tolist() for places in packed.places] == [
        [0, 1, 2, 3],
        [0, 1, 4],
        [0, 1, 4, 5, 6],
    ]


@pytest.mark.parametrize("seed", range(20))
def test_every_sequence_is_found_again_and_no_beginning_stands_twice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Few different tokens, so that much is shared at random.
    sequences = [rng.integers(0, 3, rng.integers(1, 9)).tolist() for _ in range(rng.integers(1, 9))]
    packed = pack(sequences)
    for sequence, places in zip(sequences, packed.places, strict=True):
        assert [packed.tokens[place] for place in places] == sequence
    beginnings = {tuple(row[: end + 1]) for row in sequences for end in range(len(row))}
    assert len(packed.tokens) == len(beginnings) == packed_length(sequences)
    own = [branch[-1] for branch in packed.branches]
    assert [begin for begin, _ in own] == [0, *(end for _, end in own[:-1])]
    assert own[-1][1] == len(packed.tokens)
    # Each way is that of some sequence.
    ways = {tuple(places.tolist()) for places in packed.places}
    for branch in packed.branches:
        way = tuple(place for begin, end in branch for place in range(begin, end))
        assert any(whole[: len(way)] == way for whole in ways)


def test_the_row_does_not_depend_on_the_order_of_the_sequences() -> None:
    sequences = [[1, 2, 3], [1, 2], [4], [1, 5, 5]]
    one, other = pack(sequences), pack(sequences[::-1])
    assert (one.tokens, one.branches) == (other.tokens, other.branches)


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [([1, 2, 3], [1, 2, 4], 2), ([1, 2], [1, 2, 3], 2), ([1], [2], 0), ([], [1], 0), ([7], [7], 1)],
)
def test_common_beginnings(one: list[int], other: list[int], shared: int) -> None:
    assert common(one, other) == common(other, one) == shared
