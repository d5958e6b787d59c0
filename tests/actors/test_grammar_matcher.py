"""Grammars over the bytes of tokens: what is converted, allowed, forked and given up."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import pytest

from agentr_lite.actors.grammar import matcher as matcher_module
from agentr_lite.actors.grammar.lark import to_lark
from agentr_lite.actors.grammar.matcher import Grammar, Grammars, Matcher, try_grammar
from agentr_lite.core.errors import GrammarError
from agentr_lite.core.gbnf import parse_grammar
from tests.support.gbnf_cases import AMBIGUOUS, JSON, TURN


class ByteTokens:
    """A vocabulary of all bytes, of some words, and of tokens that are no text."""

    WORDS = (b"Thought", b"Th", b": ", b"list", b"listen", b"<|end|>", "工".encode(), b"list")
    END, OTHER_END, CONTROL, UNUSED = 300, 301, 302, 310
    SIZE = 320

    end_tokens = frozenset({END, OTHER_END})

    @cached_property
    def pieces(self) -> list[bytes]:
        pieces = [bytes([byte]) for byte in range(256)] + list(self.WORDS)
        # End tokens and control tokens may have a spelling; the rows after them have none.
        return pieces + [b""] * (self.END - len(pieces)) + [b"<|end|>", b"</s>", b"<|call|>"]

    def control_tokens(self) -> dict[str, int]:
        return {"<|call|>": self.CONTROL}

    def piece(self, token: int) -> bytes:
        return self.pieces[token] if token < len(self.pieces) else b""

    def spell(self, text: str) -> list[int]:
        return list(text.encode())


VOCABULARY = ByteTokens()


@pytest.fixture(scope="module")
def grammars() -> Iterator[Grammars]:
    yield Grammars(VOCABULARY, ByteTokens.SIZE)


def after(grammar: Grammar, text: str) -> Matcher | None:
    """The matcher after a text; None if the grammar refuses it."""
    matcher = grammar.begin()
    for token in VOCABULARY.spell(text):
        if not matcher.allows(token):
            return None
        matcher.accept(token)
    return matcher


def accepts(grammar: Grammar, text: str) -> bool:
    matcher = after(grammar, text)
    return matcher is not None and matcher.may_end()


@pytest.mark.parametrize(
    ("text", "whole", "wrong"),
    [
        ('root ::= stem "ed"\nstem ::= "list" | "listen"', ["listed", "listened"], ["listen"]),
        ('root ::= "a"{0,0} "b" [c]{0} "d"{2}', ["bdd"], ["abdd", "bcdd", "bd"]),
        ('root ::= ("" | "")* "b" ("a"?)*', ["b", "baa"], ["a", ""]),
        ('root ::= "a"*+? "b"', ["b", "aaab"], ["a"]),
        ("root ::= . [^x]", ["ab", "\n\n", "工é"], ["ax", "a\0", "\0a", "a"]),
        ('root ::= "\\x41\\u00e9\\U0001F600" [\\]\\[^-]', ["Aé😀^", "Aé😀-", "Aé😀]"], ["Aé😀a"]),
        ('root ::= fooBar foo-bar\nfooBar ::= "x"\nfoo-bar ::= "y"', ["xy"], ["xx"]),
        ('root ::= start\nstart ::= "x" | "(" start ")"', ["x", "((x))"], ["(x", "x)"]),
        # Another spelling of the same words, and the spelling of a control token.
        ('root ::= "<|end|>"', ["<|end|>"], ["<|end|"]),
        # The rule ends with itself, in some alternatives and in parentheses.
        ('root ::= ([a-c] root | "." root) | "end"', ["end", "a.bend"], ["a.", "ende"]),
        ('root ::= "x" odd\nodd ::= "." | "-" even\neven ::= "!" | "+" odd', ["x-+-!"], ["x-+!"]),
        (JSON, ['{"a": [1, {"b": "\\n"}]}'], ['{"a": [1}', "[]"]),
        # Deeper than llguidance's own reader goes.
        ("root ::= " + "(" * 60 + '"a"' + ' | "b" [c-d])*' * 60, ["", "abcabd"], ["b", "ac"]),
    ],
)
def test_the_language_is_the_grammars(
    grammars: Grammars, text: str, whole: list[str], wrong: list[str]
) -> None:
    grammar = grammars.compiled(text)
    assert [one for one in whole if not accepts(grammar, one)] == []
    assert [one for one in wrong if accepts(grammar, one)] == []


def test_every_spelling_in_tokens_is_allowed(grammars: Grammars) -> None:
    """llguidance would allow the tokenizer's own only, where the text is certain."""
    mask = grammars.compiled(TURN).begin().mask()
    allowed = {VOCABULARY.piece(int(token)) for token in np.flatnonzero(mask)}
    assert allowed == {b"T", b"Th", b"Thought"}
    mask = grammars.compiled('root ::= "list" | "listen"').begin().mask()
    # Two tokens of one spelling are both allowed.
    assert [int(token) for token in np.flatnonzero(mask)] == [ord("l"), 259, 260, 263]


def test_an_answer_may_end_exactly_where_the_grammar_does(grammars: Grammars) -> None:
    grammar = grammars.compiled('root ::= "a" "bc"*')
    for text, may_end in [("", False), ("a", True), ("ab", False), ("abc", True)]:
        matcher = after(grammar, text)
        assert matcher is not None
        mask = matcher.mask()
        for end in VOCABULARY.end_tokens:
            assert mask[end] == matcher.allows(end) == matcher.may_end() == may_end


@pytest.mark.parametrize("text", ["root ::= .*", 'root ::= "<|end|>" | "<|call|>"', JSON])
def test_tokens_that_are_no_text_are_never_allowed(grammars: Grammars, text: str) -> None:
    matcher = grammars.compiled(text).begin()
    mask = matcher.mask()
    ends = sorted(VOCABULARY.end_tokens)
    for token in range(264, ByteTokens.SIZE):
        assert mask[token] == matcher.allows(token) == (token in ends and matcher.may_end())
    # In its letters, a control token's spelling is text like any other.
    assert mask[ord("<")] == mask[261] == (text != JSON)


def test_siblings_fork_and_each_goes_its_own_way(grammars: Grammars) -> None:
    rng = random.Random(3)
    for text in (TURN, JSON, 'root ::= ([a-z]{1,5} " "?){1,5}'):
        grammar = grammars.compiled(text)
        family: list[tuple[Matcher, list[int]]] = [(grammar.begin(), [])]
        for _ in range(120):
            matcher, tokens = rng.choice(family)
            before = matcher.mask()
            child = matcher.fork()
            choices = [int(t) for t in np.flatnonzero(before) if t not in child.ends]
            if not choices:
                continue
            token = rng.choice(choices)
            child.accept(token)
            family.append((child, [*tokens, token]))
            assert np.array_equal(matcher.mask(), before)
        for matcher, tokens in family:
            alone = grammar.begin()
            for token in tokens:
                alone.accept(token)
            assert np.array_equal(alone.mask(), matcher.mask())
            assert alone.may_end() == matcher.may_end()


def test_a_grammar_is_compiled_once(grammars: Grammars) -> None:
    assert grammars.compiled(TURN) is grammars.compiled(TURN)


# What is given up


def test_a_grammar_that_is_too_large_is_refused_before_a_run() -> None:
    doubling = "".join(f"r{i} ::= r{i - 1} r{i - 1}\n" for i in range(1, 40))
    with pytest.raises(GrammarError, match=r"too large or too ambiguous: .*too big") as caught:
        try_grammar(f'root ::= r39\nr0 ::= [a-z] | "-"\n{doubling}')
    assert caught.value.hint
    # The place would be one in llguidance's text.
    assert "19(6)" not in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        # Every further letter multiplies the readings of a text.
        'root ::= "a" root{1,9} | "a" root | "a"',
        AMBIGUOUS,
    ],
    ids=["ambiguous recursion", "repetitions in repetitions"],
)
def test_a_grammar_that_becomes_too_ambiguous_is_an_error_soon(
    grammars: Grammars, text: str
) -> None:
    try_grammar(text)
    matcher = grammars.compiled(text).begin()
    began = time.process_time()
    with pytest.raises(GrammarError, match="too ambiguous to follow an answer beyond") as caught:
        for _ in range(5000):
            assert matcher.allows(ord("a"))
            matcher.accept(ord("a"))
    # Half a second on a quiet core.
    assert time.process_time() - began < 2 * matcher_module._MOST_SECONDS
    assert "x ::= a* b" in caught.value.hint
    assert "\n" not in caught.value.message
    assert "consider" not in caught.value.message
    # It stays an error, at once, and other answers are not affected.
    for ask in (matcher.mask, matcher.may_end, lambda: matcher.allows(ord("b"))):
        with pytest.raises(GrammarError):
            ask()
    assert grammars.compiled(text).begin().mask().any()


def test_an_answer_that_takes_too_long_is_given_up(
    grammars: Grammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matcher_module, "_MOST_SECONDS", 0.0)
    matcher = grammars.compiled(TURN).begin()
    with pytest.raises(GrammarError, match="beyond 0 tokens: more than 0 s of processor time"):
        matcher.mask()


def test_an_answer_is_not_given_up_because_of_earlier_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Matchers share the states that they have found, of which there may be so many."""
    from llguidance import LLParserLimits

    def few_states(**limits: int) -> LLParserLimits:
        return LLParserLimits(**limits, max_lexer_states=3000)

    monkeypatch.setattr("llguidance.LLParserLimits", few_states)
    renewed = []
    again = Grammar.again
    monkeypatch.setattr(
        Grammar, "again", lambda self, tokens: renewed.append(1) or again(self, tokens)
    )
    grammar = Grammars(VOCABULARY, ByteTokens.SIZE).compiled('root ::= [ab]* "a" [ab]{14}')
    rng = random.Random(0)
    for _ in range(80):
        matcher, text = grammar.begin(), ""
        for _ in range(60):
            mask = matcher.mask()
            assert mask[ord("a")]
            assert mask[ord("b")]
            assert matcher.may_end() == (text[-15:-14] == "a")
            text += rng.choice("ab")
            matcher.accept(ord(text[-1]))
    assert renewed


def test_llguidance_forces_nothing() -> None:
    with pytest.raises(RuntimeError, match="nothing is forced"):
        matcher_module._TokenBytes(VOCABULARY, ByteTokens.SIZE)(b"text")
    assert '"no_forcing": true' in to_lark(parse_grammar(TURN))


def test_only_the_latest_grammars_stay_compiled() -> None:
    kept = matcher_module.KEPT_GRAMMARS
    many = Grammars(VOCABULARY, ByteTokens.SIZE)
    texts = [f'root ::= "a{number}"' for number in range(kept + 1)]
    compiled = [many.compiled(text) for text in texts[:kept]]
    # The first is used again, so the second is the one that goes.
    assert many.compiled(texts[0]) is compiled[0]
    many.compiled(texts[kept])
    assert many.compiled(texts[0]) is compiled[0]
    again = many.compiled(texts[1])
    assert again is not compiled[1]
    assert accepts(again, "a1") and not accepts(again, "a0")
