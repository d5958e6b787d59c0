"""How a branch chooses its next token from a row of logits.

Four choosers with one method: the arg max, a draw from the whole vocabulary, llama.cpp's native
sampler chain for top-k, top-p and min-p, and a fixed token list whose log-likelihood is summed.
Each sample draws with a seed of its own.
"""

from __future__ import annotations

import random
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from agentr_lite.actors.base import Sampling
from agentr_lite.actors.llamacpp.library import load_library
from agentr_lite.core.errors import ModelError


class Row:
    """One entry's logits, with what several choosers may want to know of them."""

    __slots__ = ("_distribution", "_log_sum", "context", "index", "logits")

    def __init__(self, context: Any, index: int, logits: npt.NDArray[np.float32]) -> None:
        self.context = context
        """``llama_context *`` whose last batch computed the row."""
        self.index = index
        """The row's index in that batch."""
        self.logits = logits
        """(vocabulary,); valid until the next decode."""
        self._log_sum: float | None = None
        self._distribution: tuple[float, Distribution] | None = None

    def distribution(self, temperature: float) -> Distribution:
        """What samples of one temperature draw from; computed once for all that ask together."""
        if self._distribution is None or self._distribution[0] != temperature:
            self._distribution = temperature, Distribution(self.logits, temperature)
        return self._distribution[1]

    def log_probability(self, token: int) -> float:
        """Natural log of the softmax at ``token``."""
        if self._log_sum is None:
            top = float(self.logits.max())
            # float64 sum: 150,000 float32 terms lose digits otherwise.
            total = np.exp(self.logits - np.float32(top)).sum(dtype=np.float64)
            self._log_sum = top + float(np.log(total))
        return float(self.logits[token]) - self._log_sum


class Distribution:
    """The softmax of a row, in blocks of tokens, so that a draw looks at few of them.

    llama.cpp's sampler goes through the whole vocabulary for each draw. Samples that agree so far
    draw from one row.
    """

    __slots__ = ("_ends", "_weights")

    _BLOCK = 256

    def __init__(self, logits: npt.NDArray[np.float32], temperature: float) -> None:
        """
        Args:
            logits: shape (vocabulary,).
            temperature: above 0.
        """
        weights = logits - logits.max()
        if temperature != 1.0:
            weights *= np.float32(1 / temperature)
        np.exp(weights, out=weights)
        self._weights = weights
        starts = np.arange(0, len(weights), self._BLOCK)
        # float64: the sums of 150,000 float32 terms lose digits otherwise.
        self._ends = np.add.reduceat(weights, starts).astype(np.float64).cumsum()

    def token_at(self, share: float) -> int:
        """The token in whose part of the unit interval a number lies.

        Args:
            share: in [0, 1).
        """
        ends = self._ends
        wanted = share * ends[-1]
        block = min(int(ends.searchsorted(wanted, "right")), len(ends) - 1)
        first = block * self._BLOCK
        within = self._weights[first : first + self._BLOCK].cumsum(dtype=np.float64)
        if block:
            wanted -= ends[block - 1]
        index = int(within.searchsorted(wanted, "right"))
        if index < len(within):
            return first + index
        # The block's sum was rounded up. Its last token with a share takes the rest.
        return first + int(within.searchsorted(within[-1]))


class Chooser(Protocol):
    """Draws tokens for one sample."""

    def choose(self, row: Row) -> int:
        """The next token."""

    def close(self) -> None:
        """Free native memory."""


class Greedy:
    """The most likely token; the first of equals."""

    def choose(self, row: Row) -> int:
        """See ``Chooser``."""
        return int(row.logits.argmax())

    def close(self) -> None:
        """Nothing to free."""


class Drawn:
    """A token of the whole vocabulary, by the model's probabilities at a temperature."""

    def __init__(self, temperature: float, seed: int) -> None:
        """
        Args:
            temperature: above 0.
            seed: of the sample's own random numbers.
        """
        self._temperature = temperature
        self._random = random.Random(seed).random

    def choose(self, row: Row) -> int:
        """See ``Chooser``."""
        return row.distribution(self._temperature).token_at(self._random())

    def close(self) -> None:
        """Nothing to free."""


class Seeded:
    """llama.cpp's chain: top-k, top-p, min-p, temperature, then a draw from its own generator."""

    def __init__(self, sampling: Sampling, seed: int) -> None:
        lib = self._lib = load_library()
        self._sample = lib.llama_sampler_sample
        self._chain = make_cuts(sampling)
        _add(self._chain, lib.llama_sampler_init_dist(seed))

    def choose(self, row: Row) -> int:
        """See ``Chooser``."""
        return int(self._sample(self._chain, row.context, row.index))

    def close(self) -> None:
        """Free the chain and the samplers in it."""
        if self._chain:
            self._lib.llama_sampler_free(self._chain)
            self._chain = None


def make_cuts(sampling: Sampling) -> Any:
    """llama.cpp's chain for all of ``sampling`` but the draw; to be freed by whoever asks."""
    lib = load_library()
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    if sampling.top_k > 0:
        _add(chain, lib.llama_sampler_init_top_k(sampling.top_k))
    if sampling.top_p < 1.0:
        _add(chain, lib.llama_sampler_init_top_p(sampling.top_p, 1))
    if sampling.min_p > 0.0:
        _add(chain, lib.llama_sampler_init_min_p(sampling.min_p, 1))
    if sampling.temperature != 1.0:
        _add(chain, lib.llama_sampler_init_temp(sampling.temperature))
    return chain


def _add(chain: Any, sampler: Any) -> None:
    if not sampler:
        raise ModelError("llama.cpp could not make a sampler")
    load_library().llama_sampler_chain_add(chain, sampler)


class Forced:
    """Follows given tokens and sums their log-likelihoods."""

    def __init__(self, tokens: tuple[int, ...]) -> None:
        self._tokens = tokens
        self._at = 0
        self.log_likelihood = 0.0

    def choose(self, row: Row) -> int:
        """See ``Chooser``."""
        token = self._tokens[self._at]
        self._at += 1
        self.log_likelihood += row.log_probability(token)
        return token

    def close(self) -> None:
        """Nothing to free."""


def make_chooser(sampling: Sampling, seed: int) -> Chooser:
    """The chooser that ``sampling`` asks for; temperature 0 is greedy and needs no seed."""
    if sampling.temperature <= 0.0:
        return Greedy()
    return Seeded(sampling, seed) if sampling.cuts else Drawn(sampling.temperature, seed)
