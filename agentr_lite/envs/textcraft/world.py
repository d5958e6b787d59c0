"""A world: the valid recipes, the shown commands, and the goal.

A bundled task, a data pack's task and a procedural task with made-up items are all worlds. The
environment and the solver use nothing else.
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
    """The setting of an episode. It is immutable and compared by identity."""

    table: RecipeTable
    """The valid recipes."""
    goal: str
    """Name of the item to craft (underscores, no namespace)."""
    commands: tuple[Recipe, ...] = field(repr=False)
    """The shown recipes, in their order. An agent, or the solver, knows only these."""

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
            goal: the item to craft.
            commands: the shown recipes, in their order.
            recipes: recipes that are valid but not shown.
            tags: real tags, name -> members.
            items: additional names that can be got.
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
    """A task with its own world, e.g. a procedural one with made-up items.

    ``TextCraft.reset`` starts it like any other task; its items need not be in any book. The
    payload has only plain JSON types, so the task can be stored.

    Args:
        name: a unique name.
        goal: the item to craft, with blanks or with underscores.
        commands: the shown recipes, in their order, or texts like ``craft 4 oak planks using 1 oak
            logs``.
        split: any name.
        recipes: recipes that are valid but not shown.
        tags: real tags, name -> members.
        items: additional names that can be got.
        level: difficulty class; default: the goal's crafting depth.

    Raises:
        RecipeSyntaxError: a command cannot be read.
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
    """The world of a task from ``custom_task``.

    Raises:
        UsageError: the payload has another form, or a command cannot be read.
    """
    goal, commands = payload.get("goal"), payload.get("commands")
    if not isinstance(goal, str) or isinstance(commands, str) or not commands:
        raise UsageError(
            "a TextCraft task needs a payload with 'goal' and a list of 'commands'",
            hint="agentr_lite.envs.textcraft.custom_task makes such a payload.",
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
