"""Texts in one array of bytes: what a stand-in for a cache saves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentr_lite.actors.llamacpp.segments import CellBytes


def packed(*texts: Sequence[int]) -> CellBytes:
    """Texts in one array of bytes, each with its length before it."""
    numbers = [number for text in texts for number in (len(text), *text)]
    return np.array(numbers, np.int32).view(np.uint8)


def unpacked(data: CellBytes) -> list[list[int]]:
    """The texts that were packed."""
    numbers, texts = data.view(np.int32).tolist(), []
    while numbers:
        size = numbers.pop(0)
        texts.append(numbers[:size])
        del numbers[:size]
    return texts
