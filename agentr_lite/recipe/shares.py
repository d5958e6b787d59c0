"""Dividing a number of tasks among several environments."""

from __future__ import annotations

from collections.abc import Mapping


def divide(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers in proportion to ``shares`` that add up to ``total``, each at least 1.

    The method of largest remainders. Where ``total`` is less than 1 for each name, the numbers add
    up to more. A ``total`` of 0 stands for all tasks and stays 0 for each name.

    Args:
        total: at least 0.
        shares: name to its share, more than 0.
    """
    if total == 0:
        return dict.fromkeys(shares, 0)
    whole = sum(shares.values())
    exact = {name: total * share / whole for name, share in shares.items()}
    numbers = {name: int(part) for name, part in exact.items()}
    by_remainder = sorted(shares, key=lambda name: numbers[name] - exact[name])
    for name in by_remainder[: total - sum(numbers.values())]:
        numbers[name] += 1
    return {name: max(1, number) for name, number in numbers.items()}
