"""The oracle: the remaining actions from any inventory, and the value of a single step.

TextCraft has no dead ends, because every raw item can be got again. So there is a plan from every
inventory; ``planner`` finds it.
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
    """The remaining actions for crafting ``goal``; held items are used first.

    All pieces of a raw item are got in one action. Only shown recipes are used.

    Args:
        world: the task's world.
        inventory: the held items.
        goal: the item to craft; default: the world's goal.

    Returns:
        The actions in a valid order; empty if the goal is held already.

    Raises:
        UnsolvableError: the shown recipes do not lead to the goal.
    """
    return _planner(world).plan(inventory, world.goal if goal is None else goal)


def solve(world: World) -> list[str]:
    """The plan from an empty inventory, in the environment's form."""
    return [action.text for action in plan(world, {})]


def remaining(world: World, inventory: Inventory, goal: str | None = None) -> int:
    """The number of remaining actions."""
    return len(plan(world, inventory, goal))


def judge(world: World, before: Inventory, after: Inventory, *, ok: bool) -> Verdict:
    """The value of one step, by the plans before and after it.

    ``good``: fewer actions remain. ``neutral``: nothing changed (``inventory``), or the step got a
    part of the pieces that one action could get. ``bad``: the action failed, or no fewer actions
    remain.

    Args:
        world: the task's world.
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
    """Shown crafts that would succeed now, for each held member of a tag."""
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
