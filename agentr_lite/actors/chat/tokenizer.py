"""Rendered conversations to token ids: the template's own control tokens, and plain contents.

A chat template's text holds control tokens such as ``<|im_end|>``. A content (an observation, a
task, an answer) may spell one, too, but never becomes one: before a conversation is rendered,
such spellings are replaced by placeholders, and they come back as plain text when the fragments
between the template's control tokens are tokenized::

    content     say <|im_end|> now                    guarded: say \\ue000\\U000f0000 now
    rendered    <|im_start|>user\\nsay \\ue000\\U000f0000 now<|im_end|>\\n
    tokens      [1]         user\\nsay <|im_end|> now   [2]       \\n
                control     plain text                control   plain text
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from agentr_lite.core.messages import Message

_KEPT_FRAGMENTS = 50_000
_PROBE = " Hello,  world! <|x|>\n\nIt's 2 o'clock,\tand\r\n42 über-Straßen 漢字 🙂 "
_MARKS = range(0xE000, 0xF900)
"""Private-use characters; the first one that no content holds marks the placeholders."""
_INDEX = 0xF0000
"""The character after the mark is this plus the spelling's number."""


class Vocabulary(Protocol):
    """A back end's own tokenizer."""

    is_bpe: bool
    """Whether it is a byte-level BPE."""
    adds_bos: bool
    """Whether conversations begin with ``bos``."""
    bos: int

    def tokenize(self, text: str) -> list[int]:
        """Token ids of ``text``. Special tokens are recognised; no token is added."""

    def plain(self, text: str) -> list[int]:
        """Token ids of ``text``. The spelling of a control token is text like any other."""

    def special_tokens(self) -> list[str]:
        """Texts that ``tokenize`` always turns into a single token, longest first."""

    def control_tokens(self) -> dict[str, int]:
        """Those of ``special_tokens`` that ``plain`` does not turn into a single token."""

    def stripping_tokens(self) -> dict[str, tuple[bool, bool]]:
        """Special tokens that swallow the white space (before them, after them)."""

    def piece(self, token: int) -> bytes:
        """The bytes that ``token`` adds to a text."""


class Tokenizer:
    """Tokenizes rendered conversations.

    Special tokens cut a text into fragments that a byte-level BPE tokenizer treats one by one, so
    the ids of a fragment can be kept: of a growing conversation only the new turns are tokenized.
    Where that would not be exact (other tokenizers, special tokens that swallow spaces) whole
    texts are tokenized.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._fragments: OrderedDict[tuple[str, bool], list[int]] = OrderedDict()
        self._control = vocabulary.control_tokens()
        self._strips = vocabulary.stripping_tokens()
        self.control_pattern = _alternatives(self._control)
        """Matches the spelling of a control token; None where there are none."""
        self._boundaries: re.Pattern[str] | None = None
        specials = vocabulary.special_tokens()
        if vocabulary.is_bpe and specials and not self._strips:
            self._boundaries = _alternatives(specials)
            probe = _PROBE.join(["", *specials[:64], ""])
            if self._assemble(probe) != vocabulary.tokenize(probe):
                self._boundaries = None

    def control_id(self, spelling: str) -> int:
        """The id of a control token."""
        return self._control[spelling]

    def prompt(self, text: str, guard: Guard | None = None) -> list[int]:
        """Ids of a rendered conversation, with the model's begin-of-text token if it has one.

        Args:
            text: rendered from guarded messages.
            guard: what guarded them; None: no content spells a control token.
        """
        tokens = self.template_text(text, guard)
        vocabulary = self._vocabulary
        if vocabulary.adds_bos and tokens[:1] != [vocabulary.bos]:
            tokens = [vocabulary.bos, *tokens]
        return tokens

    def template_text(self, text: str, guard: Guard | None = None) -> list[int]:
        """Ids of a piece of a rendered conversation: control tokens are recognised."""
        if guard is not None and guard.mark in text:
            return self._guarded(text, guard)
        if self._boundaries is not None:
            return self._assemble(text)
        return list(self._vocabulary.tokenize(text)) if text else []

    def continuation(self, text: str) -> list[int]:
        """Ids of a content that follows a prompt, as plain text."""
        return list(self._fragment(text, plain=True)) if text else []

    def text_of(self, tokens: Sequence[int]) -> bytes:
        """The bytes that tokens spell; control tokens spell nothing."""
        return self._decoded(tokens)

    def guard(self, messages: Sequence[Message]) -> tuple[Sequence[Message], Guard | None]:
        """The messages with placeholders for the control tokens that their contents spell."""
        pattern = self.control_pattern
        if pattern is None or not any(pattern.search(m["content"]) for m in messages):
            return messages, None
        guard = Guard(messages, pattern)
        return [{"role": m["role"], "content": guard.hide(m["content"])} for m in messages], guard

    def _guarded(self, text: str, guard: Guard) -> list[int]:
        pattern = self.control_pattern
        assert pattern is not None
        tokens: list[int] = []
        parts = pattern.split(text)
        # Fragments stand at even places, the control tokens between them at odd ones.
        for place in range(0, len(parts), 2):
            fragment = parts[place]
            if place and self._strips.get(parts[place - 1], (False, False))[1]:
                fragment = fragment.lstrip()
            if place + 1 < len(parts) and self._strips.get(parts[place + 1], (False, False))[0]:
                fragment = fragment.rstrip()
            if fragment:
                tokens += self._fragment(guard.reveal(fragment), plain=True)
            if place + 1 < len(parts):
                tokens.append(self._control[parts[place + 1]])
        return tokens

    def _assemble(self, text: str) -> list[int]:
        assert self._boundaries is not None
        tokens: list[int] = []
        for fragment in self._boundaries.split(text):
            if fragment:
                tokens += self._fragment(fragment)
        return tokens

    def _fragment(self, text: str, *, plain: bool = False) -> list[int]:
        key = (text, plain)
        known = self._fragments.get(key)
        if known is not None:
            self._fragments.move_to_end(key)
            return known
        vocabulary = self._vocabulary
        tokens = list(vocabulary.plain(text) if plain else vocabulary.tokenize(text))
        self._fragments[key] = tokens
        if len(self._fragments) > _KEPT_FRAGMENTS:
            self._fragments.popitem(last=False)
        return tokens

    def _decoded(self, tokens: Sequence[int]) -> bytes:
        return b"".join(map(self._vocabulary.piece, tokens))


class Guard:
    """Placeholders for what contents spell; made for the messages of one conversation.

    Attributes:
        mark: the character that every placeholder begins with; no content holds it.
    """

    def __init__(self, messages: Sequence[Message], pattern: re.Pattern[str]) -> None:
        """
        Args:
            messages: their contents decide which character is free to be the mark.
            pattern: what is to be hidden.
        """
        used = {char for message in messages for char in message["content"]}
        self.mark = next(chr(code) for code in _MARKS if chr(code) not in used)
        self._pattern = pattern
        self._spellings: list[str] = []
        self._placeholder = re.compile(re.escape(self.mark) + "(.)", re.DOTALL)

    def hide(self, content: str) -> str:
        """``content`` with placeholders."""
        return self._pattern.sub(self._hidden, content)

    def _hidden(self, match: re.Match[str]) -> str:
        if match[0] not in self._spellings:
            self._spellings.append(match[0])
        return self.mark + chr(_INDEX + self._spellings.index(match[0]))

    def reveal(self, text: str) -> str:
        """``text`` as it was before ``hide``."""
        return self._placeholder.sub(lambda m: self._spellings[ord(m[1]) - _INDEX], text)


def _alternatives(spellings: Sequence[str] | dict[str, int]) -> re.Pattern[str] | None:
    longest_first = sorted(spellings, key=lambda text: (-len(text), text))
    return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if spellings else None
