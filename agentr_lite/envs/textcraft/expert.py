"""An expert of TextCraft that says what it is making.

The expert keeps a stack of what it is making, and says this stack before it acts. So each turn
follows from the turn before and from one recipe line. A small model can learn such short copies,
but not long-range reasoning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from agentr_lite.envs.expert import Move
from agentr_lite.envs.textcraft.rules import Recipe, shown_name

TAGS: tuple[str, ...] = ("planks", "wool")
"""Ingredients for which any item whose name ends in this word can be used."""


class NoWayError(ValueError):
    """The expert cannot make the goal from the commands."""


@dataclass(slots=True)
class Frame:
    """An item that the player is making."""

    name: str
    need: int
    recipe: Recipe
    times: int
    listed: list[tuple[int, str]]
    """The inputs of one craft that the player has not forgotten."""
    missing: list[tuple[int, str]]
    """The inputs that are still missing, for all crafts together."""
    untouched: bool = True
    chosen: dict[str, str] = field(default_factory=dict)
    """Tag among the inputs to the item that is made for it."""

    def __str__(self) -> str:
        """The frame in the player's words.

        An untouched frame repeats its recipe from ``name using`` on, exactly, which is the simplest
        copy. Later, the frame lists what is still missing.
        """
        head = f"Make {self.need} {shown_name(self.name)}"
        times = f" x{self.times}" if self.times > 1 else ""
        if not self.missing:
            return f"{head}, ready{times}."
        if self.untouched:
            return f"{head} using {_amounts(self.listed)}{times}."
        return f"{head}, still {_amounts(self.missing)}{times}."

    def obtained(self) -> None:
        """Remove the first missing input, which the player now has."""
        self.missing.pop(0)
        self.untouched = False

    def command(self) -> str:
        """The action of one craft, with items instead of tags."""
        inputs = tuple((n, self.chosen.get(item, item)) for n, item in self.recipe.inputs)
        return Recipe(self.name, self.recipe.count, inputs).text


class Crafter:
    """Plays one episode; ``next_move`` and ``observe`` alternate.

    Args:
        commands: the shown recipes.
        goal: the item to craft.

    Raises:
        NoWayError: no command makes the goal.
    """

    def __init__(self, commands: Sequence[Recipe], goal: str) -> None:
        self.recipes = {recipe.output: recipe for recipe in reversed(commands)}
        self.order = [recipe.output for recipe in commands]
        self.stack: list[Frame] = []
        self.action: tuple[str, int, str] | None = None
        """Verb, count and item of the last move."""
        self.failed = False
        if goal not in self.recipes:
            raise NoWayError(f"no command makes {goal}")
        self.push(1, goal)

    @property
    def gives_up(self) -> bool:
        """Whether an action failed, which the expert's own never should."""
        return self.failed

    def maker(self, item: str) -> str | None:
        """The craftable item that can be used as ``item``; None if ``item`` must be got."""
        if item in self.recipes:
            return item
        if item in TAGS:
            return next((n for n in self.order if n.endswith("_" + item)), None)
        return None

    def next_move(self) -> Move:
        """The next turn: get what is missing, or craft.

        Raises:
            NoWayError: the recipes have a cycle.
        """
        self.deepen()
        frame = self.stack[-1]
        thought = " ".join(str(frame) for frame in self.stack)
        if frame.missing:
            count, item = frame.missing[0]
            self.action = ("get", count, item)
            return Move(thought, get_command(count, item))
        self.action = ("craft", frame.recipe.count, frame.name)
        return Move(thought, frame.command())

    def observe(self, observation: str) -> None:
        """Take in the environment's answer."""
        if observation.startswith("Could not"):
            self.failed = True
            return
        assert self.action is not None
        verb, count, item = self.action
        frame = self.stack[-1]
        if verb == "get":
            if frame.missing and frame.missing[0] == (count, item):
                frame.obtained()
        elif verb == "craft":
            self._crafted(frame)

    def push(self, need: int, name: str) -> None:
        """Start to make ``need`` of ``name``.

        Raises:
            NoWayError: the recipes have a cycle.
        """
        if any(frame.name == name for frame in self.stack):
            raise NoWayError(f"the recipes have a cycle with {name}")
        recipe = self.recipes[name]
        times, listed = self.amounts(need, recipe)
        missing = [(n * times, item) for n, item in listed]
        self.stack.append(Frame(name, need, recipe, times, listed, missing))

    def amounts(self, need: int, recipe: Recipe) -> tuple[int, list[tuple[int, str]]]:
        """How many crafts give ``need``, and the inputs of one craft."""
        return math.ceil(need / recipe.count), list(recipe.inputs)

    def makes(self, count: int, item: str) -> bool:
        """Whether the player makes a craftable input rather than try to get it."""
        return True

    def deepen(self) -> None:
        """Push frames until the next action is possible."""
        while self.stack[-1].missing:
            count, item = self.stack[-1].missing[0]
            maker = self.maker(item)
            if maker is None or not self.makes(count, item):
                break
            if item != maker:
                self.stack[-1].chosen[item] = maker
            self.push(count, maker)

    def _crafted(self, frame: Frame) -> None:
        frame.times -= 1
        if frame.times > 0:
            return
        self.stack.pop()
        if self.stack:
            self.stack[-1].obtained()


def get_command(count: int, item: str) -> str:
    """The action that gets raw items."""
    return f"get {count} {shown_name(item)}"


def _amounts(inputs: Sequence[tuple[int, str]]) -> str:
    return ", ".join(f"{n} {shown_name(item)}" for n, item in inputs)
