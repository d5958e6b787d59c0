"""An expert of ScienceWorld's shortest tasks: find a thing, compare life spans.

It says the rest of its route, room by room, and copies the names that it has read, so that each
turn follows from the turn before.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment
from agentr_lite.envs.expert import Move
from agentr_lite.envs.sciworld.house import (
    Errand,
    Thing,
    matching_things,
    read_errand,
    read_room,
    route,
)

_AGES = {"baby", "hatchling", "juvenile", "adult", "egg"}


def answers_of(env: Environment, task: Task) -> list[frozenset[str]]:
    """The things at which the simulator's own solution points, each as a set of words."""
    if "lifespan" not in task.name:
        return []
    return [
        frozenset(action.removeprefix("focus on ").split())
        for action in env.solve(task)
        if action.startswith("focus on ")
    ]


def is_known(opening: str) -> bool:
    """Whether the expert knows the kind of task of a first observation."""
    return read_errand(opening) is not None and read_room(opening) is not None


class Finder:
    """Plays one episode; ``next_move`` and ``observe`` alternate.

    Args:
        opening: the first observation.
        answers: for life spans, the things to point at, in order, each as a set of words.

    Raises:
        ValueError: the player does not know this kind of task.
    """

    def __init__(self, opening: str, answers: Sequence[frozenset[str]]) -> None:
        errand, room = read_errand(opening), read_room(opening)
        if errand is None or room is None:
            raise ValueError(f"the player does not know this task: {opening[:80]!r}")
        self.errand: Errand = errand
        self.answers = list(answers)
        self.room: str = room
        self.listing = opening.partition("\n")[2]
        self.route: list[str] = []
        self.passed: set[frozenset[str]] = set()
        self.open = False
        self.thing: Thing | None = None
        self.focused = 0
        self.held = False
        self.failed: str | None = None
        """The last action, if it failed."""
        self.action = ""
        self.over = False
        """Whether the player knows no way on."""

    @property
    def gives_up(self) -> bool:
        """Whether the player knows no way on; the expert's own actions never fail."""
        return self.over or self.failed is not None

    def next_move(self) -> Move:
        """The next turn."""
        move = self.choose()
        self.action = move.action
        return move

    def observe(self, observation: str) -> None:
        """Take in the answer of the environment."""
        action = self.action
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

    def choose(self) -> Move:
        """Look for the thing; once it is found and has a box, bring it there."""
        if self.thing is None or (self.errand.wanted == "life span" and self.focused):
            return self.seek()
        if not self.errand.box:
            return self.seek()
        return self.bring()

    def seek(self) -> Move:
        """Go to the right place, look around, and point at a thing."""
        errand = self.errand
        if self.room != errand.place:
            return self.walk(errand.place)
        if not self.listing:
            return Move(f"I look for {_wanted(errand)}.", "look around")
        candidates = matching_things(self.listing, errand.wanted)
        if errand.wanted == "life span":
            return self.point_at_animal(candidates)
        return self.point(candidates)

    def point(self, candidates: Sequence[Thing]) -> Move:
        """Point at the first thing that fits."""
        if not candidates:
            self.over = True
            return Move("There is nothing of the kind here.", "inventory", "uncertain")
        self.thing = candidates[0]
        thought = f"{self.thing.name} is {_wanted(self.errand)}."
        return Move(thought, f"focus on {self.thing.name}")

    def point_at_animal(self, animals: list[Thing]) -> Move:
        """Point at the animal with the next life span of the task."""
        right = [
            thing
            for thing in animals
            if self.focused < len(self.answers)
            and set(thing.name.split()) - _AGES == self.answers[self.focused] - _AGES
        ]
        if not right:
            self.over = True
            names = ", ".join(animal.name for animal in animals)
            return Move(f"{names}: I cannot tell.", "look around", "uncertain")
        return self.choose_animal(animals, right[0])

    def choose_animal(self, animals: list[Thing], right: Thing) -> Move:
        """Name the animals and point at the right one."""
        which = "second" if self.focused else "first"
        self.thing = right
        names = ", ".join(animal.name for animal in animals)
        return Move(f"{names}: {which} is {right.name}.", f"focus on {right.name}")

    def walk(self, goal: str) -> Move:
        """Open the next door on the way, or go through it."""
        head = ""
        if not self.route or self.route[-1] != goal:
            self.route = route(self.room, goal)
            self.open = False
            head = f"From {self.room} to {goal}. "
        thought = f"{head}Way: {', '.join(self.route)}."
        step = self.route[0]
        is_open = self.open or frozenset((self.room, step)) in self.passed or self.rushes()
        return Move(thought, f"{'go' if is_open else 'open door'} to {step}")

    def rushes(self) -> bool:
        """Whether the player tries a door that may be closed."""
        return False

    def remembers(self) -> bool:
        """Whether the player takes along what it is to bring."""
        return True

    def bring(self) -> Move:
        """Move the thing to its box."""
        errand, thing = self.errand, self.thing
        assert thing is not None
        near = errand.box_room == errand.place
        if not self.held and not near and self.remembers():
            if self.room != errand.place:
                return self.walk(errand.place)
            return Move(f"I take {thing.carried} along.", f"pick up {thing.carried}")
        if self.room != errand.box_room:
            return self.walk(errand.box_room)
        thought = f"{thing.carried} goes to the {errand.box}."
        return Move(thought, f"move {thing.carried} to {errand.box}")


def _wanted(errand: Errand) -> str:
    if errand.wanted == "life span":
        return "the animals"
    article = "an" if errand.wanted[0] == "a" else "a"
    return f"{article} {errand.wanted}"
