"""A tiny deterministic environment for tests: a corridor with a key and a door.

It has what search, splicing and evaluation must cope with: branching, partial rewards, a fatal
mistake, actions that cannot be carried out, a mistake that can be mended (``throw``: the key lands
at the entrance) and one that cannot (``smash``). Snapshots are O(1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment, StepResult

ACTIONS = ("forward", "back", "take", "throw", "smash", "open", "leave", "jump")
GONE = -1
HELD = -2

_SHAPES = {
    "train": [(3, 1), (4, 2), (3, 0), (5, 3), (4, 1), (5, 2), (2, 0), (6, 4)],
    "dev": [(4, 0), (5, 1)],
    "test": [(4, 3), (5, 4), (6, 2), (3, 2)],
}


class State(NamedTuple):
    """Everything about an episode."""

    length: int
    key: int
    """Where the key is: a position, ``HELD`` or ``GONE``."""
    position: int = 0
    ended: bool = False


class Corridor(Environment):
    """Fetch the key at position ``key`` and open the door at the far end.

    Rewards: 1 for opening the door; ``leave`` ends with 0.5 times the share of the way walked;
    ``jump`` ends with 0 and is a disaster.
    """

    name: ClassVar[str] = "corridor"

    def __init__(self) -> None:
        self.steps_taken = 0
        """Over all episodes, for tests that count the environment's work."""
        self._state = State(2, 0)

    def tasks(self, split: str) -> Sequence[Task]:
        return [
            Task(
                f"corridor-{length}-{key}",
                split,
                f"open the door {length - 1} ahead; the key is at {key}",
                level=length,
                payload={"length": length, "key": key},
            )
            for length, key in _SHAPES[split]
        ]

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        self._state = State(task.payload["length"], task.payload["key"])
        return f"Goal: {task.goal}.\n{self._look()}", {}

    def step(self, action: str) -> StepResult:
        self.steps_taken += 1
        state = self._state
        if state.ended:
            return StepResult("The episode is over.", 0.0, True, False, {"invalid": True})
        word = action.strip().lower()
        if word == "open" and state.position == state.length - 1 and state.key == HELD:
            return self._end("The door opens.", 1.0)
        if word == "leave":
            share = state.position / (state.length - 1)
            return self._end("You leave.", 0.5 * share)
        if word == "jump":
            return self._end("You fall into the pit.", 0.0, disaster=True)
        moved = self._moved(word)
        if moved is None:
            return StepResult(
                f"You cannot do that. {self._look()}", 0.0, False, False, {"invalid": True}
            )
        self._state = moved
        return StepResult(self._look(), 0.0, False, False, {})

    def instructions(self, *, brief: bool = False) -> str:
        if brief:
            return "Open the door."
        return f"Open the door. Answer with one line: Action: <one of {', '.join(ACTIONS)}>"

    def snapshot(self) -> State:
        return self._state

    def restore(self, snapshot: State) -> None:
        self._state = snapshot

    def solve(self, task: Task) -> list[str]:
        length, key = task.payload["length"], task.payload["key"]
        return ["forward"] * key + ["take"] + ["forward"] * (length - 1 - key) + ["open"]

    def valid_actions(self) -> list[str]:
        return list(ACTIONS)

    def describe_state(self) -> str:
        return str(self._state)

    def _moved(self, word: str) -> State | None:
        state = self._state
        if word == "forward" and state.position < state.length - 1:
            return state._replace(position=state.position + 1)
        if word == "back" and state.position > 0:
            return state._replace(position=state.position - 1)
        if word == "take" and state.key == state.position:
            return state._replace(key=HELD)
        if word == "throw" and state.key == HELD:
            return state._replace(key=0)
        if word == "smash" and state.key == HELD:
            return state._replace(key=GONE)
        return None

    def _end(self, observation: str, reward: float, **info: Any) -> StepResult:
        self._state = self._state._replace(ended=True)
        return StepResult(observation, reward, True, False, info)

    def _look(self) -> str:
        state = self._state
        parts = [f"You are at {state.position} of {state.length - 1}."]
        if state.key == HELD:
            parts.append("You hold the key.")
        elif state.key == state.position:
            parts.append("The key is here.")
        if state.position == state.length - 1:
            parts.append("The door is here.")
        return " ".join(parts)
