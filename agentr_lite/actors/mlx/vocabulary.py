"""A Hugging Face tokenizer with the engine's interface: token ids of a text, bytes of a token."""

from __future__ import annotations

import re
from typing import Any

from agentr_lite.core.errors import ModelError

_END_TEXTS = frozenset(
    {
        "<|im_end|>",
        "<|endoftext|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end_of_text|>",
        "<|end|>",
        "<end_of_turn>",
        "<eos>",
        "</s>",
    }
)
"""Special tokens that end an answer even if the model's files do not say so.

Source: the end-of-generation tokens of llama.cpp's llama-vocab.cpp."""

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class HfVocabulary:
    """mlx-lm's tokenizer behind ``agentr_lite.actors.chat.tokenizer.Vocabulary``.

    Attributes:
        end_tokens: ids that end an answer.
        bos_text: spelling of the begin-of-text token; empty if there is none.
        eos_text: spelling of the end token.
        chat_template: the model's own, or None.
    """

    def __init__(self, tokenizer: Any, *, origin: str) -> None:
        """
        Args:
            tokenizer: mlx-lm's wrapper of a tokenizer of the ``tokenizers`` library.
            origin: the model, for messages.

        Raises:
            ModelError: the tokenizer is of another kind, or has no end-of-turn token.
        """
        self._tokenizer = tokenizer
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ModelError(
                f"{origin} has no tokenizer.json",
                hint="Save the tokenizer with transformers (use_fast=True) beside the weights.",
            )
        self._backend = backend
        # Not the same object: the setting would hold for the tokenizer that is shared.
        self._plain = type(backend).from_str(backend.to_str())
        self._plain.encode_special_tokens = True
        self._added = dict(backend.get_added_tokens_decoder())
        self._byte_level = "ByteLevel" in repr(backend.decoder)
        self.is_bpe = self._byte_level
        self.bos = -1 if tokenizer.bos_token_id is None else int(tokenizer.bos_token_id)
        # The tokens of an empty text show whether the tokenizer adds one.
        added = tokenizer.encode("", add_special_tokens=True)
        self.adds_bos = self.bos >= 0 and added[:1] == [self.bos]
        self.bos_text = str(tokenizer.bos_token or "")
        self.eos_text = str(tokenizer.eos_token or "")
        ends = {int(token) for token in getattr(tokenizer, "eos_token_ids", None) or ()}
        ends |= {
            token
            for token, entry in self._added.items()
            if entry.special and entry.content in _END_TEXTS
        }
        if not ends:
            raise ModelError(f"{origin} has no end-of-turn token", hint="Set eos_token.")
        self.end_tokens: frozenset[int] = frozenset(ends)
        template = getattr(tokenizer, "chat_template", None)
        self.chat_template = template if isinstance(template, str) and template.strip() else None
        self._pieces: dict[int, bytes] = {}

    def tokenize(self, text: str) -> list[int]:
        """See ``Vocabulary``."""
        return list(self._tokenizer.encode(text, add_special_tokens=False)) if text else []

    def special_tokens(self) -> list[str]:
        """See ``Vocabulary``."""
        texts = {entry.content for entry in self._added.values() if entry.content}
        return sorted(texts, key=lambda text: (-len(text), text))

    def plain(self, text: str) -> list[int]:
        """See ``Vocabulary``."""
        return list(self._plain.encode(text, add_special_tokens=False).ids) if text else []

    def control_tokens(self) -> dict[str, int]:
        """See ``Vocabulary``."""
        return {
            entry.content: token
            for token, entry in self._added.items()
            if entry.special and entry.content
        }

    def stripping_tokens(self) -> dict[str, tuple[bool, bool]]:
        """See ``Vocabulary``."""
        return {
            entry.content: (entry.lstrip, entry.rstrip)
            for entry in self._added.values()
            if entry.lstrip or entry.rstrip
        }

    def piece(self, token: int) -> bytes:
        """The bytes that ``token`` adds to the text; nothing for special tokens."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._bytes_of(token)
        return known

    def _bytes_of(self, token: int) -> bytes:
        added = self._added.get(token)
        if added is not None:
            return b"" if added.special else added.content.encode()
        text = self._backend.id_to_token(token)
        if text is None:
            # A row of the embedding without a token.
            return b""
        if self._byte_level:
            return b"".join(_BYTES.get(char) or char.encode() for char in text)
        byte = _BYTE_TOKEN.fullmatch(text)
        if byte:
            return bytes([int(byte.group(1), 16)])
        return str(text).replace("▁", " ").encode()


def _byte_alphabet() -> dict[str, bytes]:
    """Character -> byte of the byte-level alphabet.

    Printable bytes are themselves; the other bytes are the characters from U+0100 on.

    Source: ``bytes_to_unicode`` of GPT-2's encoder.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): bytes([byte]) for byte in printable}
    alphabet |= {chr(256 + index): bytes([byte]) for index, byte in enumerate(others)}
    return alphabet


_BYTES = _byte_alphabet()
