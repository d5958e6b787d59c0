"""From text to search terms, like Lucene's English analysis.

Texts in scripts without spaces between words are not segmented.

Source: Lucene's ``StandardTokenizer`` (Unicode word boundaries), ``EnglishPossessiveFilter``,
``LowerCaseFilter``, ``StopFilter`` and ``PorterStemFilter``, in the order of Anserini's default
analyser.
"""

from __future__ import annotations

import re
from functools import lru_cache

import Stemmer

from agentr_lite.envs.webshop.words import word_list

STOP_WORDS = frozenset(word_list("stop"))
"""Lucene's English stop words."""

# A word may contain an apostrophe, full stop or colon between letters, and a full stop, comma or
# semicolon between digits.
_WORD = re.compile(
    r"\w+(?:(?:(?<=[^\W\d_])[.'’:·](?=[^\W\d_])|(?<=\d)[.,;'](?=\d))\w+)*", re.UNICODE
)
_POSSESSIVE = re.compile(r"['’][sS]$")
_LONGEST_UNSTEMMED = 2
_porter = Stemmer.Stemmer("porter", 0)


def terms(text: str) -> list[str]:
    """The search terms of a text, in order and with repetitions."""
    return [term for word in _WORD.findall(text) if (term := _term(word))]


@lru_cache(maxsize=1 << 17)
def _term(word: str) -> str:
    """The indexed form of a word; empty for a stop word."""
    lowered = _POSSESSIVE.sub("", word).lower()
    if lowered in STOP_WORDS:
        return ""
    if len(lowered) <= _LONGEST_UNSTEMMED:
        return lowered
    stemmed: str = _porter.stemWord(lowered)
    return stemmed
