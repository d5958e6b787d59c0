"""A player of mixed skill for ScienceWorld's shortest tasks: find a thing, compare life spans.

It says the rest of its route, room by room, and copies the names that it has read, so that each
turn follows from the turn before. *Careless* players have the slips of ``ExplorerHabits``. Some of
these cannot be undone: pointing at the wrong thing loses the game.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from agentr_lite.agent.turns import REFLECT_REPLY, REFLECTIONS, reflection_turn
from agentr_lite.starter.maker.episodes import Turn, Verdict
from agentr_lite.starter.maker.house import (
    Errand,
    Thing,
    any_things,
    matching_things,
    read_errand,
    read_room,
    route,
)


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


_AGES = {"baby", "hatchling", "juvenile", "adult", "egg"}


class Explorer:
    """Plays one episode; ``next_turn`` and ``observe`` alternate.

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
        errand, room = read_errand(opening), read_room(opening)
        if errand is None or room is None:
            raise ValueError(f"the player does not know this task: {opening[:80]!r}")
        self.errand: Errand = errand
        self.rng, self.habits = rng, habits
        self.careless = rng.random() < habits.careless
        self.answers = list(answers)
        self.room: str = room
        self.listing = opening.partition("\n")[2]
        self.route: list[str] = []
        self.passed: set[frozenset[str]] = set()
        self.open = False
        self.thing: Thing | None = None
        self.focused = 0
        self.held = self.forgotten = self.announced = False
        self.failed: str | None = None
        self.repeated = 0
        self.reflected = self.warned = False
        self.action = ""
        self.over = False

    @property
    def gives_up(self) -> bool:
        """Whether the demonstration should end here, unsolved."""
        return self.over or self.repeated > self.habits.patience

    def next_turn(self) -> Turn:
        """The next assistant turn, with the verdict that a perfect critic would give."""
        if self.failed is not None:
            return self._after_failure()
        if self.thing is None or (self.errand.wanted == "life span" and self.focused):
            return self._seek()
        if not self.errand.box:
            return self._seek()
        return self._bring()

    def observe(self, observation: str) -> None:
        """Take in the answer of the environment or of the agent loop."""
        action = self.action
        if observation == REFLECT_REPLY:
            return
        if observation.startswith(("No known action", "It's not clear", "The door is not open")):
            self.failed = action
            return
        if observation.startswith("Ambiguous request"):
            # The simulator numbers equal things; this player does not answer and gives up.
            self.failed, self.over = None, True
            return
        if action.startswith("open door"):
            self.open = True
        elif action.startswith("go to "):
            self.passed.add(frozenset((self.room, action[6:])))
            self.room, self.open, self.listing = action[6:], False, ""
            self.route = self.route[1:]
        elif action == "look around":
            self.listing = observation
        elif action.startswith("focus on "):
            self.focused += 1
        elif action.startswith("pick up "):
            self.held = True

    # -- internals ---------------------------------------------------------------------------

    def _slips(self, probability: float) -> bool:
        # Draw in any case, so that a habit does not change the rest of the episode.
        return self.rng.random() < probability and self.careless

    def _turn(self, thought: str, action: str, verdict: Verdict = "good") -> Turn:
        self.action = action
        return Turn(f"Thought: {thought}\nAction: {action}", verdict)

    def _seek(self) -> Turn:
        """Go to the right place, look around, and point at a thing."""
        errand = self.errand
        if self.room != errand.place:
            return self._walk(errand.place)
        if not self.listing:
            return self._turn(f"I look for {_wanted(errand)}.", "look around")
        candidates = matching_things(self.listing, errand.wanted)
        if errand.wanted == "life span":
            return self._point_at_animal(candidates)
        grabbed = any_things(self.listing)[:1]
        if self._slips(self.habits.grab) and grabbed and grabbed[0] not in candidates:
            self.thing = grabbed[0]
            return self._turn(f"I take {self.thing.name}.", f"focus on {self.thing.name}", "bad")
        if not candidates:
            self.over = True
            return self._turn("There is nothing of the kind here.", "inventory", "uncertain")
        self.thing = candidates[0]
        thought = f"{self.thing.name} is {_wanted(errand)}."
        return self._turn(thought, f"focus on {self.thing.name}")

    def _point_at_animal(self, animals: list[Thing]) -> Turn:
        """Point at the animal with the next life span of the task."""
        right = [
            thing
            for thing in animals
            if self.focused < len(self.answers)
            and set(thing.name.split()) - _AGES == self.answers[self.focused] - _AGES
        ]
        names = ", ".join(animal.name for animal in animals)
        if not right:
            self.over = True
            return self._turn(f"{names}: I cannot tell.", "look around", "uncertain")
        which = "second" if self.focused else "first"
        if self._slips(self.habits.first_animal):
            self.thing = animals[0]
            verdict: Verdict = "good" if animals[0] == right[0] else "bad"
            return self._turn(f"I take {animals[0].name}.", f"focus on {animals[0].name}", verdict)
        self.thing = right[0]
        thought = f"{names}: {which} is {right[0].name}."
        return self._turn(thought, f"focus on {right[0].name}")

    def _walk(self, goal: str) -> Turn:
        verdict: Verdict = "good"
        head = ""
        if not self.route or self.route[-1] != goal:
            self.route = route(self.room, goal)
            self.open = False
            head = f"From {self.room} to {goal}. "
        if self.forgotten and not self.held:
            verdict = "uncertain" if self.announced else "bad"
            self.announced = True
        thought = f"{head}Way: {', '.join(self.route)}."
        step = self.route[0]
        is_open = self.open or frozenset((self.room, step)) in self.passed
        if not is_open and self.room == "hallway" and self._slips(self.habits.rush):
            is_open, verdict = True, "bad"
        return self._turn(thought, f"{'go' if is_open else 'open door'} to {step}", verdict)

    def _bring(self) -> Turn:
        """Move the thing to its box."""
        errand, thing = self.errand, self.thing
        assert thing is not None
        near = errand.box_room == errand.place
        if not self.held and not near and not self.forgotten:
            if not self.warned and self._slips(self.habits.leave):
                self.forgotten = True
            elif self.room != errand.place:
                return self._walk(errand.place)
            else:
                return self._turn(f"I take {thing.carried} along.", f"pick up {thing.carried}")
        if self.room != errand.box_room:
            return self._walk(errand.box_room)
        thought = f"{thing.carried} goes to the {errand.box}."
        verdict: Verdict = "bad" if self.forgotten and not self.held else "good"
        return self._turn(thought, f"move {thing.carried} to {errand.box}", verdict)

    def _after_failure(self) -> Turn:
        assert self.failed is not None
        if not self.reflected and self._slips(self.habits.insist):
            self.repeated += 1
            self.action = self.failed
            return Turn(f"Thought: I try again.\nAction: {self.failed}", "bad")
        if not self.reflected:
            self.reflected = True
            signal = self.rng.choice(REFLECTIONS)
            return Turn(reflection_turn(signal), "uncertain")
        failed, self.failed, self.reflected = self.failed, None, False
        self.repeated = 0
        if failed.startswith("go to ") and self.route:
            # Open the door first, after all.
            step = self.route[0]
            return self._turn(f"Way: {', '.join(self.route)}.", f"open door to {step}")
        if failed.startswith("move ") and self.forgotten:
            self.forgotten, self.warned = False, True
            return self._bring()
        self.over = True
        return self._turn("I look around.", "look around", "uncertain")


def _wanted(errand: Errand) -> str:
    if errand.wanted == "life span":
        return "the animals"
    article = "an" if errand.wanted[0] == "a" else "a"
    return f"{article} {errand.wanted}"
