"""Halves of characters: what a terminal, a server or an argument may hold and no UTF-8 can."""

from __future__ import annotations

import re

_LONE = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"
_replaced = 0


def without_surrogates(text: str) -> str:
    """``text`` with U+FFFD for every lone surrogate; they are counted (``replaced_surrogates``)."""
    global _replaced
    if text.isascii():
        return text
    whole, count = _LONE.subn(_REPLACEMENT, text)
    _replaced += count
    return whole


def replaced_surrogates() -> int:
    """How many lone surrogates this process has replaced so far."""
    return _replaced
