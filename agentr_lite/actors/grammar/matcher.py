"""Where an answer is in a grammar, and which tokens may come next: llguidance's matcher.

It works on the bytes of tokens. Control tokens and tokens without bytes are never allowed, and a
token that ends an answer is allowed exactly where the grammar may end.

llguidance bounds the work of a step: with the worst grammars one takes a tenth of a second. All
steps of an answer together have a limit of time. A grammar that needs more is given up, which is an
error in the middle of a run. It happens with ambiguous recursion, and with repetitions of ambiguous
repetitions.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from agentr_lite.actors.grammar.lark import to_lark
from agentr_lite.core.errors import GrammarError
from agentr_lite.core.gbnf import parse_grammar

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

_STEP_FUEL = 2_000_000
"""Ten times llguidance's limit of the lexer, which is too small for repetitions in each other. Its
limits of the parser stay: larger ones mostly turn errors into waits of many seconds."""
_MOST_SECONDS = 5.0
"""Processor time for one answer. A usual answer takes a millisecond."""
_SHOWN = 200
KEPT_GRAMMARS = 256
"""With ``agent.grammar: actions`` every state of a game may have its own: they must not pile up."""

T = TypeVar("T")
Mask = npt.NDArray[np.bool_]
"""For every token whether it may come next: (vocabulary,)."""


class Vocabulary(Protocol):
    """What a grammar needs to know of a model."""

    @property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end an answer."""

    def control_tokens(self) -> Mapping[str, int]:
        """Spelling to id of tokens that are no text."""

    def piece(self, token: int) -> bytes:
        """The bytes that ``token`` adds to the text."""


class Grammars:
    """The grammars over one model's vocabulary; the latest ones stay compiled."""

    def __init__(self, vocabulary: Vocabulary, size: int) -> None:
        """
        Args:
            vocabulary: it is read at the first use.
            size: width of a row of the model's logits.
        """
        self._vocabulary = vocabulary
        self._size = size
        self._tokenizer: LLTokenizer | None = None
        self._compiled: OrderedDict[str, Grammar] = OrderedDict()

    def compiled(self, text: str) -> Grammar:
        """The grammar of a GBNF text.

        Raises:
            GrammarError: it is not well formed, or too large.
        """
        grammar = self._compiled.pop(text, None)
        if grammar is None:
            if self._tokenizer is None:
                self._tokenizer = _tokenizer(self._vocabulary, self._size)
            ends = self._vocabulary.end_tokens
            grammar = Grammar(text, self._tokenizer, self._size, ends)
        self._compiled[text] = grammar
        if len(self._compiled) > KEPT_GRAMMARS:
            self._compiled.popitem(last=False)
        return grammar


class Grammar:
    """A grammar over one vocabulary."""

    def __init__(self, text: str, tokenizer: LLTokenizer, size: int, ends: frozenset[int]) -> None:
        """Compile it; see ``Grammars.compiled``.

        Args:
            text: GBNF.
            tokenizer: llguidance's form of the vocabulary.
            size: width of a mask.
            ends: tokens that end an answer.
        """
        self.size = size
        self.ends = ends
        self._lark = to_lark(parse_grammar(text))
        self._tokenizer = tokenizer
        self._start = _compiled(tokenizer, self._lark)

    def begin(self) -> Matcher:
        """A matcher at an answer's beginning."""
        return Matcher(self, self._start.deep_copy(), [])

    def again(self, tokens: list[int]) -> LLMatcher:
        """A matcher after ``tokens`` that shares nothing with earlier ones."""
        self._start = _compiled(self._tokenizer, self._lark)
        matcher = self._start.deep_copy()
        if tokens:
            matcher.consume_tokens(tokens)
        return matcher


class Matcher:
    """Where in a grammar one answer is.

    All methods raise ``GrammarError`` when the grammar is given up, and from then on.
    """

    def __init__(self, grammar: Grammar, state: LLMatcher, tokens: list[int]) -> None:
        self._grammar = grammar
        self._state = state
        self._tokens = tokens
        self._mask: Mask | None = None
        self._seconds = 0.0
        self._error: GrammarError | None = None
        self.ends = grammar.ends

    def fork(self) -> Matcher:
        """Another matcher at the same place, which goes its own way."""
        return Matcher(self._grammar, self._state.deep_copy(), list(self._tokens))

    def allows(self, token: int) -> bool:
        """Whether the answer may go on with ``token``, or end where that is an end token."""
        if token in self.ends:
            allowed = self.may_end()
        else:
            allowed = self._ask(lambda state: state.validate_tokens([token])) == 1
        # A lexer that gives up refuses tokens, and only the mask says why.
        return allowed or bool(self.mask()[token])

    def mask(self) -> Mask:
        """All tokens that ``allows`` allows."""
        if self._mask is None:
            packed = self._ask(lambda state: state.compute_bitmask())
            bits = np.frombuffer(packed, np.uint8)
            mask = np.unpackbits(bits, count=self._grammar.size, bitorder="little")
            self._mask = mask.view(np.bool_)
        return self._mask

    def may_end(self) -> bool:
        """Whether the answer may end here."""
        return self._ask(lambda state: state.is_accepting())

    def accept(self, token: int) -> None:
        """Go on with a token that is allowed and does not end the answer."""
        self._ask(lambda state: state.consume_token(token))
        self._tokens.append(token)
        self._mask = None

    def _ask(self, question: Callable[[LLMatcher], T]) -> T:
        if self._error is not None:
            raise self._error
        began = time.thread_time()
        answer = question(self._state)
        if self._state.is_error():
            # Matchers of one grammar share the states that they have found, and may find only so
            # many. So earlier answers may be to blame; by itself this one is followed.
            self._state = self._grammar.again(self._tokens)
            answer = question(self._state)
            if self._state.is_error():
                self._give_up(_reason(self._state))
        self._seconds += time.thread_time() - began
        if self._seconds > _MOST_SECONDS:
            self._give_up(f"more than {_MOST_SECONDS:g} s of processor time")
        return answer

    def _give_up(self, reason: str) -> NoReturn:
        self._error = GrammarError(
            f"the grammar is too ambiguous to follow an answer beyond {len(self._tokens)} tokens:"
            f" {reason}",
            hint="Write recursion as repetition (x ::= a x | b as x ::= a* b), avoid repetitions of"
            " repetitions, and let alternatives begin with different characters.",
        )
        raise self._error


def try_grammar(text: str) -> None:
    """Compile a grammar without a model.

    Raises:
        GrammarError: it is not well formed, or too large.
    """
    _compiled(_byte_tokenizer(), to_lark(parse_grammar(text)))


def _compiled(tokenizer: LLTokenizer, lark: str) -> LLMatcher:
    # Imported here because only runs with a grammar need it.
    from llguidance import LLMatcher, LLParserLimits

    limits = LLParserLimits(step_lexer_fuel=_STEP_FUEL)
    matcher = LLMatcher(tokenizer, lark, log_level=0, limits=limits)
    if not matcher.is_error():
        # The first step shows more: some grammars are too large only for it.
        trial = matcher.deep_copy()
        trial.compute_bitmask()
        if not trial.is_error():
            return matcher
        matcher = trial
    raise GrammarError(
        f"the grammar is too large or too ambiguous: {_reason(matcher)}",
        hint="Repetitions in repetitions multiply; so do rules that call another rule twice.",
    )


def _reason(matcher: LLMatcher) -> str:
    """llguidance's own words, without places in its grammar, advice and the parser's state."""
    words = matcher.get_error().partition("\n")[0]
    words = re.sub(r"^(at )?\d+\(\d+\): |; (consider|try) .*", "", words)
    return words[:_SHOWN]


@cache
def _byte_tokenizer() -> LLTokenizer:
    from llguidance import LLTokenizer

    return LLTokenizer("byte")


def _tokenizer(vocabulary: Vocabulary, size: int) -> LLTokenizer:
    from llguidance import LLTokenizer

    ends = sorted(vocabulary.end_tokens)
    return LLTokenizer(_TokenBytes(vocabulary, size), n_vocab=size, eos_token=ends)  # type: ignore[arg-type]


class _TokenBytes:
    """A vocabulary in the form of llguidance's ``TokenizerWrapper``."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary, size: int) -> None:
        no_text = vocabulary.end_tokens | set(vocabulary.control_tokens().values())
        self.tokens = [vocabulary.piece(token) for token in range(size)]
        self.special_token_ids = [
            token for token, piece in enumerate(self.tokens) if not piece or token in no_text
        ]
        # Special tokens need different spellings, although no text is compared with them.
        for token in self.special_token_ids:
            self.tokens[token] = b"<[%d]>" % token
        self.eos_token_id = min(vocabulary.end_tokens)

    def __call__(self, text: object) -> list[int]:
        raise RuntimeError("only forced tokens need a tokenizer, and nothing is forced")
