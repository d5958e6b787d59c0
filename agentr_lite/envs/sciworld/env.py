"""ScienceWorld as an ``Environment``.

Source: Wang et al. 2022, "ScienceWorld: Is your Agent Smarter than a 5th Grader?", and the package
``scienceworld``. Observations are the simulator's own; the first one has AgentGym's form.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from agentr_lite.core.errors import UsageError
from agentr_lite.core.tasks import SPLITS, Task
from agentr_lite.envs.base import Environment, StepResult
from agentr_lite.envs.expert import expert_turns
from agentr_lite.envs.sciworld.expert import Finder, answers_of, is_known
from agentr_lite.envs.sciworld.games import (
    GAME_LISTS,
    KINDS,
    TEST_SETS,
    GameList,
    TestSet,
    chosen_kinds,
    split_tasks,
)
from agentr_lite.envs.sciworld.java import find_java
from agentr_lite.envs.sciworld.jvm import SimulatorFailed
from agentr_lite.envs.sciworld.pool import Pool, PoolSettings, borrow_pool, return_pool
from agentr_lite.envs.sciworld.prompt import BRIEF, INSTRUCTIONS
from agentr_lite.envs.sciworld.world import (
    AMBIGUOUS,
    INVALID,
    NOT_AN_ACTION,
    GameKey,
    Outcome,
    Place,
    World,
)

SIMPLIFICATIONS = (
    "teleportAction",
    "selfWateringFlowerPots",
    "openContainers",
    "openDoors",
    "noElectricalAction",
    "easy",
)
"""Source: the package's ``get_possible_simplifications``; ``easy`` is all of them."""

FAILED = "The simulator cannot carry out this action."
"""The observation if the simulator's own code raises an error."""

_MOST_JVMS = 4
_GOLD_KEPT = 512


class SciWorldSnapshot(NamedTuple):
    """A state of an episode, described by the actions that lead to it."""

    task: Task
    place: Place
    score: int
    moves: int


class SciWorld(Environment):
    """Elementary science experiments in a simulated house.

    Episodes are played on simulators that all instances in the program share. ``restore`` does no
    work; the next step uses a simulator that is in the right state, or replays the episode.

    Args:
        games: ``published``, the 4,339 games to which the published test ids refer; ``agentgym``,
            the 4,639 games of AgentGym's server; ``all`` 7,207.
        test_set: ``all`` of the test split, or its 200 games with ``published`` ids.
        kinds: only these kinds of task, comma-separated: codes (``4-1``), topics (``4``) or
            names (``find-plant``); empty = all kinds. Topics 4 and 7 (find a thing, compare life
            spans) have the shortest solutions.
        simplifications: comma-separated: teleportAction, selfWateringFlowerPots, openContainers,
            openDoors, noElectricalAction, or ``easy`` for all of them.
        step_limit: an episode is truncated after this many moves, which are ticks of the game's
            clock: looking takes none, waiting takes 11. 0 = never.
        jvms: most Java processes; 0 = one for each core, at most 4. A second one starts only if
            several threads play at a time.
        worlds: games held in each process, so that continuing them needs no replay.
        heap_mb: heap of each process, in MiB.

    Raises:
        UsageError: an option is wrong, or the package is not installed.
        JavaError: there is no Java that works.
    """

    name: ClassVar[str] = "sciworld"
    path_options: ClassVar[tuple[str, ...]] = ()
    # Seen in version 1.2: things in closed containers are listed and cannot be named.
    lists_exactly = False

    def __init__(
        self,
        games: GameList = "published",
        test_set: TestSet = "all",
        kinds: str = "",
        simplifications: str = "",
        step_limit: int = 100,
        jvms: int = 0,
        worlds: int = 64,
        heap_mb: int = 256,
    ) -> None:
        _one_of("games", games, GAME_LISTS)
        _one_of("test_set", test_set, TEST_SETS)
        if test_set == "published" and games != "published":
            raise UsageError(
                f"sciworld: the published test ids do not refer to the games of '{games}'",
                hint="Leave out games, or use test_set: all.",
            )
        for option, value, least in (
            ("step_limit", step_limit, 0),
            ("jvms", jvms, 0),
            ("worlds", worlds, 1),
            ("heap_mb", heap_mb, 64),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UsageError(
                    f"sciworld: {option} needs a whole number >= {least}, not {value!r}"
                )
        self._simplifications = _simplifications(simplifications)
        self._kinds = _kinds(kinds)
        if importlib.util.find_spec("scienceworld") is None:
            raise UsageError(
                f"{self.name}: the package 'scienceworld' is not installed",
                hint="`pip install 'agentr-lite[sciworld]'`; it needs Java as well.",
            )
        find_java()
        self._games, self._test_set, self._step_limit = games, test_set, step_limit
        jvms = jvms or min(_MOST_JVMS, os.cpu_count() or 1)
        self._settings = PoolSettings(jvms, worlds, heap_mb)
        self._borrowed: Pool | None = None
        self._tasks: dict[Any, Sequence[Task]] | None = None
        self._gold: dict[GameKey, list[str]] = {}
        self._task: Task | None = None
        self._place: Place | None = None
        self._score = self._moves = 0

    def tasks(self, split: str) -> Sequence[Task]:
        """The split's tasks, in the order of their numbers. This needs no Java.

        Raises:
            UsageError: there is no such split.
        """
        if self._tasks is None:
            self._tasks = {**split_tasks(self._games, self._test_set, self._kinds)}
        if split not in self._tasks:
            raise UsageError(
                f"sciworld has no split '{split}'", hint=f"Splits: {', '.join(SPLITS)}."
            )
        return self._tasks[split]

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        """Begin ``task``; the observation is its description and a look around.

        ``seed`` changes nothing: a variation is always the same.

        Raises:
            UsageError: the task is not one of ScienceWorld's.
            EnvironmentFault: the simulator cannot be started or does not know the task.
        """
        opening = self._pool.opening(self._game(task))
        self._task, self._place = task, opening.place
        self._score = self._moves = 0
        return f"{opening.description}\n{opening.look}", {"score": 0, "moves": 0}

    def step(self, action: str) -> StepResult:
        """Carry out one action.

        The reward is the score so far, in [0, 1]. ``info`` holds ``score`` (the package's, at
        least -100), ``moves``, ``invalid``, ``ambiguous`` (the simulator asks for a number) and
        ``disaster`` (a fatal mistake, which ends the game with reward 0).

        Raises:
            EnvironmentFault: the simulator died, even after it was started again.
        """
        place = self._playing()
        # The simulator trims and collapses blanks; lone surrogates cannot be sent to it.
        clean = " ".join(action.encode("utf-8", "replace").decode().split())

        def act(world: World) -> tuple[Outcome, Place]:
            outcome = world.step(clean)
            assert world.place is not None
            return outcome, world.place

        try:
            outcome, self._place = self._pool.run(place, act)
        except SimulatorFailed:
            # Such an action has no effect: the episode stays in its state.
            outcome = Outcome(FAILED, self._score, False, self._moves)
        self._score, self._moves = outcome.score, outcome.moves
        return self._result(outcome)

    def instructions(self, *, brief: bool = False) -> str:
        """The system prompt."""
        return BRIEF if brief else INSTRUCTIONS

    def snapshot(self) -> SciWorldSnapshot:
        """The actions that lead to the current state; its size grows with the number of steps."""
        place = self._playing()
        assert self._task is not None
        return SciWorldSnapshot(self._task, place, self._score, self._moves)

    def restore(self, snapshot: SciWorldSnapshot) -> None:
        """Return to a state, even one of another instance with the same settings."""
        self._task, self._place = snapshot.task, snapshot.place
        self._score, self._moves = snapshot.score, snapshot.moves

    def solve(self, task: Task) -> list[str]:
        """The simulator's own solution. The episode in progress is not affected.

        Raises:
            UsageError: the task is not one of ScienceWorld's.
            EnvironmentFault: the simulator has none.
        """
        game = self._game(task)
        if game not in self._gold:
            if len(self._gold) >= _GOLD_KEPT:
                self._gold.clear()
            self._gold[game] = self._pool.run(Place(game), lambda world: world.gold_path(game))
        return list(self._gold[game])

    def demonstrate(self, task: Task) -> list[str]:
        """An expert's turns for the kinds of task that it knows (topics 4 and 7).

        Otherwise the simulator's own solution with a plain thought. The episode in progress is
        lost.
        """
        opening, _ = self.reset(task)
        turns = None
        if is_known(opening):
            turns = expert_turns(self, task, Finder(opening, answers_of(self, task)))
        return super().demonstrate(task) if turns is None else turns

    def valid_actions(self) -> list[str]:
        """All actions that would be understood now: hundreds to thousands, in about a second."""
        return self._pool.run(self._playing(), World.valid_actions)

    def describe_state(self) -> str:
        """The inventory in one line."""
        text = self._pool.run(self._playing(), World.inventory)
        return " ".join(text.split())

    def close(self) -> None:
        """Release the simulators; when the last instance does so, their processes end."""
        if self._borrowed is not None:
            return_pool(self._borrowed)
            self._borrowed = None

    @property
    def _pool(self) -> Pool:
        if self._borrowed is None:
            self._borrowed = borrow_pool(self._settings)
        return self._borrowed

    def _game(self, task: Task) -> GameKey:
        try:
            name, variation = str(task.payload["task"]), int(task.payload["variation"])
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"sciworld: '{task.name}' is not a task of ScienceWorld",
                hint="A task's payload holds its kind as 'task' and its number as 'variation'.",
            ) from error
        return GameKey(name, variation, self._simplifications)

    def _playing(self) -> Place:
        if self._place is None:
            raise UsageError("sciworld: reset comes before the first step")
        return self._place

    def _result(self, outcome: Outcome) -> StepResult:
        disaster = outcome.score < 0
        ended = outcome.completed or disaster
        cut = bool(self._step_limit) and outcome.moves > self._step_limit and not ended
        observation = outcome.observation
        info = {
            "score": outcome.score,
            "moves": outcome.moves,
            "invalid": observation in (INVALID, FAILED) or observation.startswith(NOT_AN_ACTION),
            "ambiguous": observation.startswith(AMBIGUOUS),
            "disaster": disaster,
        }
        reward = min(1.0, max(0, outcome.score) / 100)
        return StepResult(observation, reward, ended, cut, info)


def _one_of(option: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise UsageError(
            f"sciworld: {option} cannot be {value!r}", hint=f"It is one of {', '.join(known)}."
        )


def _kinds(value: Any) -> frozenset[str]:
    # YAML reads a bare 4 as a number.
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise UsageError(f"sciworld: kinds needs a text, not {value!r}")
    try:
        return chosen_kinds(str(value))
    except ValueError as error:
        raise UsageError(
            f"sciworld: no kind of task is '{error}'",
            hint=f"Codes and names: {', '.join(f'{kind.code} {kind.name}' for kind in KINDS)}.",
        ) from error


def _simplifications(value: str) -> str:
    """The simplifications in the simulator's order, so that equal settings have equal texts."""
    if not isinstance(value, str):
        raise UsageError(f"sciworld: simplifications needs a text, not {value!r}")
    wanted = {part.strip() for part in value.split(",") if part.strip()}
    for part in sorted(wanted):
        _one_of("simplifications", part, SIMPLIFICATIONS)
    return ",".join(part for part in SIMPLIFICATIONS if part in wanted)
