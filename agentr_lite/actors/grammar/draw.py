"""Another token where a grammar refuses the one that was drawn.

Most answers of a tuned model follow their grammar by themselves. So a token is drawn first, as
without a grammar, and the matcher is asked about it alone. Only where it is refused is another one
drawn, from the tokens that are allowed.

**What is drawn.** The model's distribution after temperature and cuts (top-k, top-p, min-p), given
that the token is allowed: an allowed first draw is kept, and a refused one is drawn anew from the
allowed tokens' own shares, which together is that distribution exactly. Where every token that
survives the cuts is refused, the refused tokens are taken out first and the cuts are made after it.
So an answer that follows the grammar by itself is the same, draw for draw, as without one. Greedy
choices are the likeliest allowed token.

The second draw is an exponential race: each token gets its log-weight plus the negative logarithm
of an exponential variate, and the allowed token with the largest sum wins. Which allowed token wins
does not depend on the refused ones.

Source: Gumbel-max, in the form of Efraimidis and Spirakis (2006).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from agentr_lite.actors.base import Sampling
from agentr_lite.actors.grammar.matcher import Mask
from agentr_lite.core.errors import ModelError

Tokens = npt.NDArray[np.int32]
Logits = npt.NDArray[np.float32]
Cut = Callable[[Tokens, Logits], tuple[Tokens, Logits]]
"""Top-k, top-p, min-p and the temperature: the tokens that are left, and their log-weights."""


class AllowedDraw:
    """Draws among allowed tokens, from its own stream of random numbers."""

    def __init__(self, sampling: Sampling, key: Sequence[int], cut: Cut) -> None:
        """
        Args:
            sampling: its temperature and cuts count.
            key: of the stream, two numbers.
            cut: only called where ``sampling`` asks for a cut.
        """
        self._temperature = sampling.temperature
        self._cut = cut if sampling.cuts else None
        self._key = key
        # Made when it is needed, which it hardly ever is.
        self._generator: np.random.Generator | None = None

    def choose(self, logits: Logits, mask: Mask) -> int:
        """A token.

        Args:
            logits: (vocabulary,); any constant may have been added to all.
            mask: which tokens are allowed.

        Raises:
            ModelError: none is allowed.
        """
        if not mask.any():
            raise ModelError(
                "no token of the model's vocabulary goes on as the grammar demands",
                hint="Does the grammar ask for characters that this model cannot write?",
            )
        if self._temperature <= 0.0:
            return int(np.where(mask, logits, -np.inf).argmax())
        everything = np.arange(len(logits), dtype=np.int32)
        tokens, keys = self._race(everything, logits)
        allowed = mask[tokens]
        if allowed.any():
            tokens, keys = tokens[allowed], keys[allowed]
        else:
            tokens, keys = self._race(everything[mask], logits[mask])
        return int(tokens[keys.argmax()])

    def _race(self, tokens: Tokens, logits: Logits) -> tuple[Tokens, Logits]:
        """The tokens that survive the cuts, and the key of each in a draw."""
        if self._cut is not None:
            tokens, logits = self._cut(tokens, logits)
        elif self._temperature != 1.0:
            logits = logits / np.float32(self._temperature)
        if self._generator is None:
            self._generator = np.random.Generator(np.random.Philox(key=list(self._key)))
        variates = self._generator.standard_exponential(len(tokens), np.float32)
        # The smallest positive number: the ziggurat may give 0.
        np.maximum(variates, np.finfo(np.float32).tiny, out=variates)
        return tokens, logits - np.log(variates)
