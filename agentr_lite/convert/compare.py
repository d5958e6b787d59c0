"""How far two sets of logits for the same tokens agree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from agentr_lite.convert.safetensors_io import FloatArray
from agentr_lite.core.errors import ModelError

_BLOCK_VALUES = 1 << 24
"""Logits at a time: 64 MiB in float32, and a few times that for what is computed of them."""


@dataclass(frozen=True)
class Agreement:
    """How far two sets of logits for the same tokens agree.

    For ``max_abs`` to ``spread``, the mean of each row is subtracted first, because it does not
    change any probability.
    """

    tokens: int
    max_abs: float
    mean_abs: float
    rms: float
    """Root of the mean square of the differences."""
    spread: float
    """Standard deviation of the reference's logits, with which to compare the differences."""
    top1: float
    """Share of positions with the same most likely token."""
    likelihood: float
    """Largest difference of a token's log-likelihood after the tokens before it, in nats."""
    divergence: float
    """Mean Kullback-Leibler divergence of the other side's distribution from the reference's, in
    nats."""

    @property
    def relative(self) -> float:
        """``rms`` as a share of ``spread``."""
        return self.rms / self.spread if self.spread else float("inf")


class Comparison:
    """Collects an ``Agreement`` over pieces of texts, which it does not keep."""

    def __init__(self) -> None:
        self._tokens = self._values = self._same = 0
        self._max = self._likelihood = self._divergence = 0.0
        self._absolute = self._square = self._spread = 0.0

    def add(self, reference: FloatArray, other: FloatArray, following: Sequence[int]) -> None:
        """Compare the logits of one piece.

        Args:
            reference: shape (tokens, vocabulary).
            other: the logits of the other side; additional columns (padding) are ignored.
            following: for each row, the token that follows; the last may be missing.

        Raises:
            ModelError: a logit is not a finite number.
        """
        width = min(reference.shape[1], other.shape[1])
        for rows in _blocks(len(reference), width):
            self._add(reference[rows, :width], other[rows, :width], following[rows])

    def _add(self, left: FloatArray, right: FloatArray, following: Sequence[int]) -> None:
        left, right = _centred(left), _centred(right)
        difference = left - right
        if not np.isfinite(difference).all():
            raise ModelError("the logits contain values that are not finite numbers")
        self._tokens += len(left)
        self._values += left.size
        self._same += int((left.argmax(-1) == right.argmax(-1)).sum())
        self._spread += _sum_of_squares(left)
        self._square += _sum_of_squares(difference)
        np.abs(difference, out=difference)
        self._max = max(self._max, float(difference.max()))
        self._absolute += float(difference.sum(dtype=np.float64))
        p, q = _log_softmax(left), _log_softmax(right)
        places = np.arange(len(following)), np.asarray(following, np.intp)
        gaps = np.abs(p[places] - q[places])
        self._likelihood = max(self._likelihood, float(gaps.max(initial=0.0)))
        q -= p
        np.exp(p, out=p)
        self._divergence -= float((p * q).sum(dtype=np.float64))

    def result(self) -> Agreement:
        """The agreement over everything added."""
        values, tokens = max(1, self._values), max(1, self._tokens)
        return Agreement(
            tokens=self._tokens,
            max_abs=self._max,
            mean_abs=self._absolute / values,
            rms=math.sqrt(self._square / values),
            spread=math.sqrt(self._spread / values),
            top1=self._same / tokens,
            likelihood=self._likelihood,
            # Rounding may make it negative.
            divergence=max(0.0, self._divergence / tokens),
        )


def agreement(
    reference: Iterable[FloatArray], other: Iterable[FloatArray], tokens: Sequence[int]
) -> Agreement:
    """Compare the logits of one text, piece by piece.

    Args:
        reference: logits after each token; the pieces have the same lengths on both sides.
        other: those of the other side.
        tokens: the text.

    Raises:
        ModelError: a logit is not a finite number.
    """
    comparison, start = Comparison(), 0
    for left, right in zip(reference, other, strict=True):
        end = start + len(left)
        comparison.add(left, right, tokens[start + 1 : end + 1])
        start = end
    return comparison.result()


class Effect:
    """Collects an adapter's effect on the logits, and how far two sides disagree about it.

    The difference of the bases cancels out to first order.
    """

    def __init__(self) -> None:
        self._values = 0
        self._effect = self._error = 0.0

    def add(
        self, base: tuple[FloatArray, FloatArray], tuned: tuple[FloatArray, FloatArray]
    ) -> None:
        """Add one text.

        Args:
            base: (reference's logits, the other side's logits) without the adapter.
            tuned: the same with the adapter.
        """
        width = min(base[0].shape[1], base[1].shape[1])
        for rows in _blocks(len(base[0]), width):
            ours = _centred(tuned[0][rows, :width] - base[0][rows, :width])
            theirs = _centred(tuned[1][rows, :width] - base[1][rows, :width])
            self._values += ours.size
            self._effect += _sum_of_squares(ours)
            self._error += _sum_of_squares(ours - theirs)

    def rms(self) -> tuple[float, float]:
        """(rms of the reference's effect, rms of the difference between the effects)."""
        values = max(1, self._values)
        return math.sqrt(self._effect / values), math.sqrt(self._error / values)


def _blocks(rows: int, width: int) -> Iterator[slice]:
    step = max(1, _BLOCK_VALUES // width)
    for start in range(0, rows, step):
        yield slice(start, start + step)


def _centred(rows: FloatArray) -> FloatArray:
    rows = np.asarray(rows, np.float32)
    return np.asarray(rows - rows.mean(-1, keepdims=True), np.float32)


def _log_softmax(rows: FloatArray) -> FloatArray:
    shifted = rows - rows.max(-1, keepdims=True)
    total = np.exp(shifted).sum(-1, keepdims=True, dtype=np.float64)
    return np.asarray(shifted - np.log(total).astype(np.float32), np.float32)


def _sum_of_squares(values: FloatArray) -> float:
    flat = values.ravel()
    # In pieces: a float32 sum over many values loses digits, and a float64 copy takes memory.
    return float(
        sum(
            np.square(flat[start : start + (1 << 20)], dtype=np.float64).sum()
            for start in range(0, flat.size, 1 << 20)
        )
    )
