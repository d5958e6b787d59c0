"""Numbers as the tables show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .lines import Span


def short(number: float) -> str:
    """``999``, ``12.3k``, ``4.5M``."""
    for limit, divisor, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(number) >= limit:
            return f"{number / divisor:.1f}{unit}"
    return f"{number:.0f}"


def percent(share: float) -> str:
    """``41.3%``."""
    return f"{100 * share:.1f}%"


def interval(estimate: Mapping[str, Any]) -> str:
    """``34–49%``: the 95 % interval of a share."""
    return f"{100 * estimate['low']:.0f}–{100 * estimate['high']:.0f}%"


def reward_span(reward: float, *, reached: bool = True) -> Span:
    """A reward in [0, 1] in the colour of what it means."""
    if not reached:
        return ("–", "dim")
    return (f"{reward:.2f}", "good" if reward >= 1 else "partial" if reward > 0 else "bad")


def counted(number: int, noun: str) -> str:
    """``1 pair``, ``2 pairs``: a number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
