"""Answers that follow a grammar: llama.cpp's matcher, asked about as few tokens as possible.

Matching the whole vocabulary costs more than a step of a small model. So a token is drawn first,
as without a grammar, and only where it is refused is another one drawn from those allowed.

**What is drawn.** The model's distribution after temperature and cuts (top-k, top-p, min-p), given
that the token is allowed: an allowed first draw is kept, a refused one is drawn anew from the
allowed tokens' own shares, which together is that distribution exactly. Where every token that
survives the cuts is refused, the refused ones are taken out first and the cuts made after it. So an
answer that follows the grammar by itself is the same, draw for draw, as without one. Greedy
choices are the likeliest allowed token.

The second draw is an exponential race: each token gets its log-weight plus the negative logarithm
of an exponential variate, and the allowed token with the largest sum wins. Whoever wins among the
allowed does not depend on the others, so the matcher is asked about the front runners alone.
Source: Gumbel-max, in the form of Efraimidis and Spirakis (2006). Where none of them is allowed,
it is asked which bytes may come next, and then about the tokens that begin so: of 151,000 tokens
that is 1 ms instead of 36 in the middle of a fixed word.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from agentr_lite.actors.base import Sampling
from agentr_lite.actors.llamacpp.library import clear_errors, last_error, load_library
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.llamacpp.sampler import Chooser, Row, make_cuts
from agentr_lite.core.errors import ModelError
from agentr_lite.core.gbnf import ROOT, GrammarError, check_grammar

_ASKED = 64
"""Front runners that the matcher is asked about before all tokens."""
_MANY = 512
"""So many tokens are worth asking about bytes first."""
_END, _NO_BYTE = 256, 257
"""In the place of a first byte: the token ends an answer, or adds nothing to it."""
_TOKEN_DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])

Tokens = npt.NDArray[np.int32]


def try_grammar(text: str) -> None:
    """Compile a grammar without a model.

    Raises:
        GrammarError: it is not well formed, or llama.cpp refuses it.
    """
    load_library().llama_sampler_free(_compiled(None, text))


def _compiled(vocab: Any, text: str) -> Any:
    """``llama_sampler *`` of a grammar, to be freed."""
    check_grammar(text)
    clear_errors()
    handle = load_library().llama_sampler_init_grammar(vocab, text.encode(), ROOT.encode())
    # Refusal is a NULL pointer: falsy, but not None.
    if not handle:
        raise GrammarError(
            f"llama.cpp refuses the grammar: {last_error() or 'no reason given'}",
            hint="Its own message is above; repetitions in repetitions may be too many.",
        )
    return handle


class Grammar:
    """A grammar over one model's vocabulary."""

    def __init__(self, model: Model, text: str) -> None:
        """Compile it.

        Raises:
            GrammarError: it is not well formed, or llama.cpp refuses it.
        """
        self._lib = load_library()
        self._model = model
        self._tokens = _TokenIndex.of(model)
        self._start = _compiled(model.vocab, text)
        # An excluded character beyond ASCII makes the matcher refuse the first byte of all its
        # neighbours, which whole tokens may still be.
        self._ascii = text.isascii() and not re.search(r"\\[xuU]", text)

    def begin(self) -> Matcher:
        """A matcher at an answer's beginning."""
        handle = self._lib.llama_sampler_clone(self._start)
        return Matcher(handle, self._tokens, lead_bytes=self._ascii)

    def accepts(self, text: str) -> bool:
        """Whether ``text`` is a whole answer that the grammar allows."""
        matcher = self.begin()
        try:
            for token in self._model.tokenize(text):
                if not matcher.allows(token):
                    return False
                matcher.accept(token)
            return matcher.may_end()
        finally:
            matcher.close()

    def close(self) -> None:
        """Free it; matchers live on."""
        if self._start:
            self._lib.llama_sampler_free(self._start)
            self._start = None


@dataclass(frozen=True, slots=True)
class _TokenIndex:
    """A vocabulary by the first byte of its tokens."""

    first: npt.NDArray[np.int16]
    """(vocabulary,): a byte, ``_END`` or ``_NO_BYTE``."""
    single_bytes: npt.NDArray[np.int16]
    """The bytes that are tokens by themselves."""
    single_tokens: Tokens
    """These tokens."""
    silent: frozenset[int]
    ends: frozenset[int]

    @classmethod
    def of(cls, model: Model) -> _TokenIndex:
        """The index of a model; made once, 0.2 s for 151,000 tokens."""
        known = _INDICES.get(model)
        if known is not None:
            return known
        pieces = [model.piece(token) for token in range(model.n_vocab)]
        first = np.array([piece[0] if piece else _NO_BYTE for piece in pieces], np.int16)
        first[list(model.silent_tokens)] = _NO_BYTE
        first[list(model.end_tokens)] = _END
        single = {
            piece[0]: token
            for token, piece in enumerate(pieces)
            if len(piece) == 1 and first[token] < 256
        }
        found = cls(
            first,
            np.array(list(single), np.int16),
            np.array(list(single.values()), np.int32),
            model.silent_tokens,
            model.end_tokens,
        )
        _INDICES[model] = found
        return found


_INDICES: WeakKeyDictionary[Model, _TokenIndex] = WeakKeyDictionary()


class Matcher:
    """Where in a grammar one answer is."""

    def __init__(self, handle: Any, tokens: _TokenIndex, *, lead_bytes: bool) -> None:
        """
        Args:
            handle: ``llama_sampler *`` of a grammar; the matcher frees it.
            tokens: of the model.
            lead_bytes: whether a refused first byte of several rules out all characters with it.
        """
        lib = self._lib = load_library()
        self._apply, self._accept = lib.llama_sampler_apply, lib.llama_sampler_accept
        self._handle = handle
        self._index = tokens
        self._lead_bytes = lead_bytes
        self.ends = tokens.ends
        self._few = _Candidates(lib, _ASKED)

    def allows(self, token: int) -> bool:
        """Whether the answer may go on with ``token``, or end where that is an end token."""
        # It would count as its spelling, which is no part of the answer's text.
        if token in self._index.silent:
            return False
        few = self._few
        few.tokens[0] = (token, 0.0, 0.0)
        self._apply(self._handle, few.sized(1))
        return bool(few.tokens[0]["logit"] == 0.0)

    def allowed(self, tokens: Tokens) -> npt.NDArray[np.bool_]:
        """The same of many."""
        if len(tokens) <= _MANY:
            return self._ask(tokens)
        found = self._possible()[tokens]
        found[found] = self._ask(tokens[found])
        return found

    def _ask(self, tokens: Tokens) -> npt.NDArray[np.bool_]:
        if not len(tokens):
            return np.zeros(0, np.bool_)
        held = self._few if len(tokens) <= _ASKED else _Candidates(self._lib, len(tokens))
        rows = held.tokens[: len(tokens)]
        rows["id"], rows["logit"] = tokens, 0.0
        self._apply(self._handle, held.sized(len(tokens)))
        found: npt.NDArray[np.bool_] = rows["logit"] == 0.0
        # Of these the first byte is unknown, too.
        return found & (self._index.first[tokens] != _NO_BYTE)

    def _possible(self) -> npt.NDArray[np.bool_]:
        """For every token, whether its first byte may come next: (vocabulary,)."""
        index = self._index
        bytes_allowed = np.ones(256 + 2, np.bool_)
        bytes_allowed[index.single_bytes] = self._ask(index.single_tokens)
        if not self._lead_bytes:
            bytes_allowed[0x80:256] = True
        return bytes_allowed[index.first]

    def may_end(self) -> bool:
        """Whether the answer may end here."""
        return any(self.allows(token) for token in self.ends)

    def accept(self, token: int) -> None:
        """Go on with an allowed token that is no end token: any other aborts the process."""
        self._accept(self._handle, token)

    def close(self) -> None:
        """Free native memory."""
        if self._handle:
            self._lib.llama_sampler_free(self._handle)
            self._handle = None


class Constrained:
    """Draws as another chooser does, but only what a grammar allows."""

    def __init__(self, chooser: Chooser, matcher: Matcher, sampling: Sampling, seed: int) -> None:
        self._chooser = chooser
        self._matcher = matcher
        self._sampling = sampling
        self._seed = seed
        # Most answers of a tuned model need neither.
        self._generator: np.random.Generator | None = None
        self._cuts: Any = None
        self._ends = matcher.ends

    def choose(self, row: Row) -> int:
        """See ``Chooser``.

        Raises:
            ModelError: the model's vocabulary cannot spell what the grammar asks for.
        """
        token = self._chooser.choose(row)
        if not self._matcher.allows(token):
            token = self._choose_again(row)
        if token not in self._ends:
            self._matcher.accept(token)
        return token

    def _choose_again(self, row: Row) -> int:
        everything = np.arange(len(row.logits), dtype=np.int32)
        if self._sampling.temperature <= 0.0:
            found = self._best_allowed(everything, row.logits)
        else:
            found = self._best_allowed(*self._race(everything, row.logits))
            if found is None and self._cut:
                allowed = everything[self._matcher.allowed(everything)]
                found = self._winner(allowed, row.logits[allowed]) if len(allowed) else None
        if found is None:
            raise ModelError(
                "no token of the model's vocabulary goes on as the grammar demands",
                hint="Does the grammar ask for characters that this model cannot write?",
            )
        return found

    def _best_allowed(self, tokens: Tokens, keys: npt.NDArray[np.float32]) -> int | None:
        """The allowed token with the largest key; None where none is allowed."""
        if len(tokens) > _ASKED:
            front = np.argpartition(keys, -_ASKED)[-_ASKED:]
            found = self._first_allowed(tokens, keys, front)
            if found is not None:
                return found
        return self._first_allowed(tokens, keys, np.arange(len(tokens)))

    def _first_allowed(
        self, tokens: Tokens, keys: npt.NDArray[np.float32], among: npt.NDArray[np.int64]
    ) -> int | None:
        allowed = among[self._matcher.allowed(tokens[among])]
        return int(tokens[allowed[keys[allowed].argmax()]]) if len(allowed) else None

    @property
    def _cut(self) -> bool:
        sampling = self._sampling
        return sampling.top_k > 0 or sampling.top_p < 1.0 or sampling.min_p > 0.0

    def _winner(self, tokens: Tokens, logits: npt.NDArray[np.float32]) -> int:
        survivors, keys = self._race(tokens, logits)
        return int(survivors[keys.argmax()])

    def _race(
        self, tokens: Tokens, logits: npt.NDArray[np.float32]
    ) -> tuple[Tokens, npt.NDArray[np.float32]]:
        """The tokens that survive the cuts, and the key of each in a draw."""
        if self._cut:
            tokens, logits = self._survivors(tokens, logits)
        elif self._sampling.temperature != 1.0:
            logits = logits / np.float32(self._sampling.temperature)
        if self._generator is None:
            self._generator = np.random.Generator(np.random.Philox(key=self._seed))
        variates = self._generator.standard_exponential(len(tokens), np.float32)
        # The smallest positive number: the ziggurat may give 0.
        np.maximum(variates, np.finfo(np.float32).tiny, out=variates)
        return tokens, logits - np.log(variates)

    def _survivors(
        self, tokens: Tokens, logits: npt.NDArray[np.float32]
    ) -> tuple[Tokens, npt.NDArray[np.float32]]:
        lib = load_library()
        if self._cuts is None:
            self._cuts = make_cuts(self._sampling)
        held = _Candidates(lib, len(tokens))
        held.tokens["id"], held.tokens["logit"] = tokens, logits
        array = held.array
        array.size, array.selected, array.sorted = len(tokens), -1, False
        lib.llama_sampler_apply(self._cuts, ctypes.byref(array))
        # A sampler may have put the survivors elsewhere.
        address = ctypes.cast(array.data, ctypes.c_void_p).value
        assert address
        raw = (ctypes.c_char * (array.size * _TOKEN_DATA.itemsize)).from_address(address)
        left = np.frombuffer(raw, _TOKEN_DATA).copy()
        return left["id"], left["logit"]

    def close(self) -> None:
        """Free native memory."""
        self._chooser.close()
        self._matcher.close()
        if self._cuts:
            load_library().llama_sampler_free(self._cuts)
            self._cuts = None


def constrained(grammar: Grammar, chooser: Chooser, sampling: Sampling, seed: int) -> Chooser:
    """``chooser``, held to a grammar from an answer's beginning on."""
    return Constrained(chooser, grammar.begin(), sampling, seed)


class _Candidates:
    """A ``llama_token_data_array`` over a numpy array, which must be kept."""

    def __init__(self, lib: Any, size: int) -> None:
        self.tokens = np.zeros(size, _TOKEN_DATA)
        self.array = lib.llama_token_data_array()
        pointer = dict(lib.llama_token_data_array._fields_)["data"]
        self.array.data = ctypes.cast(self.tokens.ctypes.data, pointer)
        self.array.selected = -1
        self._reference = ctypes.byref(self.array)

    def sized(self, size: int) -> Any:
        """A reference to pass on, to the first ``size`` of them."""
        self.array.size = size
        return self._reference
