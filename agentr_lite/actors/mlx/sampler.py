"""Draws the next token of every row of a batch at once, each from its own stream of numbers.

A row's draw inverts its cumulative distribution at a uniform number. The number depends only on
the row's seed and the token's position, so the other rows of the batch do not matter.

A row with a grammar is drawn like the others, and drawn again where the grammar refuses the token;
see ``agentr_lite.actors.grammar.draw``. The matcher must know the token, so the computation of a
batch with such a row waits for each step's tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from agentr_lite.actors.answer import Answer
from agentr_lite.actors.base import Sampling
from agentr_lite.actors.grammar.draw import AllowedDraw, Logits, Tokens
from agentr_lite.actors.grammar.matcher import Matcher
from agentr_lite.core.errors import AgentrError

_BLOCK = 64
_BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))


class Sample(Answer):
    """One growing continuation, and its stream of random numbers."""

    __slots__ = (
        "_draw",
        "_draws",
        "_failure",
        "_failure_at",
        "_generator",
        "_uniforms",
        "matcher",
        "sampling",
    )

    def __init__(
        self,
        sampling: Sampling,
        seed: int,
        max_tokens: int,
        stop: Sequence[bytes] = (),
        matcher: Matcher | None = None,
    ) -> None:
        """
        Args:
            sampling: temperature and cuts.
            seed: of its stream of random numbers.
            max_tokens: see ``Answer``.
            stop: see ``Answer``.
            matcher: of the answer's grammar, at the answer's beginning.
        """
        super().__init__(max_tokens, stop)
        self.sampling = sampling
        self.matcher = matcher
        """None without a grammar, and when the answer has ended."""
        self._draw = AllowedDraw(sampling, (seed, 1), self._survivors)
        self._draws = 0
        self._failure: AgentrError | None = None
        self._failure_at = 0
        self._generator = np.random.Generator(np.random.Philox(key=seed))
        self._uniforms: list[float] = []

    def uniform(self) -> float:
        """The stream's next number, in [0, 1)."""
        if not self._uniforms:
            # In blocks, because a call to numpy takes as long as many draws.
            self._uniforms = self._generator.random(_BLOCK, np.float32).tolist()[::-1]
        return self._uniforms.pop()

    def follow(self, token: int, logprobs: mx.array) -> int:
        """The token if the grammar allows it, or another one that it allows.

        Args:
            token: drawn as without a grammar.
            logprobs: natural-log probabilities, (vocabulary,).
        """
        matcher = self.matcher
        if matcher is None:
            return token
        try:
            if not matcher.allows(token):
                row = np.array(logprobs.astype(mx.float32))
                token = self._draw.choose(row, matcher.mask())
            if token in matcher.ends:
                # One more token is drawn after it and never used.
                self.matcher = None
            else:
                matcher.accept(token)
        except AgentrError as error:
            self.matcher, self._failure, self._failure_at = None, error, self._draws
        self._draws += 1
        return token

    def accept(self, token: int, piece: bytes, ends: bool) -> bool:
        """See ``Answer``.

        Raises:
            ModelError: the model's vocabulary cannot spell what the grammar asks for.
            GrammarError: the grammar is too ambiguous.
        """
        # A token is drawn before the token before it is accepted, which may end the answer.
        if self._failure is not None and len(self.tokens) == self._failure_at:
            raise self._failure
        return super().accept(token, piece, ends)

    def _survivors(self, tokens: Tokens, logits: Logits) -> tuple[Tokens, Logits]:
        """The cuts of ``BatchSampler`` and the temperature, for one row."""
        sampling = self.sampling
        order = np.argsort(-logits, kind="stable")
        if sampling.top_k > 0:
            order = order[: sampling.top_k]
        weights = logits[order]
        if sampling.top_p < 1.0:
            shares = np.exp(weights - weights[0])
            shares /= shares.sum()
            keep = np.cumsum(shares) - shares < sampling.top_p
            keep[0] = True
            order, weights = order[keep], weights[keep]
        if sampling.min_p > 0.0:
            keep = weights >= weights[0] + np.log(sampling.min_p)
            order, weights = order[keep], weights[keep]
        return tokens[order], weights / np.float32(sampling.temperature)


class BatchSampler:
    """The sampler of all rows of a batch, in the batch's order."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = list(samples)
        self._prepare()

    def extend(self, other: BatchSampler) -> None:
        """Add the rows of ``other`` at the end."""
        self.samples += other.samples
        self._prepare()

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these."""
        self.samples = [self.samples[row] for row in rows]
        self._prepare()

    def _prepare(self) -> None:
        settings = [sample.sampling for sample in self.samples]
        greedy = [row.temperature <= 0.0 for row in settings]
        self._all_greedy = all(greedy)
        self._any_greedy = any(greedy)
        self._any_min_p = any(row.min_p > 0.0 for row in settings)
        self._any_sorted = any(row.top_k > 0 or row.top_p < 1.0 for row in settings)
        self._greedy = mx.array(greedy)
        self._temperature = _column(
            [row.temperature if row.temperature > 0 else 1.0 for row in settings]
        )
        self._min_p = _column([max(row.min_p, 0.0) for row in settings])
        self._top_p = _column([row.top_p for row in settings])
        self._top_k = _column([row.top_k if row.top_k > 0 else 1 << 30 for row in settings])

    def __call__(self, logprobs: mx.array) -> mx.array:
        """Draw a token for each row.

        The order is llama.cpp's: top-k, top-p, min-p, then the temperature.

        Args:
            logprobs: natural-log probabilities, (rows, vocabulary).

        Returns:
            Token ids, (rows,).
        """
        drawn = self._drawn(logprobs)
        held = [row for row, sample in enumerate(self.samples) if sample.matcher is not None]
        if not held:
            return drawn
        tokens = np.array(drawn)
        for row in held:
            tokens[row] = self.samples[row].follow(int(tokens[row]), logprobs[row])
        return mx.array(tokens)

    def _drawn(self, logprobs: mx.array) -> mx.array:
        """The tokens without regard to grammars."""
        best = mx.argmax(logprobs, axis=-1)
        if self._all_greedy:
            return best
        # In half precision, sums over a large vocabulary would lose whole tokens.
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
        # Rounding may move the target onto the total; then the last token with a weight is drawn.
        drawn = mx.minimum(drawn, mx.sum(sums < total, axis=-1)).astype(mx.uint32)
        if order is not None:
            drawn = mx.take_along_axis(order, drawn[:, None], axis=-1)[:, 0]
        drawn = drawn.astype(best.dtype)
        return mx.where(self._greedy, best, drawn) if self._any_greedy else drawn

    def _cut_sorted(self, logprobs: mx.array) -> mx.array:
        """Apply top-k and top-p to rows that are sorted from the likeliest token down."""
        ranks = mx.arange(logprobs.shape[-1])[None]
        logprobs = mx.where(ranks < self._top_k, logprobs, -mx.inf)
        shares = mx.softmax(logprobs, axis=-1)
        before = mx.cumsum(shares, axis=-1) - shares
        keep = (before < self._top_p) | (ranks == 0)
        return mx.where(keep, logprobs, -mx.inf)


def _column(values: Sequence[float]) -> mx.array:
    return mx.array(np.array(values, np.float32))[:, None]
