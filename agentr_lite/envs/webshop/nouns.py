"""The nouns in a product's title.

WebShop uses spaCy's tagger for nouns and proper nouns. Its models are a separate download, so this
module decides by the form of words: nearly every word of a title is tagged as a noun, and the
exceptions are a short list. If the result differs from the tagger's, the reward's ``r_type`` may
differ; every other part of the reward is exact.
"""

from __future__ import annotations

import re
from functools import lru_cache

from agentr_lite.envs.webshop.words import word_list

# Hyphens, slashes and brackets separate words; full stops and apostrophes inside a word do not.
_TOKEN = re.compile(r"[^\W_]+(?:[.'’&+][^\W_]+)*")
_POSSESSIVE = re.compile(r"['’]s$")

_OTHERS = frozenset([*word_list("function"), *word_list("adjective")])
_PARTICIPLE = re.compile(r".{3,}ed$")
_ED_NOUNS = frozenset(word_list("ed"))
_ADVERB = re.compile(r".{4,}ly$")
_LY_NOUNS = frozenset(word_list("ly"))


@lru_cache(maxsize=1 << 14)
def title_nouns(title: str) -> tuple[str, ...]:
    """The nouns and names of a title, in lower case, in order and with repetitions."""
    nouns = []
    for place, token in enumerate(_TOKEN.findall(title)):
        word = _POSSESSIVE.sub("", token.lower())
        # A title starts with a brand, whatever the word's ending.
        formed = place > 0 and _has_other_form(word)
        if word and not word[0].isdigit() and word not in _OTHERS and not formed:
            nouns.append(word)
    return tuple(nouns)


def _has_other_form(word: str) -> bool:
    """Whether a word looks like a participle or an adverb."""
    if _PARTICIPLE.fullmatch(word):
        return word not in _ED_NOUNS
    return _ADVERB.fullmatch(word) is not None and word not in _LY_NOUNS
