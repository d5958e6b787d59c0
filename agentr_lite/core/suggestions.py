"""The nearest known word to an unknown one."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def closest(word: str, known: Sequence[str], *, cutoff: float = 0.6) -> str | None:
    """The known word that is most similar to ``word``; None where none is similar.

    Args:
        word: as it was typed.
        known: the words that it could have been.
        cutoff: the least similarity, from 0 (nothing in common) to 1 (equal).
    """
    close = difflib.get_close_matches(word, known, n=1, cutoff=cutoff)
    return close[0] if close else None


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """`` (did you mean 'x'?)`` or nothing."""
    name = closest(word, known)
    return did_you_mean_one_of([] if name is None else [name])


def did_you_mean_one_of(names: Sequence[str]) -> str:
    """`` (did you mean 'x', 'y' or 'z'?)``; nothing for no names."""
    if not names:
        return ""
    *others, last = [f"'{name}'" for name in names]
    listed = f"{', '.join(others)} or {last}" if others else last
    return f" (did you mean {listed}?)"
