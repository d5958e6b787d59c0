"""Draws the next token of every row of a batch at once, each from its own stream of numbers.

A row's draw is the inverse of its cumulative distribution at one uniform number, which comes from
the row's seed and the token's position alone. So neighbours in the batch do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from agentr_lite.actors.answer import Answer
from agentr_lite.actors.base import Sampling

_BLOCK = 64
_BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))


class Sample(Answer):
    """One continuation on its way, and its stream of random numbers."""

    __slots__ = ("_generator", "_uniforms", "sampling")

    def __init__(
        self, sampling: Sampling, seed: int, max_tokens: int, stop: Sequence[bytes] = ()
    ) -> None:
        super().__init__(max_tokens, stop)
        self.sampling = sampling
        self._generator = np.random.Generator(np.random.Philox(key=seed))
        self._uniforms: list[float] = []

    def uniform(self) -> float:
        """The stream's next number, in [0, 1)."""
        if not self._uniforms:
            # In blocks: a call of numpy's costs as much as many numbers.
            self._uniforms = self._generator.random(_BLOCK, np.float32).tolist()[::-1]
        return self._uniforms.pop()


class BatchSampler:
    """The sampler of all rows of a batch, in the batch's order."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = list(samples)
        self._prepare()

    def extend(self, other: BatchSampler) -> None:
        """Rows were added at the end."""
        self.samples += other.samples
        self._prepare()

    def keep(self, rows: Sequence[int]) -> None:
        """Only these rows are left."""
        self.samples = [self.samples[row] for row in rows]
        self._prepare()

    def _prepare(self) -> None:
        settings = [sample.sampling for sample in self.samples]
        greedy = [one.temperature <= 0.0 for one in settings]
        self._all_greedy = all(greedy)
        self._any_greedy = any(greedy)
        self._any_min_p = any(one.min_p > 0.0 for one in settings)
        self._any_sorted = any(one.top_k > 0 or one.top_p < 1.0 for one in settings)
        self._greedy = mx.array(greedy)
        self._temperature = _column(
            [one.temperature if one.temperature > 0 else 1.0 for one in settings]
        )
        self._min_p = _column([max(one.min_p, 0.0) for one in settings])
        self._top_p = _column([one.top_p for one in settings])
        self._top_k = _column([one.top_k if one.top_k > 0 else 1 << 30 for one in settings])

    def __call__(self, logprobs: mx.array) -> mx.array:
        """Tokens for (rows, vocabulary) natural-log probabilities.

        Cuts in llama.cpp's order: top-k, top-p, min-p, then the temperature.
        """
        best = mx.argmax(logprobs, axis=-1)
        if self._all_greedy:
            return best
        # Half-precision sums over a large vocabulary lose whole tokens.
        logprobs = logprobs.astype(mx.float32)
        uniforms = np.array([sample.uniform() for sample in self.samples], np.float32)
        where = mx.array(np.minimum(uniforms, _BELOW_ONE))[:, None]
        order = None
        if self._any_sorted:
            order = mx.argsort(-logprobs, axis=-1)
            logprobs = mx.take_along_axis(logprobs, order, axis=-1)
            logprobs = self._cut_sorted(logprobs)
        if self._any_min_p:
            least = mx.max(logprobs, axis=-1, keepdims=True) + mx.log(self._min_p)
            logprobs = mx.where(logprobs < least, -mx.inf, logprobs)
        scaled = logprobs / self._temperature
        weights = mx.exp(scaled - mx.max(scaled, axis=-1, keepdims=True))
        sums = mx.cumsum(weights, axis=-1)
        total = sums[:, -1:]
        drawn = mx.sum(sums <= where * total, axis=-1)
        # Rounding may put the target on the total itself; the last token with a weight then counts.
        drawn = mx.minimum(drawn, mx.sum(sums < total, axis=-1)).astype(mx.uint32)
        if order is not None:
            drawn = mx.take_along_axis(order, drawn[:, None], axis=-1)[:, 0]
        drawn = drawn.astype(best.dtype)
        return mx.where(self._greedy, best, drawn) if self._any_greedy else drawn

    def _cut_sorted(self, logprobs: mx.array) -> mx.array:
        """Top-k and top-p on rows sorted from the likeliest down."""
        ranks = mx.arange(logprobs.shape[-1])[None]
        logprobs = mx.where(ranks < self._top_k, logprobs, -mx.inf)
        shares = mx.softmax(logprobs, axis=-1)
        before = mx.cumsum(shares, axis=-1) - shares
        keep = (before < self._top_p) | (ranks == 0)
        return mx.where(keep, logprobs, -mx.inf)


def _column(values: Sequence[float]) -> mx.array:
    return mx.array(np.array(values, np.float32))[:, None]
