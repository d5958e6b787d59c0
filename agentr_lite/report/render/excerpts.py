"""Texts of models and environments on their way into a page: each once, cleaned, and bounded."""

from __future__ import annotations

from agentr_lite.console.text import clean

TEXT_BUDGET = 600_000
"""Characters of all texts of the trees together."""
LIMITS = (20_000, 8_000, 4_000, 2_000, 1_000, 500, 200)
"""Characters to which long texts are cut, the first one that makes all of them fit."""


def shorten(text: str, limit: int) -> str:
    """``text`` made safe to show and cut to about ``limit`` characters; it says what is left out.

    Control characters, and those that reorder a line, become visible escapes.
    """
    if len(text) <= limit:
        return clean(text)
    return f"{clean(text[:limit])} … [{len(text) - limit:,} more characters]"


def without_action(action: str | None, text: str) -> str:
    """What a turn says besides its last line ``Action: …``, without the word ``Thought:``."""
    if action is None:
        return text
    said = text.strip()
    tail = f"Action: {action}"
    if said.endswith(tail):
        said = said[: -len(tail)].rstrip()
    return said.removeprefix("Thought: ")


class Excerpts:
    """Equal texts are kept once; ``add`` gives the place in the final list."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def add(self, text: str) -> int:
        """A text's place."""
        return self._places.setdefault(text, len(self._places))

    def finish(self, budget: int = TEXT_BUDGET) -> list[str]:
        """All texts by place; long ones are cut where all would not fit.

        Args:
            budget: characters; exceeded only where even the shortest cut does not suffice.
        """
        lengths = [len(text) for text in self._places]
        limit = next(
            (size for size in LIMITS if sum(min(n, size) for n in lengths) <= budget), LIMITS[-1]
        )
        return [shorten(text, limit) for text in self._places]
