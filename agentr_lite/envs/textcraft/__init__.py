"""TextCraft: craft a goal item from a list of commands.

The modules: ``rules`` (grammar, inventory, recipes), ``book`` (the bundled recipes), ``datapack``
(a user's Minecraft data), ``world`` (one task's recipes and goal), ``tasks`` (goals, shown
commands, splits), ``solver`` and ``planner`` (the oracle), ``env`` (the environment).
"""

from agentr_lite.envs.textcraft.env import TextCraft
from agentr_lite.envs.textcraft.rules import Recipe, RecipeTable, parse_recipe
from agentr_lite.envs.textcraft.solver import Action, judge, plan, remaining, solve
from agentr_lite.envs.textcraft.world import World, custom_task

__all__ = [
    "Action",
    "Recipe",
    "RecipeTable",
    "TextCraft",
    "World",
    "custom_task",
    "judge",
    "parse_recipe",
    "plan",
    "remaining",
    "solve",
]
