"""Taking trajectories again beside the screen, to show what the environment held."""

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
    """Keeps the environments that it has made: they are made once, and used by one at a time."""

    def __init__(self) -> None:
        self._envs: dict[tuple[str, str], Environment] = {}
        self._lock = threading.Lock()

    def begin(
        self, origin: Origin, turns: Turns, done: Callable[[States | None], None], *, asked: bool
    ) -> threading.Thread:
        """Take a trajectory again in a thread.

        Args:
            origin: where it is from.
            turns: its steps.
            done: called in the thread with the states; with None where the environment is not one
                that replays quickly and nobody asked for it.
            asked: whether somebody did.
        """
        # A daemon: an environment that hangs (a server, say) must not keep the program from ending.
        thread = threading.Thread(
            target=lambda: done(self._read(origin, turns, asked=asked)), daemon=True
        )
        thread.start()
        return thread

    def _read(self, origin: Origin, turns: Turns, *, asked: bool) -> States | None:
        with self._lock:
            try:
                if not asked and not replays_quickly(origin.env):
                    return None
                return replay_states(self._env(origin), origin, turns)
            except AgentrError as error:
                return States(problem=error.message)

    def _env(self, origin: Origin) -> Environment:
        key = (origin.env, json.dumps(origin.env_options, sort_keys=True, default=str))
        if key not in self._envs:
            self._envs[key] = make_env(origin.env, origin.env_options)
        return self._envs[key]
