"""Columns of many numbers in little memory."""

from __future__ import annotations

import random
import sys

import pytest

from agentr_lite.store.columns import Packed, where


@pytest.mark.parametrize(("distinct", "width"), [(1, 1), (256, 1), (257, 2), (65_537, 4)])
def test_a_column_holds_what_was_put_in(distinct: int, width: int) -> None:
    draw = random.Random(distinct)
    numbers = [value / 7 for value in range(distinct)] + [0.0] * 2_000
    draw.shuffle(numbers)
    column = Packed("d")
    for start in range(0, len(numbers), 1_000):
        column.extend(numbers[start : start + 1_000])
    assert (list(column), len(column)) == (numbers, len(numbers))
    assert [column[i] for i in (0, 7, -1)] == [numbers[i] for i in (0, 7, -1)]
    assert column[5:9] == numbers[5:9]
    assert column == Packed("d", numbers)
    assert column != Packed("d", numbers[1:])
    assert sys.getsizeof(column._places) < (len(numbers) + 200) * width * 1.2
    assert column.where(lambda value: value > 3) == bytes(value > 3 for value in numbers)


def test_each_distinct_number_is_asked_for_once() -> None:
    asked: list[int] = []

    def wanted(number: int) -> bool:
        asked.append(number)
        return number == 5

    assert where(Packed("i", [5, 4, 5, 5, 4]), wanted) == b"\1\0\1\1\0"
    assert sorted(asked) == [4, 5]
    assert where([5, 4], wanted) == b"\1\0", "any other sequence, too"
    assert where(Packed("i"), wanted) == b""
