"""The process of an isolated environment: reads calls from stdin, makes them, writes the results.

Whatever the environment writes to stdout goes to stderr, because stdout is for the answers.
"""

from __future__ import annotations

import marshal
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from agentr_lite.core.errors import AgentrError
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment
from agentr_lite.envs.foreign import text_of
from agentr_lite.envs.isolated import HEADER, pickled
from agentr_lite.envs.limits import bounded

_LOOK_S = 1.0


class Server:
    """Makes an environment and calls it."""

    def __init__(self) -> None:
        self._env: Environment | None = None

    def answer(self, call: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Make a call; gives ``ok`` with the result, or what went wrong."""
        try:
            return "ok", getattr(self, f"_{call}")(*arguments)
        except NotImplementedError as error:
            return "missing", "", text_of(error), ""
        except AgentrError as error:
            return "error", type(error).__name__, text_of(error), str(error.hint)
        except BaseException as error:  # whatever it is, it is the environment's
            return "raised", type(error).__name__, text_of(error), ""

    def _begin(self, path: list[str], parent: int) -> None:
        sys.path[:] = path
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()

    def _make(self, name: str, options: Mapping[str, Any]) -> tuple[Any, ...]:
        from agentr_lite.envs.registry import ISOLATE, make_env

        self._env = make_env(name, {**options, ISOLATE: False})
        return portable(self._env.name), portable(self._env.time_limit_s)

    @property
    def _made(self) -> Environment:
        assert self._env is not None
        return self._env

    def _tasks(self, split: str) -> Any:
        return [
            (*map(portable, (task.name, task.split, task.goal, task.level)), pickled(task))
            if isinstance(task, Task)
            else portable(task)
            for task in bounded(self._made.tasks(split), self._made.name, "tasks()")
        ]

    def _reset(self, task: bytes, seed: int) -> Any:
        return portable(self._made.reset(pickle.loads(task), seed=seed))

    def _step(self, action: str) -> Any:
        return portable(tuple(self._made.step(action)))

    def _instructions(self, brief: bool) -> Any:
        return portable(self._made.instructions(brief=brief))

    def _snapshot(self) -> bytes:
        return pickled(self._made.snapshot())

    def _restore(self, snapshot: bytes) -> None:
        self._made.restore(pickle.loads(snapshot))

    def _solve(self, task: bytes) -> Any:
        return portable(self._made.solve(pickle.loads(task)))

    def _plan(self) -> Any:
        return portable(self._made.plan())

    def _valid_actions(self) -> Any:
        return portable(self._made.valid_actions())

    def _grammar(self) -> Any:
        return portable(self._made.grammar())

    def _describe_state(self) -> Any:
        return portable(self._made.describe_state())

    def _close(self) -> None:
        if self._env is not None:
            self._env.close()


def portable(value: Any, depth: int = 8) -> Any:
    """A value in the types that ``marshal`` has; others become a text that names their type."""
    if value is None or isinstance(value, bool):
        return value
    # Exactly these types: a subclass may bring code of its own.
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes):
        return bytes(memoryview(value))
    if depth and isinstance(value, list | tuple):
        items = [portable(item, depth - 1) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    if depth and isinstance(value, Mapping):
        return {_key(key): portable(item, depth - 1) for key, item in value.items()}
    item: Callable[[], Any] | None = getattr(value, "item", None)
    if depth and callable(item):
        # A number of numpy's.
        return portable(item(), 0)
    # Neither text nor number nor list: the caller says that it is the wrong kind.
    return {"type": type(value).__name__}


def _key(key: Any) -> Any:
    plain = portable(key, 0)
    return plain if not isinstance(plain, dict) else plain["type"]


def _end_with(parent: int) -> None:
    """End this process when its parent is gone, even while machine code runs in it."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)


def serve() -> None:
    """Answer calls until the input ends."""
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    server = Server()
    while header := calls.read(HEADER.size):
        call, arguments = marshal.loads(calls.read(HEADER.unpack(header)[0]))
        answer = server.answer(call, arguments)
        try:
            message = marshal.dumps(answer)
        except ValueError as error:
            message = marshal.dumps(("raised", type(error).__name__, str(error), ""))
        answers.write(HEADER.pack(len(message)) + message)
        answers.flush()
        if call == "close":
            break
    # Not through the interpreter's end: a plugin's threads and exit hooks may never return.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    serve()
