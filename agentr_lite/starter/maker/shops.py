"""Shops to learn in: the bundled catalogue's training goals, and made-up shops of the same kinds.

A made-up shop sells other products (numbers, titles, prices, options, properties), so that reading
pays and remembering does not.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from agentr_lite.envs.webshop import WebShop
from agentr_lite.envs.webshop.catalogue import Catalogue
from agentr_lite.envs.webshop.goals import synthetic_goals
from agentr_lite.envs.webshop.reward import Goal
from agentr_lite.envs.webshop.stock import made_rows

PAGE_SIZE = 5
"""Products on a page of results: what the starter is trained on, and its recipe says."""


@dataclass(frozen=True, slots=True)
class Shop:
    """A catalogue and what may be wished for there."""

    catalogue: Catalogue
    goals: Sequence[Goal]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What no demonstration may ask for: the goals of dev and test."""

    instructions: frozenset[str]
    products: frozenset[str]
    """Numbers of the products that these goals were made from."""

    @classmethod
    def of(cls, env: WebShop) -> HeldOut:
        """The held-out goals of the bundled shop."""
        goals = [env.goal(task) for split in ("dev", "test") for task in env.tasks(split)]
        return cls(
            frozenset(goal.instruction for goal in goals), frozenset(goal.asin for goal in goals)
        )


def bundled_shop(env: WebShop) -> Shop:
    """The bundled catalogue with its training goals."""
    return Shop(env.catalogue, [env.goal(task) for task in env.tasks("train")])


def made_up_shop(number: int, held_out: HeldOut, wishes: int, rng: random.Random) -> Shop:
    """A shop that exists nowhere else.

    Args:
        number: another number gives another shop.
        held_out: what may not be wished for.
        wishes: how many goals, drawn from all that its products and options allow.
        rng: of that draw.
    """
    rows, known = made_rows(f"starter/{number}")
    catalogue = Catalogue(rows, known, PAGE_SIZE)
    goals = [
        goal
        for goal in synthetic_goals(catalogue, known)
        if goal.instruction not in held_out.instructions and goal.asin not in held_out.products
    ]
    return Shop(catalogue, rng.sample(goals, min(wishes, len(goals))))
