"""Splits a batch into parts: the rows that one core computes at a time.

The parts depend on the examples alone, not on the memory or the cores, and gradients are summed in
the order of the parts. So a training gives the same bits wherever it is continued on one machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agentr_lite.train.batches import Tokenized
from agentr_lite.train.memory import PART_TOKENS


@dataclass(frozen=True)
class Part:
    """Some rows of a batch.

    Attributes:
        tokens: shape (rows, length), int32; padded with 0 on the right.
        picks: shape (picks,), int32: where a *next* token is to be learnt, as positions in the rows
            without their last column, one row after the other. Only these go through the matrix
            of the vocabulary, which is often the largest one.
        targets: shape (picks,), int32: the tokens to be learnt.
        weights: shape (picks,), float32: the examples' weights.
    """

    tokens: npt.NDArray[np.int32]
    picks: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        # A kernel in C reads as many targets and weights as there are picks.
        if not len(self.picks) == len(self.targets) == len(self.weights):
            raise ValueError("picks, targets and weights differ in number")

    @property
    def weight(self) -> float:
        """Sum of the weights."""
        return float(self.weights.sum(dtype=np.float64))


def split(
    lengths: Sequence[int], rows: Sequence[int], *, most_tokens: int = PART_TOKENS["cpu"]
) -> list[list[int]]:
    """Deal the rows of a batch out to parts, the longest rows first.

    Args:
        lengths: tokens of each example.
        rows: the batch, as indices into ``lengths``.
        most_tokens: a part of several rows has at most so many tokens, with padding.
    """
    parts: list[list[int]] = []
    for row in sorted(rows, key=lambda row: -lengths[row]):
        longest = lengths[parts[-1][0]] if parts else 0
        if parts and (len(parts[-1]) + 1) * longest <= most_tokens:
            parts[-1].append(row)
        else:
            parts.append([row])
    return parts


def make_part(examples: Sequence[Tokenized]) -> Part:
    """Pad examples to the longest of them."""
    length = max(len(example.tokens) for example in examples)
    tokens = np.zeros((len(examples), length), np.int32)
    picks, targets, weights = [], [], []
    for row, example in enumerate(examples):
        tokens[row, : len(example.tokens)] = example.tokens
        # A first token cannot be predicted.
        positions = np.flatnonzero(example.mask[1:])
        picks.append(row * (length - 1) + positions)
        targets.append(tokens[row, positions + 1])
        weights.append(np.full(len(positions), example.weight))
    return Part(
        tokens,
        np.concatenate(picks).astype(np.int32),
        np.concatenate(targets).astype(np.int32),
        np.concatenate(weights).astype(np.float32),
    )
