"""A player of mixed skill for ScienceWorld's shortest tasks: the environment's expert, with slips.

*Careless* players have the slips of ``ExplorerHabits``. Some of these cannot be undone: pointing at
the wrong thing loses the game.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from agentr_lite.agent.turns import REFLECT, REFLECT_REPLY, REFLECTIONS
from agentr_lite.core.verdicts import Verdict
from agentr_lite.envs.expert import Move
from agentr_lite.envs.sciworld.expert import Finder
from agentr_lite.envs.sciworld.house import Thing, any_things


@dataclass(frozen=True, slots=True)
class ExplorerHabits:
    """Probabilities of a careless player's slips."""

    careless: float = 0.75
    """Share of careless episodes."""
    rush: float = 0.85
    """Try to leave the hallway through a closed door, each time."""
    insist: float = 0.75
    """After each action that failed: repeat it instead of reflecting."""
    first_animal: float = 0.8
    """Point at the first animal, whatever its life span."""
    grab: float = 0.25
    """Point at the first thing in the list, whatever it is."""
    leave: float = 0.6
    """Go to the box without the thing."""
    patience: int = 4
    """Give up after this many useless repetitions; more would teach nothing new."""


class Explorer(Finder):
    """Plays one episode; ``next_move`` and ``observe`` alternate.

    Args:
        opening: the first observation.
        answers: for life spans, the things to point at, in order, each as a set of words.
        rng: random stream of this episode.
        habits: the player's slips.

    Raises:
        ValueError: the player does not know this kind of task.
    """

    def __init__(
        self,
        opening: str,
        answers: Sequence[frozenset[str]],
        rng: random.Random,
        habits: ExplorerHabits,
    ) -> None:
        super().__init__(opening, answers)
        self.rng, self.habits = rng, habits
        self.careless = rng.random() < habits.careless
        self.forgotten = self.announced = self.rushed = False
        self.repeated = 0
        self.reflected = self.warned = False

    @property
    def gives_up(self) -> bool:
        """Whether the demonstration should end here, unsolved."""
        return self.over or self.repeated > self.habits.patience

    def observe(self, observation: str) -> None:
        """Take in the answer of the environment or of the agent loop."""
        if observation != REFLECT_REPLY:
            super().observe(observation)

    def choose(self) -> Move:
        """As the expert; after an action that failed, repeat it or reflect and mend it."""
        if self.failed is not None:
            return self._after_failure(self.failed)
        return super().choose()

    def point(self, candidates: Sequence[Thing]) -> Move:
        """As the expert; a careless player may point at the first thing of all."""
        grabbed = any_things(self.listing)[:1]
        if self._slips(self.habits.grab) and grabbed and grabbed[0] not in candidates:
            self.thing = grabbed[0]
            return Move(f"I take {self.thing.name}.", f"focus on {self.thing.name}", "bad")
        return super().point(candidates)

    def choose_animal(self, animals: list[Thing], right: Thing) -> Move:
        """As the expert; a careless player may point at the first animal."""
        if self._slips(self.habits.first_animal):
            self.thing = animals[0]
            verdict: Verdict = "good" if animals[0] == right else "bad"
            return Move(f"I take {animals[0].name}.", f"focus on {animals[0].name}", verdict)
        return super().choose_animal(animals, right)

    def walk(self, goal: str) -> Move:
        """As the expert; a way without the thing is bad."""
        verdict: Verdict = "good"
        if self.forgotten and not self.held:
            verdict = "uncertain" if self.announced else "bad"
            self.announced = True
        self.rushed = False
        move = super().walk(goal)
        return replace(move, verdict="bad" if self.rushed else verdict)

    def rushes(self) -> bool:
        """Whether a careless player tries to leave the hallway through a closed door."""
        self.rushed = self.room == "hallway" and self._slips(self.habits.rush)
        return self.rushed

    def remembers(self) -> bool:
        """Whether the player takes the thing along, unless it has been careless."""
        if not self.forgotten and not self.warned and self._slips(self.habits.leave):
            self.forgotten = True
        return not self.forgotten

    def bring(self) -> Move:
        """As the expert; moving a thing that was left behind is bad."""
        move = super().bring()
        moves = move.action.startswith("move ")
        return replace(move, verdict="bad") if moves and self.forgotten and not self.held else move

    # -- internals ---------------------------------------------------------------------------

    def _slips(self, probability: float) -> bool:
        # Draw in any case, so that a habit does not change the rest of the episode.
        return self.rng.random() < probability and self.careless

    def _after_failure(self, failed: str) -> Move:
        if not self.reflected and self._slips(self.habits.insist):
            self.repeated += 1
            return Move("I try again.", failed, "bad")
        if not self.reflected:
            self.reflected = True
            return Move(self.rng.choice(REFLECTIONS), REFLECT, "uncertain")
        self.failed, self.reflected = None, False
        self.repeated = 0
        if failed.startswith("go to ") and self.route:
            # Open the door first, after all.
            return Move(f"Way: {', '.join(self.route)}.", f"open door to {self.route[0]}")
        if failed.startswith("move ") and self.forgotten:
            self.forgotten, self.warned = False, True
            return self.bring()
        self.over = True
        return Move("I look around.", "look around", "uncertain")
