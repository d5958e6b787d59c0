"""Columns of many numbers in little memory."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_WIDTHS = (("B", 1 << 8), ("H", 1 << 16), ("I", 1 << 32))


class Packed(Sequence[Any]):
    """Numbers of which many are equal: the distinct ones once, and where each stands among them.

    A place takes one byte up to 256 distinct numbers, two up to 65,536, then four. The numbers of
    a search tree (visits, means of a few rewards, flags) mostly need one.
    """

    __slots__ = ("_places", "_values")

    def __init__(self, typecode: str, numbers: Sequence[Any] = ()) -> None:
        """
        Args:
            typecode: of the ``array`` that holds the distinct numbers.
            numbers: to begin with.
        """
        self._values: array[Any] = array(typecode)
        self._places = array("B")
        self.extend(numbers)

    def extend(self, numbers: Sequence[Any]) -> None:
        """Append numbers."""
        known = {value: place for place, value in enumerate(self._values)}
        for number in set(numbers) - known.keys():
            known[number] = len(known)
            self._values.append(number)
        width = next(code for code, most in _WIDTHS if len(known) <= most)
        if width != self._places.typecode:
            self._places = array(width, self._places)
        self._places.extend(map(known.__getitem__, numbers))

    def where(self, wanted: Callable[[Any], bool]) -> bytes:
        """One byte a number: 1 where it is wanted, else 0. ``wanted`` sees each value once."""
        table = bytes(map(wanted, self._values))
        if self._places.typecode == "B":
            return self._places.tobytes().translate(table.ljust(256, b"\0"))
        return bytes(map(table.__getitem__, self._places))

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._values[place] for place in self._places[index]]
        return self._values[self._places[index]]

    def __iter__(self) -> Iterator[Any]:
        return map(self._values.__getitem__, self._places)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Packed) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def where(column: Sequence[Any], wanted: Callable[[Any], bool]) -> bytes:
    """One byte a number: 1 where it is wanted, else 0."""
    return column.where(wanted) if isinstance(column, Packed) else bytes(map(wanted, column))
