"""Splits a batch into parts: the rows that one core computes at a time.

The parts depend on the examples alone, not on the memory or the cores, and gradients are summed in
the order of the parts. So a training gives the same bits wherever it is continued on one machine.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agentr_lite.train.batches import Tokenized
from agentr_lite.train.dpo import Floats, PairSizes, PreferenceLoss
from agentr_lite.train.memory import PART_TOKENS
from agentr_lite.train.packing import Branch, pack, packed_length
from agentr_lite.train.preferences import TokenizedPair


@dataclass(frozen=True)
class Part:
    """Some rows of a batch.

    Attributes:
        tokens: shape (rows, length), int32; padded with 0 on the right. The last column is no
            input.
        picks: shape (picks,), int32: where a *next* token is to be learnt, as positions in the rows
            without their last column, one row after the other. Only these go through the matrix
            of the vocabulary, which is often the largest one.
        targets: shape (picks,), int32: the tokens to be learnt.
        weights: shape (picks,), float32: the examples' weights.
        branches: of the one row, if it is one with branches (``packing``).
    """

    tokens: npt.NDArray[np.int32]
    picks: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    branches: tuple[Branch, ...] = ()

    def __post_init__(self) -> None:
        # A kernel in C reads as many targets and weights as there are picks.
        if not len(self.picks) == len(self.targets) == len(self.weights):
            raise ValueError("picks, targets and weights differ in number")

    @property
    def weight(self) -> float:
        """Sum of the weights."""
        return float(self.weights.sum(dtype=np.float64))


@dataclass(frozen=True, kw_only=True)
class PairPart(Part):
    """Some pairs of a batch, all sequences of each.

    Attributes:
        groups: shape (picks,): to which continuation a pick belongs: twice the number of its pair
            in the part, and one more for the rejected one.
        pairs: which ones these are, as their owner counts.
        references: shape (pairs, 2): log-likelihoods in nats before the training.
        sizes: of the pairs.
        loss: of a pair.
    """

    groups: npt.NDArray[np.int64]
    pairs: list[int]
    references: Floats
    sizes: PairSizes
    loss: PreferenceLoss

    @property
    def weight(self) -> float:
        """Sum of the pairs' weights."""
        return float(self.sizes.weights.sum())


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


def split_pairs(
    pairs: Sequence[TokenizedPair], rows: Sequence[int], *, most_tokens: int, packed: bool
) -> list[list[int]]:
    """Deal the pairs of a batch out to parts, so that neighbours have much in common.

    Args:
        pairs: all pairs.
        rows: the batch, as indices into ``pairs``.
        most_tokens: a part of several pairs has at most so many tokens, with padding.
        packed: whether sequences with common beginnings become one row.
    """
    parts: list[list[int]] = []
    for row in sorted(rows, key=lambda row: (pairs[row].chosen[0].tokens, row)):
        wider = [*parts[-1], row] if parts else []
        if wider and pair_tokens([pairs[i] for i in wider], packed=packed) <= most_tokens:
            parts[-1] = wider
        else:
            parts.append([row])
    # The longest first: a short one at the end keeps the other cores waiting for less time.
    sizes = [pair_tokens([pairs[i] for i in part], packed=packed) for part in parts]
    return [parts[i] for i in sorted(range(len(parts)), key=lambda i: -sizes[i])]


def pair_tokens(pairs: Sequence[TokenizedPair], *, packed: bool) -> int:
    """Tokens of a part of these pairs, with padding.

    Args:
        pairs: some pairs.
        packed: whether sequences with common beginnings become one row.
    """
    inputs = [row.tokens[:-1] for row, _ in _continuations(pairs)]
    return packed_length(inputs) if packed else len(inputs) * max(map(len, inputs))


def make_pair_part(
    pairs: Sequence[TokenizedPair],
    rows: Sequence[int],
    references: Floats,
    loss: PreferenceLoss,
    *,
    packed: bool,
) -> PairPart:
    """Write all sequences of some pairs into one row, or each into a row of its own.

    Args:
        pairs: all pairs.
        rows: those of the part, as indices into ``pairs``.
        references: shape (all pairs, 2): log-likelihoods in nats before the training.
        loss: of a pair.
        packed: whether sequences with common beginnings become one row.
    """
    here = [pairs[row] for row in rows]
    sequences, groups = zip(*_continuations(here), strict=True)
    inputs = [sequence.tokens[:-1] for sequence in sequences]
    branches: tuple[Branch, ...] = ()
    if packed:
        row = pack(inputs)
        branches, places = row.branches, row.places
        # The last column is no input.
        tokens = np.array([[*row.tokens, 0]], np.int32)
    else:
        length = max(map(len, inputs))
        tokens = np.zeros((len(inputs), length + 1), np.int32)
        places = [np.arange(length * index, length * (index + 1)) for index in range(len(inputs))]
        for index, sequence in enumerate(sequences):
            tokens[index, : len(sequence.tokens)] = sequence.tokens
    # A first token cannot be predicted.
    learnt = [np.flatnonzero(sequence.mask[1:]) for sequence in sequences]
    picks = [place[positions] for place, positions in zip(places, learnt, strict=True)]
    targets = [
        np.asarray(sequence.tokens)[positions + 1]
        for sequence, positions in zip(sequences, learnt, strict=True)
    ]
    return PairPart(
        tokens,
        np.concatenate(picks).astype(np.int32),
        np.concatenate(targets).astype(np.int32),
        np.ones(sum(map(len, picks)), np.float32),
        branches,
        groups=np.repeat(groups, [len(each) for each in picks]),
        pairs=list(rows),
        references=references[list(rows)],
        sizes=PairSizes.of(here),
        loss=loss,
    )


def _continuations(pairs: Sequence[TokenizedPair]) -> list[tuple[Tokenized, int]]:
    """All sequences of some pairs, each with the number of its continuation."""
    continuations = itertools.chain.from_iterable(pair.continuations for pair in pairs)
    return [(row, group) for group, rows in enumerate(continuations) for row in rows]
