"""Repeats the steps of trajectories in a thread, to show the environment's states."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence

from agentr_lite.agent.states import Origin, States, replay_states
from agentr_lite.core.errors import AgentrError
from agentr_lite.envs.base import Environment
from agentr_lite.envs.registry import make_env, replays_quickly

Turns = Sequence[tuple[str, str]]
"""(assistant turn, stored answer) of each step."""


class StateReader:
    """Makes each environment once and keeps it; one trajectory at a time uses it."""

    def __init__(self) -> None:
        self._envs: dict[tuple[str, str], Environment] = {}
        self._lock = threading.Lock()

    def start(
        self,
        origin: Origin,
        turns: Turns,
        on_states: Callable[[States | None], None],
        *,
        requested: bool,
    ) -> threading.Thread:
        """Repeat the steps of a trajectory in a thread.

        Args:
            origin: the trajectory's episode.
            turns: its steps.
            on_states: called in the thread with the states; with None if the environment is not
                quick to replay and the user did not request it.
            requested: whether the user requested the states.
        """
        # A daemon: an environment that hangs, such as a server, must not keep the program running.
        thread = threading.Thread(
            target=lambda: on_states(self._read(origin, turns, requested=requested)), daemon=True
        )
        thread.start()
        return thread

    def _read(self, origin: Origin, turns: Turns, *, requested: bool) -> States | None:
        with self._lock:
            try:
                if not requested and not replays_quickly(origin.env):
                    return None
                return replay_states(self._env(origin), origin, turns)
            except AgentrError as error:
                return States(problem=error.message)

    def _env(self, origin: Origin) -> Environment:
        key = (origin.env, json.dumps(origin.env_options, sort_keys=True, default=str))
        if key not in self._envs:
            self._envs[key] = make_env(origin.env, origin.env_options)
        return self._envs[key]
