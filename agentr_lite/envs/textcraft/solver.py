"""The oracle: the actions still needed from any inventory, and what a single step was worth.

TextCraft has no dead ends (what can be got can be got again), so from every inventory there is a
plan; ``planner`` finds it.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Literal

from agentr_lite.envs.textcraft.planner import Action, Planner, UnsolvableError, raw_units
from agentr_lite.envs.textcraft.rules import Inventory, apply
from agentr_lite.envs.textcraft.world import World

__all__ = [
    "Action",
    "UnsolvableError",
    "Verdict",
    "judge",
    "plan",
    "possible_crafts",
    "remaining",
    "solve",
]

Verdict = Literal["good", "bad", "neutral"]


def plan(world: World, inventory: Inventory, goal: str | None = None) -> list[Action]:
    """The actions that still lead to crafting ``goal``, with what is held used first.

    What has to be got of one item is got in one action. Only shown recipes are used.

    Args:
        world: where.
        inventory: what is held.
        goal: the item to craft; default: the world's.

    Returns:
        In an order that works; empty if the goal is held already.

    Raises:
        UnsolvableError: the shown recipes do not lead there.
    """
    return _planner(world).plan(inventory, world.goal if goal is None else goal)


def solve(world: World) -> list[str]:
    """The plan from empty hands, as the environment reads it."""
    return [action.text for action in plan(world, {})]


def remaining(world: World, inventory: Inventory, goal: str | None = None) -> int:
    """The number of actions still needed."""
    return len(plan(world, inventory, goal))


def judge(world: World, before: Inventory, after: Inventory, *, ok: bool) -> Verdict:
    """What one step was worth, by the plans before and after it.

    ``good``: fewer actions remain. ``neutral``: nothing changed (``inventory``), or part of what
    one get would have brought was got. ``bad``: the action failed, or no fewer actions remain.

    Args:
        world: where.
        before: inventory before the step.
        after: inventory after the step.
        ok: whether the action was possible.
    """
    if not ok:
        return "bad"
    if after is before:
        return "neutral"
    old, new = plan(world, before), plan(world, after)
    if len(new) < len(old):
        return "good"
    if len(new) == len(old) and raw_units(new) < raw_units(old):
        return "neutral"
    return "bad"


def possible_crafts(world: World, inventory: Inventory) -> list[str]:
    """Shown crafts that would succeed now, each tag replaced by every held member in turn."""
    crafts: list[str] = []
    for recipe in world.commands:
        kinds = [
            [
                (n, item)
                for item in world.table.tags.get(name, (name,))
                if inventory.get(item, 0) >= n
            ]
            for n, name in recipe.inputs
        ]
        for inputs in itertools.product(*kinds):
            text = Action("craft", recipe.output, recipe.count, recipe, inputs).text
            if apply(world.table, inventory, text).ok:
                crafts.append(text)
    return crafts


@lru_cache(maxsize=512)
def _planner(world: World) -> Planner:
    return Planner(world)
