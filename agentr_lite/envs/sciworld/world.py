"""One simulator, with its game and its state."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.envs.sciworld.jvm import Globals, Jvm, SimulatorFailed

INVALID = "No known action matches that input."
"""The simulator's answer to an action that it does not understand; nothing happens then."""
NOT_AN_ACTION = "Unknown action."
"""The start of its answer if it asked for a choice and got none; the clock advances by a tick."""
AMBIGUOUS = "Ambiguous request:"
"""The start of its question which of several objects is meant; the answer is a number."""
_LOOK = "look around"


class GameKey(NamedTuple):
    """The game that the simulator loads."""

    task: str
    variation: int
    simplifications: str


class Place(NamedTuple):
    """A state, described by the actions that lead to it."""

    game: GameKey
    actions: tuple[str, ...] = ()
    """The actions since the start, without those that changed nothing."""
    trace: str = ""
    """Digest of the observations so far, to notice a replay that differs."""


class Opening(NamedTuple):
    """The start of a game."""

    description: str
    look: str
    place: Place


class Outcome(NamedTuple):
    """The result of an action."""

    observation: str
    score: int
    """In [-100, 100]; negative after a fatal mistake."""
    completed: bool
    moves: int
    """Ticks of the game's clock so far; some actions take no tick, ``wait`` takes 11."""


class World:
    """A simulator that knows its state. Only the holder of ``jvm.lock`` may use it.

    Attributes:
        jvm: its process.
        place: its state; None: not known.
        over: whether its game has ended, so that it will not be continued.
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
        """The number of actions from here to ``place``; None: there is no way."""
        here = self.place
        if here is None or here.game != place.game or len(here.actions) > len(place.actions):
            return None
        if place.actions[: len(here.actions)] != here.actions:
            return None
        return len(place.actions) - len(here.actions)

    def go_to(self, place: Place) -> None:
        """Play to ``place``, from here if this state is on the way, or else from the start.

        Raises:
            EnvironmentFault: the same actions led to another state than the first time.
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
                " led to another state when they were repeated",
                hint="The state may be from another version of the package scienceworld.",
            )

    def load(self, game: GameKey) -> Opening:
        """Start a game.

        Raises:
            SimulatorFailed: the simulator does not know the game.
            JvmLost: the process has died.
        """
        self._load(game, gold=False)
        description = self._call("getTaskDescription")
        look = self._call("step", _LOOK)
        self.place = Place(game, (), _trace("", f"{description}\n{look}"))
        return Opening(description, look, self.place)

    def step(self, action: str) -> Outcome:
        """Carry out an action.

        Raises:
            SimulatorFailed: the Java code raised an error; the state is then not known.
            JvmLost: the process has died.
        """
        here = self.place
        assert here is not None
        self.place = None
        observation = self._call("step", action)
        if "java.lang.OutOfMemoryError" in observation:
            # The simulator catches this error, and would give the same answer from now on.
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
        # Such an action does not change the state, so a replay need not repeat it.
        self.place = (
            here
            if idle
            else Place(here.game, (*here.actions, action), _trace(here.trace, observation))
        )
        return outcome

    def gold_path(self, game: GameKey) -> list[str]:
        """The simulator's own solution, up to the win. Afterwards, the game is at its end.

        Raises:
            SimulatorFailed: there is no solution.
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
        """All actions that would be understood here: up to thousands, so this is slow."""
        return self.jvm.joined(self._call("getValidActionObjectCombinations"))

    def inventory(self) -> str:
        """The things that the agent holds; asking takes no moves."""
        return str(self._call("freeActionInventory"))

    def _load(self, game: GameKey, *, gold: bool) -> None:
        self.place, self.over = None, False
        self._moves, self._asked = 0, False
        problem = self._call("load", game.task, game.variation, game.simplifications, gold)
        # It keeps all variations of all tasks, about 10 MB, and makes them again at the next load.
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
