"""The tokens that a grammar allows are those that llama.cpp's own sampler allows.

The exceptions, all about bytes in the middle of a character:

- llama.cpp allows bytes with which no UTF-8 text continues (F5, E0 80, ...).
- It refuses the first byte of all characters that share it with an excluded one: C3 of ``[^é]``.
- It lets an answer end in the middle of a character.
"""

from __future__ import annotations

import codecs
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agentr_lite.actors.grammar.matcher import Grammars
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.registry import resolve_model
from agentr_lite.agent.grammar import turn_grammar
from agentr_lite.core.gbnf import parse_grammar
from agentr_lite.envs.registry import make_env
from tests.support.gbnf_cases import SMALL, TURN, sentence
from tests.support.llama_grammar import LlamaGrammar
from tests.support.tiny_gguf import write_tiny_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    model = Model(write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf"))
    yield model
    model.close()


@pytest.fixture(scope="module")
def starter() -> Iterator[Model]:
    model = Model(resolve_model("starter").gguf)
    yield model
    model.close()


def unfinished(text: bytes) -> int | None:
    """Bytes of a last character that is not whole; None where no UTF-8 text begins so."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(text)
    except UnicodeDecodeError:
        return None
    left = decoder.getstate()[0]
    # Python waits for the third byte of a surrogate before it refuses it.
    return None if left[:1] == b"\xed" and left[1:2] >= b"\xa0" else len(left)


class Walks:
    """Random walks of both matchers through one grammar."""

    def __init__(self, model: Model, text: str, seed: int = 0) -> None:
        self.model = model
        self.pieces = [model.piece(token) for token in range(model.n_vocab)]
        self.by_first_byte: dict[int, list[int]] = {}
        for token, piece in enumerate(self.pieces):
            if piece:
                self.by_first_byte.setdefault(piece[0], []).append(token)
        self.rules = parse_grammar(text)
        self.ours = Grammars(model, model.n_vocab).compiled(text)
        self.witness = LlamaGrammar(model, text)
        self.rng = random.Random(seed)
        self.states = 0
        self.exceptions: set[str] = set()

    def walk(self, states: int) -> None:
        """Compare that many states."""
        longest = self.states + states
        while self.states < longest:
            # Free walks lose themselves in long repetitions; texts of the grammar do not.
            plan = self.spelt(sentence(self.rules, self.rng).encode())
            if self.rng.random() < 0.3:
                plan = plan[: self.rng.randrange(len(plan) + 1)]
            self._walk(plan, longest)
        self.witness.close()

    def spelt(self, text: bytes) -> list[int]:
        """Random tokens of a text."""
        tokens: list[int] = []
        while text:
            begins = self.by_first_byte[text[0]]
            fits = [token for token in begins if text.startswith(self.pieces[token])]
            tokens.append(self.rng.choice(fits))
            text = text[len(self.pieces[tokens[-1]]) :]
        return tokens

    def _walk(self, plan: list[int], longest: int) -> None:
        ours, text = self.ours.begin(), b""
        self.witness.restart()
        free = self.rng.randrange(12)
        while self.states < longest:
            mask, witness = ours.mask(), self.witness.mask()
            self.states += 1
            self.compare(text, mask, witness, ours.may_end())
            token = self.rng.randrange(len(mask))
            assert ours.allows(token) == mask[token]
            both = mask & witness
            both[list(ours.ends)] = False
            if plan:
                token = plan.pop(0)
                assert mask[token], (text, self.pieces[token])
                if not witness[token]:
                    return
            elif free and both.any():
                free -= 1
                # Plain text as often as odd bytes.
                choices = np.flatnonzero(both).tolist()
                token = self.rng.choice(choices)
            else:
                return
            ours.accept(token)
            self.witness.accept(token)
            text += self.pieces[token]

    def compare(self, text: bytes, mask: np.ndarray, witness: np.ndarray, may_end: bool) -> None:
        """The masks are equal, but for the exceptions that are named above."""
        for end in self.model.end_tokens:
            assert mask[end] == may_end
            if witness[end] != may_end:
                assert unfinished(text), text
                self.exceptions.add("ends in a character")
        different = mask != witness
        different[list(self.model.end_tokens)] = False
        for token in np.flatnonzero(different):
            left = unfinished(text + self.pieces[token])
            if witness[token]:
                assert left is None, ("refused", text, self.pieces[token])
                self.exceptions.add("no UTF-8")
            else:
                assert left, ("allowed", text, self.pieces[token])
                self.exceptions.add("first byte")


@pytest.mark.parametrize("text", SMALL)
def test_small_grammars(tiny: Model, text: str) -> None:
    walks = Walks(tiny, text)
    walks.walk(250)
    assert walks.exceptions <= {"no UTF-8", "first byte", "ends in a character"}
    if "é" not in text:
        assert "first byte" not in walks.exceptions


@pytest.mark.parametrize("name", ["textcraft", "webshop", "turn"])
def test_turns(starter: Model, name: str) -> None:
    text = TURN if name == "turn" else turn_grammar("env", make_env(name))
    walks = Walks(starter, text)
    walks.walk(500)
    # A thought may hold any character.
    assert walks.exceptions <= {"no UTF-8"}


def test_the_exceptions_are_there(tiny: Model) -> None:
    """If one is no longer seen, llama.cpp has changed, and what is said of it is out of date."""
    single = {piece: token for token, piece in enumerate(map(tiny.piece, range(tiny.n_vocab)))}
    matcher = Grammars(tiny, tiny.n_vocab).compiled("root ::= [^é\\n]*").begin()
    witness = LlamaGrammar(tiny, "root ::= [^é\\n]*")
    mask, other = matcher.mask(), witness.mask()
    witness.close()
    assert (mask[single[b"\xc3"]], other[single[b"\xc3"]]) == (True, False)
    assert (mask[single[b"\xff"]], other[single[b"\xff"]]) == (False, True)


def test_a_grammar_of_a_file_in_both_formats_allows_the_same(starter: Model) -> None:
    """The bytes of a token do not depend on the back end."""
    from mlx_lm.tokenizer_utils import load

    from agentr_lite.actors.mlx.vocabulary import HfVocabulary

    directory = resolve_model("starter").train_dir
    assert directory is not None
    vocabulary = HfVocabulary(load(Path(directory)), origin="starter")
    text = turn_grammar("env", make_env("textcraft"))
    both = [Grammars(v, starter.n_vocab).compiled(text).begin() for v in (starter, vocabulary)]
    for token in starter.tokenize("Thought: I need planks.\nAction: get 2 oak logs"):
        assert np.array_equal(both[0].mask(), both[1].mask())
        for matcher in both:
            matcher.accept(token)
    assert both[0].may_end()
    assert both[1].may_end()
