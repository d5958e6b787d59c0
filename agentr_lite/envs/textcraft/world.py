"""A world: the recipes that hold, the commands that are shown, and the goal.

A bundled task, a data pack's task and a procedural task with made-up items are all worlds; the
environment and the solver know nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from agentr_lite.core.errors import UsageError
from agentr_lite.core.tasks import Task
from agentr_lite.envs.textcraft.rules import (
    Recipe,
    RecipeTable,
    item_name,
    parse_recipe,
    shown_name,
)


@dataclass(frozen=True, eq=False)
class World:
    """What an episode plays in. Immutable; compared by identity."""

    table: RecipeTable
    """The recipes that hold."""
    goal: str
    """Name of the item to craft (underscores, no namespace)."""
    commands: tuple[Recipe, ...] = field(repr=False)
    """The recipes shown, in the order shown. An agent, the solver included, knows these alone."""

    @cached_property
    def text(self) -> str:
        """The first observation."""
        shown = "\n".join(recipe.text for recipe in self.commands)
        return f"Crafting commands:\n{shown}\n\nGoal: craft {shown_name(self.goal)}."

    @classmethod
    def of_recipes(
        cls,
        goal: str,
        commands: Iterable[Recipe],
        *,
        recipes: Iterable[Recipe] = (),
        tags: Mapping[str, Sequence[str]] | None = None,
        items: Iterable[str] = (),
    ) -> World:
        """A world from an arbitrary list of recipes.

        Args:
            goal: item to craft.
            commands: what is shown, in that order.
            recipes: recipes that hold besides the shown ones.
            tags: real tags, name -> members.
            items: further names that can be got.
        """
        shown = tuple(commands)
        table = RecipeTable((*shown, *recipes), tags=tags, items=items)
        return cls(table, item_name(goal), shown)


def custom_task(
    name: str,
    goal: str,
    commands: Iterable[Recipe | str],
    *,
    split: str = "train",
    recipes: Iterable[Recipe | str] = (),
    tags: Mapping[str, Sequence[str]] | None = None,
    items: Iterable[str] = (),
    level: int | None = None,
) -> Task:
    """A task that carries its own world, e.g. a procedural one with made-up items.

    ``TextCraft.reset`` starts it like any other; its items need not be in any book. The payload
    holds plain JSON types only, so the task can be stored.

    Args:
        name: unique name.
        goal: item to craft, as shown or with underscores.
        commands: what is shown, in that order: recipes, or ``craft 4 oak planks using 1 oak logs``.
        split: as the caller likes.
        recipes: recipes that hold besides the shown ones.
        tags: real tags, name -> members.
        items: further names that can be got.
        level: difficulty class; default: the goal's crafting depth.

    Raises:
        RecipeSyntaxError: a command that cannot be read.
    """
    payload: dict[str, Any] = {"goal": item_name(goal), "commands": _texts(commands)}
    if extra := _texts(recipes):
        payload["recipes"] = extra
    if tags:
        payload["tags"] = {tag: list(members) for tag, members in tags.items()}
    if names := list(items):
        payload["items"] = names
    world = world_of_payload(payload)
    depth = world.table.depth(world.goal) if level is None else level
    return Task(name, split, f"craft {shown_name(world.goal)}", level=depth, payload=payload)


def world_of_payload(payload: Mapping[str, Any]) -> World:
    """The world of a task made by ``custom_task``.

    Raises:
        UsageError: a payload of another shape, or a command that cannot be read.
    """
    goal, commands = payload.get("goal"), payload.get("commands")
    if not isinstance(goal, str) or isinstance(commands, str) or not commands:
        raise UsageError(
            "a TextCraft task needs a payload with 'goal' and a list of 'commands'",
            hint="agentr_lite.envs.textcraft.custom_task makes one.",
        )
    return World.of_recipes(
        goal,
        (parse_recipe(command) for command in commands),
        recipes=(parse_recipe(command) for command in payload.get("recipes", ())),
        tags=payload.get("tags"),
        items=payload.get("items", ()),
    )


def _texts(recipes: Iterable[Recipe | str]) -> list[str]:
    return [
        (recipe if isinstance(recipe, Recipe) else parse_recipe(recipe)).text for recipe in recipes
    ]
