"""A player of mixed skill for TextCraft: the environment's expert, with slips.

*Expert* episodes are the oracle's. *Careless* episodes have the slips of ``Habits``. They are meant
to leave room for self-training, as the model card says.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from agentr_lite.agent.turns import REFLECT, REFLECT_REPLY, REFLECTIONS
from agentr_lite.envs.expert import Move
from agentr_lite.envs.textcraft.expert import Crafter, get_command
from agentr_lite.envs.textcraft.rules import Recipe, item_name, shown_name

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


class Player(Crafter):
    """Plays one episode; ``next_move`` and ``observe`` alternate."""

    def __init__(
        self, commands: Sequence[Recipe], goal: str, rng: random.Random, habits: Habits = EXPERT
    ) -> None:
        self.rng = rng
        self.habits = habits
        self.careless = rng.random() < habits.careless
        self.slipped = False
        """Whether the player forgot something on the way to its next move."""
        self.mode: Literal["work", "failed", "reflected", "looked"] = "work"
        self.last_get: tuple[int, str] | None = None
        self.tempted: tuple[int, str] | None = None
        self.was_tempted = False
        self.hoarded = 0
        super().__init__(commands, goal)

    @property
    def gives_up(self) -> bool:
        """Whether the demonstration should end here, unsolved."""
        return self.hoarded > self.habits.patience

    def next_move(self) -> Move:
        """The next turn, with the verdict that a perfect critic would give."""
        if self.mode == "failed":
            return self._after_failure()
        if self.mode == "reflected" and self.tempted is None:
            self.mode = "looked"
            self.action = ("inventory", 0, "")
            return Move("What do I have?", "inventory", "uncertain")
        self.mode = "work"
        self.slipped = False
        self.tempted, self.was_tempted = None, self.tempted is not None
        move = super().next_move()
        forgot = self.slipped and move.action.startswith("get ")
        return replace(move, verdict="bad") if self.tempted or forgot else move

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
            if self.mode != "work":
                return
        super().observe(observation)

    def amounts(self, need: int, recipe: Recipe) -> tuple[int, list[tuple[int, str]]]:
        """As the expert; a careless player may forget the crafts after the first, or an input."""
        times, listed = super().amounts(need, recipe)
        if times > 1 and self._slips(self.habits.forget_times):
            times, self.slipped = 1, True
        if len(listed) >= 3 and self._slips(self.habits.forget_input):
            listed.pop()
            self.slipped = True
        return times, listed

    def makes(self, count: int, item: str) -> bool:
        """Whether the player is not tempted to get what has to be crafted."""
        if not self.was_tempted and self._slips(self.habits.get_crafted):
            self.tempted = (count, item)
            return False
        self.was_tempted = False
        return True

    # -- internals ---------------------------------------------------------------------------

    def _slips(self, probability: float) -> bool:
        # Draw in any case, so that a habit does not change the rest of the episode.
        return self.rng.random() < probability and self.careless

    def _after_failure(self) -> Move:
        if self.tempted is None and self.last_get and self._slips(self.habits.hoard):
            self.hoarded += 1
            count, item = self.last_get
            self.action = ("get", count, item)
            return Move(f"I need more {shown_name(item)}.", get_command(count, item), "bad")
        return Move(self.rng.choice(REFLECTIONS), REFLECT, "uncertain")

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
