"""Conversations to token ids, without tokenizing the same text twice."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Protocol

_KEPT_FRAGMENTS = 50_000
_PROBE = " Hello,  world! <|x|>\n\nIt's 2 o'clock,\tand\r\n42 über-Straßen 漢字 🙂 "


class Vocabulary(Protocol):
    """A back end's own tokenizer."""

    is_bpe: bool
    """Whether it is a byte-level BPE."""
    adds_bos: bool
    """Whether conversations begin with ``bos``."""
    bos: int

    def tokenize(self, text: str) -> list[int]:
        """Token ids of ``text``. Special tokens are recognised; no token is added."""

    def special_tokens(self) -> list[str]:
        """Texts that always become a single token, longest first."""

    def has_stripping_tokens(self) -> bool:
        """Whether a special token changes how the text beside it is tokenized."""


class Tokenizer:
    """Tokenizes rendered conversations.

    Special tokens cut a text into fragments, which a byte-level BPE tokenizer treats separately.
    So the ids of a fragment are kept, and only the new turns of a growing conversation are
    tokenized. Where this is not exact (other tokenizers, special tokens that remove spaces),
    whole texts are tokenized.
    """

    def __init__(self, model: Vocabulary) -> None:
        self._model = model
        self._fragments: OrderedDict[str, list[int]] = OrderedDict()
        self._boundaries: re.Pattern[str] | None = None
        specials = model.special_tokens()
        if model.is_bpe and specials and not model.has_stripping_tokens():
            self._boundaries = re.compile("(" + "|".join(map(re.escape, specials)) + ")")
            probe = _PROBE.join(["", *specials[:64], ""])
            if self._assemble(probe) != model.tokenize(probe):
                self._boundaries = None

    def prompt(self, text: str) -> list[int]:
        """Ids of a rendered conversation, with the model's begin-of-text token if it has one."""
        tokens = self._assemble(text) if self._boundaries else self._model.tokenize(text)
        if self._model.adds_bos and tokens[:1] != [self._model.bos]:
            tokens = [self._model.bos, *tokens]
        return tokens

    def continuation(self, text: str) -> list[int]:
        """Ids of text that follows a prompt."""
        return list(self._fragment(text))

    def _assemble(self, text: str) -> list[int]:
        assert self._boundaries is not None
        tokens: list[int] = []
        for fragment in self._boundaries.split(text):
            if fragment:
                tokens += self._fragment(fragment)
        return tokens

    def _fragment(self, text: str) -> list[int]:
        known = self._fragments.get(text)
        if known is not None:
            self._fragments.move_to_end(text)
            return known
        tokens = list(self._model.tokenize(text))
        self._fragments[text] = tokens
        if len(self._fragments) > _KEPT_FRAGMENTS:
            self._fragments.popitem(last=False)
        return tokens
