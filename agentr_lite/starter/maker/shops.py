"""Shops for demonstrations: the bundled catalogue's training goals, and made-up shops.

A made-up shop sells the same kinds of products with other numbers, titles, prices, options and
properties. So the model has to read the pages and cannot remember them.
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
"""Products on a page of results, in the starter's training and in its recipe."""


@dataclass(frozen=True, slots=True)
class Shop:
    """A catalogue with goals for its products."""

    catalogue: Catalogue
    goals: Sequence[Goal]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The goals of dev and test, which no demonstration may have."""

    instructions: frozenset[str]
    products: frozenset[str]
    """Numbers of these goals' products."""

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


def made_up_shop(number: int, held_out: HeldOut, goal_count: int, rng: random.Random) -> Shop:
    """Make up a shop.

    Args:
        number: each number gives another shop.
        held_out: goals and products that the shop must not have as goals.
        goal_count: number of goals, drawn from all that the products and options allow.
        rng: draws the goals.
    """
    rows, known = made_rows(f"starter/{number}")
    catalogue = Catalogue(rows, known, PAGE_SIZE)
    goals = [
        goal
        for goal in synthetic_goals(catalogue, known)
        if goal.instruction not in held_out.instructions and goal.asin not in held_out.products
    ]
    return Shop(catalogue, rng.sample(goals, min(goal_count, len(goals))))
