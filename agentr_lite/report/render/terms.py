"""Links from the words of the page to the list of words at its end."""

from __future__ import annotations

import re
from collections.abc import Callable

from markupsafe import Markup, escape

from agentr_lite.console.glossary import TERMS, Term
from agentr_lite.console.text import clean

_TERM_OF = {form.lower(): term for term in TERMS for form in term.forms}
# The longest form first: "recovery search" is not "recovery". A word in a longer word, and a letter
# that is part of a name or a key, is no term.
_FORMS = "|".join(re.escape(form) for form in sorted(_TERM_OF, key=len, reverse=True))
_ANY = re.compile(rf"(?<![\w.\-/'’])(?:{_FORMS})(?![\w\-/]|\.\w|['’](?:\w|$))", re.IGNORECASE)


def anchor(term: Term) -> str:
    """The id of a term in the list of words."""
    plain = re.sub(r"[^a-z0-9]+", "-", term.word.lower().replace("′", "-prime")).strip("-")
    return f"word-{plain}"


def linker() -> Callable[[object], Markup]:
    """What links the words of one section: each term where it first stands in it.

    The function takes a text of ours, cleans and escapes it, and gives markup.
    """
    seen: set[str] = set()

    def link(value: object) -> Markup:
        text = clean(str(value))
        parts: list[Markup] = []
        end = 0
        for match in _ANY.finditer(text):
            term = _TERM_OF[match[0].lower()]
            if term.word in seen:
                continue
            seen.add(term.word)
            parts.append(escape(text[end : match.start()]))
            parts.append(
                Markup('<a class="term" href="#{}" title="{}">{}</a>').format(
                    anchor(term), term.meaning, match[0]
                )
            )
            end = match.end()
        return Markup("").join([*parts, escape(text[end:])])

    return link
