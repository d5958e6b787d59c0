"""One simulator: a game, and where in it the simulator stands."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.envs.sciworld.jvm import Globals, Jvm, SimulatorFailed

INVALID = "No known action matches that input."
"""The simulator's answer to what it does not understand; nothing happens then."""
NOT_AN_ACTION = "Unknown action."
"""Begins its answer where a choice was asked for and not given; the world goes on a tick."""
AMBIGUOUS = "Ambiguous request:"
"""Begins its question which of several objects is meant; a bare number answers it."""
_LOOK = "look around"


class GameKey(NamedTuple):
    """What the simulator loads."""

    task: str
    variation: int
    simplifications: str


class Place(NamedTuple):
    """A state, told as the way to it."""

    game: GameKey
    actions: tuple[str, ...] = ()
    """Since the opening; those that changed nothing left out."""
    trace: str = ""
    """Digest of what was seen on the way, to notice a replay that goes another way."""


class Opening(NamedTuple):
    """What a game begins with."""

    description: str
    look: str
    place: Place


class Outcome(NamedTuple):
    """What an action led to."""

    observation: str
    score: int
    """In [-100, 100]; negative after a fatal mistake."""
    completed: bool
    moves: int
    """Ticks of the game's clock so far; some actions take none, ``wait`` takes 11."""


class World:
    """A simulator that remembers where it stands.

    To be used by whoever holds ``jvm.lock``.

    Attributes:
        jvm: its process.
        place: where it stands; None: nowhere in particular.
        over: its game has ended, so that nobody will go on from there.
        saved: see ``Turn``.
    """

    def __init__(self, jvm: Jvm) -> None:
        self.jvm = jvm
        self.place: Place | None = None
        self.over = False
        self.saved: Globals | None = None
        self._server: Any = None
        self._moves = 0
        self._asked = False

    def missing(self, place: Place) -> int | None:
        """How many actions lead from here to ``place``; None: none do."""
        here = self.place
        if here is None or here.game != place.game or len(here.actions) > len(place.actions):
            return None
        if place.actions[: len(here.actions)] != here.actions:
            return None
        return len(place.actions) - len(here.actions)

    def go_to(self, place: Place) -> None:
        """Play on to ``place`` from here where the way leads past, else from the beginning.

        Raises:
            EnvironmentFault: the same actions led elsewhere than the first time.
            JvmLost: the process has died.
        """
        if self.missing(place) is None:
            self.load(place.game)
        assert self.place is not None
        for action in place.actions[len(self.place.actions) :]:
            self.step(action)
        if place.trace and self.place.trace != place.trace:
            self.place = None
            raise EnvironmentFault(
                "sciworld",
                f"task '{place.game.task}-{place.game.variation}': {len(place.actions)} actions"
                " led elsewhere when they were repeated",
                hint="Was the state taken with another version of the package scienceworld?",
            )

    def load(self, game: GameKey) -> Opening:
        """Begin a game.

        Raises:
            SimulatorFailed: the simulator does not know it.
            JvmLost: the process has died.
        """
        self._load(game, gold=False)
        description = self._call("getTaskDescription")
        look = self._call("step", _LOOK)
        self.place = Place(game, (), _trace("", f"{description}\n{look}"))
        return Opening(description, look, self.place)

    def step(self, action: str) -> Outcome:
        """Carry out an action; afterwards the world stands one action further.

        Raises:
            SimulatorFailed: Java code raised; the world stands nowhere then.
            JvmLost: the process has died.
        """
        here = self.place
        assert here is not None
        self.place = None
        observation = self._call("step", action)
        if "java.lang.OutOfMemoryError" in observation:
            # The simulator catches it, and would answer nothing else from now on.
            raise self.jvm.out_of_memory()
        outcome = Outcome(
            observation,
            round(100 * self._call("getScore")),
            bool(self._call("getCompleted")),
            int(self._call("getNumMoves")),
        )
        idle = observation == INVALID and outcome.moves == self._moves and not self._asked
        self._moves, self._asked = outcome.moves, observation.startswith(AMBIGUOUS)
        self.over = outcome.completed or outcome.score < 0
        # A state reached past such an action is the state before it, and need not be replayed.
        self.place = (
            here
            if idle
            else Place(here.game, (*here.actions, action), _trace(here.trace, observation))
        )
        return outcome

    def gold_path(self, game: GameKey) -> list[str]:
        """The simulator's own solution, as far as it takes to win. The world stands at its end.

        Raises:
            SimulatorFailed: there is none.
            JvmLost: the process has died.
        """
        self._load(game, gold=True)
        path = self.jvm.joined(self._call("getGoldActionSequence"))
        self.load(game)
        for used, action in enumerate(path, 1):
            if self.step(action).completed:
                return path[:used]
        return path

    def valid_actions(self) -> list[str]:
        """All that would be understood here; up to thousands, and as slow."""
        return self.jvm.joined(self._call("getValidActionObjectCombinations"))

    def inventory(self) -> str:
        """What the agent holds, at no cost in moves."""
        return str(self._call("freeActionInventory"))

    def _load(self, game: GameKey, *, gold: bool) -> None:
        self.place, self.over = None, False
        self._moves, self._asked = 0, False
        problem = self._call("load", game.task, game.variation, game.simplifications, gold)
        # It keeps every variation of every task, some 10 MB, and makes them anew at the next load.
        self._call("taskMaker_$eq", None)
        if problem:
            raise SimulatorFailed(f"cannot load '{game.task}-{game.variation}': {problem}")

    def _call(self, method: str, *arguments: Any) -> Any:
        self.jvm.turn_to(self)
        if self._server is None:
            self._server = self.jvm.new_simulator()
        return self.jvm.call(getattr(self._server, method), *arguments)


def _trace(before: str, observation: str) -> str:
    return hashlib.blake2b(f"{before}\n{observation}".encode(), digest_size=8).hexdigest()
