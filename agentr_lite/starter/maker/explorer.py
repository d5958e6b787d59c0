"""A player of mixed skill for ScienceWorld's shortest tasks: find a thing, tell life spans.

It says the way that is left, room by room, and copies the names that it read: each turn follows
from the turn before. *Careless* players have the slips of ``ExplorerHabits``; some cannot be made
good again (pointing at the wrong thing loses the game).
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
    read_errand,
    read_room,
    things,
    way,
)


@dataclass(frozen=True, slots=True)
class ExplorerHabits:
    """Probabilities of a careless player's slips."""

    careless: float = 0.75
    """Share of episodes played carelessly."""
    rush: float = 0.85
    """Walk out of the hallway through a closed door, each time."""
    insist: float = 0.75
    """After an action that failed: the same again instead of reflecting, each time."""
    first_animal: float = 0.8
    """Take the first animal for the one with the life span asked for."""
    grab: float = 0.25
    """Point at the first thing of the list, whatever it is."""
    leave: float = 0.6
    """Go to the box without the thing."""
    patience: int = 4
    """Give up after this many useless repetitions: more would teach nothing new."""


_AGES = {"baby", "hatchling", "juvenile", "adult", "egg"}


class Explorer:
    """Plays one episode; ``next_turn`` and ``observe`` alternate.

    Args:
        opening: the first observation.
        answers: for life spans: the things to point at, in order, each as a set of words.
        rng: of this episode.
        habits: its slips.

    Raises:
        ValueError: a task that it does not know.
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
            raise ValueError(f"not a task of this player's: {opening[:80]!r}")
        self.errand: Errand = errand
        self.rng, self.habits = rng, habits
        self.careless = rng.random() < habits.careless
        self.answers = list(answers)
        self.room: str = room
        self.listing = opening.partition("\n")[2]
        self.way: list[str] = []
        self.passed: set[frozenset[str]] = set()
        self.open = False
        self.thing: Thing | None = None
        self.found = 0
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
        if self.thing is None or (self.errand.wanted == "life span" and self.found):
            return self._seek()
        if not self.errand.box:
            return self._seek()
        return self._bring()

    def observe(self, observation: str) -> None:
        """Take in what the environment (or the agent loop) answered."""
        action = self.action
        if observation == REFLECT_REPLY:
            return
        if observation.startswith(("No known action", "It's not clear", "The door is not open")):
            self.failed = action
            return
        if observation.startswith("Ambiguous request"):
            # The simulator's own numbering; the first is as good as any.
            self.failed, self.over = None, True
            return
        if action.startswith("open door"):
            self.open = True
        elif action.startswith("go to "):
            self.passed.add(frozenset((self.room, action[6:])))
            self.room, self.open, self.listing = action[6:], False, ""
            self.way = self.way[1:]
        elif action == "look around":
            self.listing = observation
        elif action.startswith("focus on "):
            self.found += 1
        elif action.startswith("pick up "):
            self.held = True

    # -- internals ---------------------------------------------------------------------------

    def _slips(self, probability: float) -> bool:
        # The draw happens in any case, so that a habit changes nothing else of the episode.
        return self.rng.random() < probability and self.careless

    def _turn(self, thought: str, action: str, verdict: Verdict = "Good") -> Turn:
        self.action = action
        return Turn(f"Thought: {thought}\nAction: {action}", verdict)

    def _seek(self) -> Turn:
        """Go where such things are, look, point at one."""
        errand = self.errand
        if self.room != errand.place:
            return self._walk(errand.place)
        if not self.listing:
            return self._turn(f"I look for {_wanted(errand)}.", "look around")
        found = things(self.listing, errand.wanted)
        if errand.wanted == "life span":
            return self._tell(found)
        grabbed = any_things(self.listing)[:1]
        if self._slips(self.habits.grab) and grabbed and grabbed[0] not in found:
            self.thing = grabbed[0]
            return self._turn(f"I take {self.thing.name}.", f"focus on {self.thing.name}", "Bad")
        if not found:
            self.over = True
            return self._turn("There is nothing of the kind here.", "inventory", "Uncertain")
        self.thing = found[0]
        thought = f"{self.thing.name} is {_wanted(errand)}."
        return self._turn(thought, f"focus on {self.thing.name}")

    def _tell(self, found: list[Thing]) -> Turn:
        """Point at the animal whose life span is asked for next."""
        right = [
            thing
            for thing in found
            if self.found < len(self.answers)
            and set(thing.name.split()) - _AGES == self.answers[self.found] - _AGES
        ]
        names = ", ".join(thing.name for thing in found)
        if not right:
            self.over = True
            return self._turn(f"{names}: I cannot tell.", "look around", "Uncertain")
        which = "second" if self.found else "first"
        if self._slips(self.habits.first_animal):
            self.thing = found[0]
            verdict: Verdict = "Good" if found[0] == right[0] else "Bad"
            return self._turn(f"I take {found[0].name}.", f"focus on {found[0].name}", verdict)
        self.thing = right[0]
        thought = f"{names}: {which} is {right[0].name}."
        return self._turn(thought, f"focus on {right[0].name}")

    def _walk(self, goal: str) -> Turn:
        verdict: Verdict = "Good"
        head = ""
        if not self.way or self.way[-1] != goal:
            self.way = way(self.room, goal)
            self.open = False
            head = f"From {self.room} to {goal}. "
        if self.forgotten and not self.held:
            verdict = "Uncertain" if self.announced else "Bad"
            self.announced = True
        thought = f"{head}Way: {', '.join(self.way)}."
        step = self.way[0]
        through = self.open or frozenset((self.room, step)) in self.passed
        if not through and self.room == "hallway" and self._slips(self.habits.rush):
            through, verdict = True, "Bad"
        return self._turn(thought, f"{'go' if through else 'open door'} to {step}", verdict)

    def _bring(self) -> Turn:
        """Take the thing to its box."""
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
        verdict: Verdict = "Bad" if self.forgotten and not self.held else "Good"
        return self._turn(thought, f"move {thing.carried} to {errand.box}", verdict)

    def _after_failure(self) -> Turn:
        assert self.failed is not None
        if not self.reflected and self._slips(self.habits.insist):
            self.repeated += 1
            self.action = self.failed
            return Turn(f"Thought: I try again.\nAction: {self.failed}", "Bad")
        if not self.reflected:
            self.reflected = True
            signal = self.rng.choice(REFLECTIONS)
            return Turn(reflection_turn(signal), "Uncertain")
        failed, self.failed, self.reflected = self.failed, None, False
        self.repeated = 0
        if failed.startswith("go to ") and self.way:
            # The door first, after all.
            step = self.way[0]
            return self._turn(f"Way: {', '.join(self.way)}.", f"open door to {step}")
        if failed.startswith("move ") and self.forgotten:
            self.forgotten, self.warned = False, True
            return self._bring()
        self.over = True
        return self._turn("I look around.", "look around", "Uncertain")


def _wanted(errand: Errand) -> str:
    if errand.wanted == "life span":
        return "the animals"
    article = "an" if errand.wanted[0] == "a" else "a"
    return f"{article} {errand.wanted}"
