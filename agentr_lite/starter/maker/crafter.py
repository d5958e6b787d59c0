"""A player of mixed skill for TextCraft.

The player keeps a stack of what it is making, and says this stack before it acts. So each turn
follows from the turn before and from one recipe line. A network of three million weights can learn
such short copies, but not long-range reasoning.

*Expert* episodes are the oracle's. *Careless* episodes have the slips of ``Habits``. They are meant
to leave room for self-training, as the model card says.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from agentr_lite.agent.turns import REFLECT_REPLY, REFLECTIONS, reflection_turn
from agentr_lite.envs.textcraft.rules import Recipe, item_name, shown_name
from agentr_lite.starter.maker.episodes import Turn

TAGS: tuple[str, ...] = ("planks", "wool")
"""Ingredients for which any item whose name ends in this word can be used."""

_HELD = re.compile(r"\[(.+?)\] \((\d+)\)")


@dataclass(frozen=True, slots=True)
class Habits:
    """Probabilities of a careless player's slips."""

    careless: float = 0.75
    """Share of careless episodes."""
    forget_times: float = 0.85
    """Craft only once although one craft does not yield enough."""
    forget_input: float = 0.85
    """Leave out the last of three or more ingredients."""
    get_crafted: float = 0.12
    """Try to get an item that has to be crafted."""
    hoard: float = 0.75
    """After each failed craft: get more of the last ingredient instead of reflecting."""
    patience: int = 5
    """Give up after this many useless gets; a longer demonstration would teach nothing new."""


EXPERT = Habits(careless=0.0)


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


class Player:
    """Plays one episode; ``next_turn`` and ``observe`` alternate."""

    def __init__(
        self, commands: Sequence[Recipe], goal: str, rng: random.Random, habits: Habits = EXPERT
    ) -> None:
        self.recipes = {recipe.output: recipe for recipe in reversed(commands)}
        self.order = [recipe.output for recipe in commands]
        self.rng = rng
        self.habits = habits
        self.careless = rng.random() < habits.careless
        self.stack: list[Frame] = []
        self.mode: Literal["work", "failed", "reflected", "looked"] = "work"
        self.last_get: tuple[int, str] | None = None
        self.action: tuple[str, int, str] | None = None
        self.tempted: tuple[int, str] | None = None
        self.hoarded = 0
        self._push(1, goal)

    @property
    def gives_up(self) -> bool:
        """Whether the demonstration should end here, unsolved."""
        return self.hoarded > self.habits.patience

    def maker(self, item: str) -> str | None:
        """The craftable item that can be used as ``item``; None if ``item`` must be got."""
        if item in self.recipes:
            return item
        if item in TAGS:
            return next((n for n in self.order if n.endswith("_" + item)), None)
        return None

    def next_turn(self) -> Turn:
        """The next assistant turn, with the verdict that a perfect critic would give."""
        if self.mode == "failed":
            return self._after_failure()
        if self.mode == "reflected" and self.tempted is None:
            self.mode = "looked"
            self.action = ("inventory", 0, "")
            return Turn("Thought: What do I have?\nAction: inventory", "uncertain")
        self.mode = "work"
        wrong = self._deepen()
        frame = self.stack[-1]
        if self.tempted is not None:
            count, item = self.tempted
            self.action = ("get", count, item)
            return Turn(self._say(_get(count, item)), "bad")
        if frame.missing:
            count, item = frame.missing[0]
            self.action = ("get", count, item)
            return Turn(self._say(_get(count, item)), "bad" if wrong else "good")
        self.action = ("craft", frame.recipe.count, frame.name)
        return Turn(self._say(frame.command()), "good")

    def observe(self, observation: str) -> None:
        """Take in the answer of the environment or of the agent loop."""
        if observation == REFLECT_REPLY:
            self.mode = "reflected"
            return
        if self.mode == "looked":
            self._take_stock(observation)
            return
        if observation.startswith("Could not"):
            self.mode = "failed"
            return
        assert self.action is not None
        verb, count, item = self.action
        if verb == "get":
            self.last_get = (count, item)
            frame = self.stack[-1]
            if self.mode == "work" and frame.missing and frame.missing[0] == (count, item):
                frame.obtained()
        elif verb == "craft":
            self._crafted()

    # -- internals ---------------------------------------------------------------------------

    def _say(self, action: str) -> str:
        thought = " ".join(str(frame) for frame in self.stack)
        return f"Thought: {thought}\nAction: {action}"

    def _push(self, need: int, name: str) -> bool:
        """Start to make ``need`` of ``name``; returns whether the player slipped.

        Raises:
            ValueError: the recipes have a cycle.
        """
        if any(frame.name == name for frame in self.stack):
            raise ValueError(f"the recipes have a cycle with {name}")
        recipe = self.recipes[name]
        times = math.ceil(need / recipe.count)
        slipped = False
        if times > 1 and self._slips(self.habits.forget_times):
            times, slipped = 1, True
        listed = list(recipe.inputs)
        if len(listed) >= 3 and self._slips(self.habits.forget_input):
            listed.pop()
            slipped = True
        missing = [(n * times, item) for n, item in listed]
        self.stack.append(Frame(name, need, recipe, times, listed, missing))
        return slipped

    def _slips(self, probability: float) -> bool:
        # Draw in any case, so that a habit does not change the rest of the episode.
        return self.rng.random() < probability and self.careless

    def _deepen(self) -> bool:
        """Push frames until the next action is possible; returns whether the player slipped."""
        slipped = False
        self.tempted, was_tempted = None, self.tempted is not None
        while self.stack[-1].missing:
            count, item = self.stack[-1].missing[0]
            maker = self.maker(item)
            if maker is None:
                break
            if not was_tempted and self._slips(self.habits.get_crafted):
                self.tempted = (count, item)
                return True
            was_tempted = False
            if item != maker:
                self.stack[-1].chosen[item] = maker
            slipped |= self._push(count, maker)
        return slipped

    def _crafted(self) -> None:
        frame = self.stack[-1]
        frame.times -= 1
        if frame.times > 0:
            return
        self.stack.pop()
        if self.stack:
            self.stack[-1].obtained()

    def _after_failure(self) -> Turn:
        if self.tempted is None and self.last_get and self._slips(self.habits.hoard):
            self.hoarded += 1
            count, item = self.last_get
            self.action = ("get", count, item)
            thought = f"Thought: I need more {shown_name(item)}."
            return Turn(f"{thought}\nAction: {_get(count, item)}", "bad")
        signal = self.rng.choice(REFLECTIONS)
        return Turn(reflection_turn(signal), "uncertain")

    def _take_stock(self, observation: str) -> None:
        """After a failed craft, find from the inventory what the top frame still misses."""
        held = {item_name(name): int(n) for name, n in _HELD.findall(observation)}
        frame = self.stack[-1]
        frame.missing, frame.untouched = [], False
        for n, item in frame.recipe.inputs:
            lack = n * frame.times - held.get(frame.chosen.get(item, item), 0)
            if lack > 0:
                frame.missing.append((lack, item))
        self.mode = "work"


def _get(count: int, item: str) -> str:
    return f"get {count} {shown_name(item)}"


def _amounts(inputs: Sequence[tuple[int, str]]) -> str:
    return ", ".join(f"{n} {shown_name(item)}" for n, item in inputs)
