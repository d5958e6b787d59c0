"""A set of a tree's nodes: one byte per node, so that counting is fast."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set


class NodeSet(Set[int]):
    """A set of ``idx``, iterated in ascending order.

    Attributes:
        mask: 1 for each node that is in the set, else 0.
    """

    __slots__ = ("mask",)

    def __init__(self, mask: bytes = b"") -> None:
        self.mask = mask

    @classmethod
    def of(cls, idxs: Iterable[int], size: int) -> NodeSet:
        """A set of some nodes of a tree.

        Args:
            idxs: the nodes; those outside the tree are left out.
            size: number of nodes of the tree.
        """
        mask = bytearray(size)
        for idx in idxs:
            if 0 <= idx < size:
                mask[idx] = 1
        return cls(bytes(mask))

    @classmethod
    def _from_iterable(cls, it: Iterable[int]) -> frozenset[int]:  # type: ignore[override]
        return frozenset(it)

    def __contains__(self, idx: object) -> bool:
        return isinstance(idx, int) and 0 <= idx < len(self.mask) and self.mask[idx] == 1

    def __len__(self) -> int:
        return self.mask.count(1)

    def __iter__(self) -> Iterator[int]:
        idx = self.mask.find(1)
        while idx >= 0:
            yield idx
            idx = self.mask.find(1, idx + 1)
