"""Shares of work for machines that share nothing: ``--shard K/N``."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from agentr_lite.core.errors import UsageError

MOST_SHARDS = 9_999

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Shard:
    """The ``number``-th of ``count`` shares, from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``K/N``.

        Raises:
            UsageError: it has another form, or K is not in 1 to N.
        """
        found = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text, re.ASCII)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(
                f"'{text[:40]}' is no shard",
                hint=f"Give K/N: the K-th of N machines, from 1/N to N/N, N up to {MOST_SHARDS}.",
            )
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def mark(self) -> str:
        """What the ids of its runs contain, so that two machines never give the same id."""
        return f"{self.number}of{self.count}"

    def takes(self, index: int) -> bool:
        """Whether the ``index``-th piece of work, from 0, is in this share."""
        return index % self.count == self.number - 1

    def share(self, items: Sequence[Item], key: Callable[[Item], Hashable]) -> list[Item]:
        """The items of this share; items with an equal key stay together.

        Args:
            items: all of them, in the same order on every machine.
            key: what is shared out.
        """
        groups = {group: index for index, group in enumerate(dict.fromkeys(map(key, items)))}
        return [item for item in items if self.takes(groups[key(item)])]
