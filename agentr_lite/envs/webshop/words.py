"""The word lists of ``data/words.txt``."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources


def word_list(name: str) -> tuple[str, ...]:
    """The words of a list, in order.

    Args:
        name: ``stop``, ``function``, ``adjective``, ``ed``, ``ly`` or ``palette``.
    """
    return _lists()[name]


@lru_cache(maxsize=1)
def _lists() -> dict[str, tuple[str, ...]]:
    text = resources.files(__package__).joinpath("data/words.txt").read_text("utf-8")
    lists: dict[str, tuple[str, ...]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("["):
            name = line.strip("[]")
            lists[name] = ()
        elif line and not line.startswith("#"):
            lists[name] += tuple(line.split())
    return lists
