"""TextCraft as an ``Environment``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from agentr_lite.core.errors import UsageError
from agentr_lite.core.tasks import SPLITS, Task
from agentr_lite.envs.base import Environment, StepResult
from agentr_lite.envs.expert import expert_turns
from agentr_lite.envs.textcraft import solver
from agentr_lite.envs.textcraft.book import bundled_table
from agentr_lite.envs.textcraft.expert import Crafter, NoWayError
from agentr_lite.envs.textcraft.rules import (
    Inventory,
    RecipeTable,
    apply,
    inventory_text,
    shown_name,
)
from agentr_lite.envs.textcraft.tasks import (
    MAX_DISTRACTORS,
    bundled_splits,
    goals,
    is_published_data,
    published_split,
    stratified_split,
    tasks_of,
    world_of_goal,
)
from agentr_lite.envs.textcraft.world import World, world_of_payload

_INSTRUCTIONS = """\
You play a crafting game. The first message lists crafting commands and names a goal item. \
The game is won when you craft the goal item.

Write two lines each turn:
Thought: what you have, what is missing, and which command you need next
Action: exactly one action

There are three kinds of actions:
- get <count> <item> takes raw items from the surroundings. It works only for items that cannot \
be crafted; an item that can be crafted must be crafted.
- craft <count> <item> using <count> <item>, <count> <item>, ... uses one of the listed commands. \
You must hold all of its inputs. Copy item names and counts exactly as listed: other amounts do \
not work. To make more, give the same command again.
- inventory shows what you hold.

Work backwards from the goal: find its command, then the commands for its inputs, down to items \
that can only be got. Where a command asks for planks or wool, name one kind that you hold, for \
example oak planks. Any other name is that one item: oak log and oak logs are different. \
Listed commands that do not lead to the goal can be ignored.

Example:
Thought: I need a bowl: craft 4 bowl using 3 planks. Planks come from logs, so I start there.
Action: get 1 oak logs"""

_BRIEF = "Craft the goal item. Answer with a Thought line and an Action line."

_GRAMMAR = r"""
action ::= "get " counted | "craft " counted " using " inputs | "inventory"
inputs ::= counted (", " counted){0,%(inputs)d}
counted ::= [1-9] [0-9]{0,17} " " word (" " word){0,%(words)d}
word ::= [^ ,\n]{1,%(letters)d}
"""
_MOST_INPUTS = 9
"""The crafting grid has three rows of three places."""

_WORLDS_KEPT = 4096


class TextCraftSnapshot(NamedTuple):
    """The whole state of an episode."""

    task: Task
    inventory: Inventory


class TextCraft(Environment):
    """Craft a goal item from items that can be got.

    Tasks come from the bundled recipe book or from a Minecraft data pack, or have their own recipes
    (``agentr_lite.envs.textcraft.custom_task``); every instance can start all of them. A task does
    not depend on the seed.

    Args:
        recipes_dir: a data pack, or the recipe directory in it; default: the bundled book.
        distractors: most unhelpful commands that are shown (upstream: 10).
        max_commands: most commands that are shown; distractors are left out first, and commands
            that the goal needs are never left out. 0 = no limit.

    Raises:
        UsageError: an option is wrong, or ``recipes_dir`` has no readable recipes.
    """

    name: ClassVar[str] = "textcraft"
    replays_quickly: ClassVar[bool] = True
    path_options: ClassVar[tuple[str, ...]] = ("recipes_dir",)

    def __init__(
        self,
        recipes_dir: str | None = None,
        distractors: int = MAX_DISTRACTORS,
        max_commands: int = 0,
    ) -> None:
        for option, value in (("distractors", distractors), ("max_commands", max_commands)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise UsageError(f"textcraft: {option} needs a whole number >= 0, not {value!r}")
        self._distractors = distractors
        self._max_commands = max_commands
        self._table = _table(recipes_dir)
        self._bundled = recipes_dir is None
        self._tasks: dict[str, list[Task]] | None = None
        self._worlds: dict[str, tuple[Task, World]] = {}
        self._task: Task | None = None
        self._world: World | None = None
        self._inventory: Inventory = {}

    def tasks(self, split: str) -> Sequence[Task]:
        """The split's tasks, easiest first.

        Raises:
            UsageError: there is no such split.
        """
        if self._tasks is None:
            self._tasks = tasks_of(self._table, self._splits())
        if split not in self._tasks:
            raise UsageError(
                f"textcraft has no split '{split}'", hint=f"Splits: {', '.join(SPLITS)}."
            )
        return self._tasks[split]

    @property
    def goals(self) -> list[str]:
        """The names of all goals, in the order that AgentGym numbers."""
        return goals(self._table)

    def _splits(self) -> dict[str, list[str]]:
        if self._bundled:
            return bundled_splits()
        names = goals(self._table)
        if is_published_data(self._table, names):
            return published_split(names)
        return stratified_split(self._table, names)

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        """Begin ``task`` with an empty inventory. ``seed`` changes nothing.

        Raises:
            UsageError: the task's goal cannot be crafted here, or its recipes cannot be read.
        """
        self._world = self.world(task)
        self._task = task
        self._inventory = {}
        return self._world.text, {}

    def world(self, task: Task) -> World:
        """The recipes, shown commands and goal of a task.

        Raises:
            UsageError: see ``reset``.
        """
        known = self._worlds.get(task.name)
        if known is not None and (known[0] is task or known[0] == task):
            return known[1]
        if "commands" in task.payload:
            world = world_of_payload(task.payload)
        else:
            goal = task.payload.get("goal", task.name)
            if goal not in self._table.by_output:
                raise UsageError(
                    f"textcraft: no recipe here makes '{goal}' (task '{task.name}')",
                    hint="The task may have been made with another recipes_dir.",
                )
            world = world_of_goal(
                self._table,
                goal,
                distractors=self._distractors,
                max_commands=self._max_commands,
            )
        if len(self._worlds) >= _WORLDS_KEPT:
            self._worlds.clear()
        self._worlds[task.name] = (task, world)
        return world

    def step(self, action: str) -> StepResult:
        """Carry out one action; crafting the goal item earns 1 and ends the episode."""
        world = self._playing()
        outcome = apply(world.table, self._inventory, action)
        self._inventory = outcome.inventory
        won = outcome.crafted == world.goal
        return StepResult(outcome.observation, float(won), won, False, {"invalid": not outcome.ok})

    def instructions(self, *, brief: bool = False) -> str:
        """The system prompt."""
        return _BRIEF if brief else _INSTRUCTIONS

    def snapshot(self) -> TextCraftSnapshot:
        """The task and the inventory; this takes constant time, because both are immutable."""
        self._playing()
        assert self._task is not None
        return TextCraftSnapshot(self._task, self._inventory)

    def restore(self, snapshot: TextCraftSnapshot) -> None:
        """Return to a state, even one of another instance with the same settings."""
        if snapshot.task is not self._task:
            self._world = self.world(snapshot.task)
            self._task = snapshot.task
        self._inventory = snapshot.inventory

    def solve(self, task: Task) -> list[str]:
        """The shortest known plan from reset on.

        Raises:
            UnsolvableError: the commands of a custom task do not lead to its goal.
        """
        return solver.solve(self.world(task))

    def demonstrate(self, task: Task) -> list[str]:
        """An expert's turns, which say what is being made and what is still missing.

        Where it does not find the way (it knows no tags but planks and wool), the oracle's actions
        with a plain thought. The episode in progress is lost.
        """
        world = self.world(task)
        try:
            turns = expert_turns(self, task, Crafter(world.commands, world.goal))
        except NoWayError:
            turns = None
        return super().demonstrate(task) if turns is None else turns

    def plan(self) -> list[str]:
        """The oracle's actions from the current state on; empty once the goal is held."""
        return [action.text for action in solver.plan(self._playing(), self._inventory)]

    def valid_actions(self) -> list[str]:
        """Actions that would succeed now: getting one of each raw item, crafts, ``inventory``."""
        world = self._playing()
        raw = sorted(
            {name for recipe in world.commands for _, name in recipe.inputs} & world.table.gettable
        )
        actions = [f"get 1 {shown_name(name)}" for name in raw]
        actions += solver.possible_crafts(world, self._inventory)
        return [*actions, "inventory"]

    def grammar(self) -> str:
        """The forms of actions, with whole counts and any words as an item's name.

        A name has no more words than the longest name of the recipes, a word no more letters, and
        there are no more inputs than places in the crafting grid. Without these limits, an
        untrained model goes on with a whole sentence where a name should be.
        """
        table = self._table
        names = {*table.gettable, *table.by_output, *table.tags}
        words = [shown_name(name).split(" ") for name in names]
        limits = {
            "inputs": max(_MOST_INPUTS, *(len(recipe.inputs) for recipe in table.recipes)) - 1,
            "words": max(map(len, words)) - 1,
            "letters": max(len(word) for name in words for word in name),
        }
        return _GRAMMAR % limits

    def describe_state(self) -> str:
        """The inventory in one line."""
        return inventory_text(self._inventory).rstrip()

    def _playing(self) -> World:
        if self._world is None:
            raise UsageError("textcraft: reset comes before the first step")
        return self._world


def _table(recipes_dir: str | None) -> RecipeTable:
    if recipes_dir is None:
        return bundled_table()
    from agentr_lite.envs.textcraft.datapack import load_datapack

    return load_datapack(recipes_dir)
