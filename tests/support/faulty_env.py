"""An environment of which one call goes wrong, in each way that a plugin's code can."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from agentr_lite.core.errors import UsageError
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment
from tests.support.corridor import Corridor


class Fatal(BaseException):
    """No ``Exception``."""


class Mute(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise Fatal("no text")

    __repr__ = __str__


def _fails(self: Any, *_: Any, **__: Any) -> Any:
    raise Fatal("touched")


class Untouchable:
    """Raises at whatever is done with it."""

    __str__ = __repr__ = __bool__ = __iter__ = __len__ = __float__ = __index__ = _fails
    __hash__ = __eq__ = __getitem__ = __format__ = __lt__ = _fails


class Text(str):
    """A text that raises when it is used as one."""

    __str__ = __repr__ = __format__ = __eq__ = encode = strip = _fails  # type: ignore[assignment]
    __hash__ = _fails  # type: ignore[assignment]


def _endless() -> Iterator[Any]:
    while True:
        yield Task("again", "train", "again")


def _deep() -> Any:
    return _deep()


def _print_and_exit() -> Any:
    print('{"printed": "by the plugin"}')
    sys.exit(0)


def _raises(error: BaseException) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


FAULTS: dict[str, Callable[[], Any]] = {
    "exit 0": lambda: sys.exit(0),
    "exit text": lambda: sys.exit("bye"),
    "print and exit": _print_and_exit,
    "fatal": _raises(Fatal("x")),
    "mute": _raises(Mute()),
    "generator exit": _raises(GeneratorExit()),
    "stop": _raises(StopIteration()),
    "memory": _raises(MemoryError()),
    "usage": _raises(UsageError("of the plugin", hint="its hint")),
    "unicode": _raises(ValueError("\ud800 \x1b[2J")),
    "group": _raises(BaseExceptionGroup("many", [Fatal("x"), ValueError("y")])),
    "deep": _deep,
    "none": lambda: None,
    "number": lambda: 3,
    "nan": lambda: float("nan"),
    "huge": lambda: 10**400,
    "text": lambda: "text",
    "empty": lambda: "",
    "surrogate": lambda: "\ud800",
    "odd text": lambda: Text("odd"),
    "bytes": lambda: b"bytes",
    "list": list,
    "numbers": lambda: [1, 2],
    "mapping": dict,
    "endless": _endless,
    "untouchable": Untouchable,
    "untouchables": lambda: [Untouchable()],
    "class": lambda: Untouchable,
}
"""What a call does instead of its work: raise, or return something else."""

FIELDS = ("name", "split", "goal", "level", "payload")
PARTS = ("observation", "reward", "terminated", "truncated", "info", "invalid", "disaster")
CALLS = (
    *("tasks", "instructions", "grammar", "reset", "step", "snapshot", "restore"),
    *("solve", "plan", "valid_actions", "describe_state", "close", "constructor", "name"),
    *("time_limit_s", "reset observation", "reset info"),
    *(f"task {field}" for field in FIELDS),
    *(f"step {part}" for part in PARTS),
)
"""Where it happens; with a space: one part of what the call returns."""


class Faulty(Corridor):
    """The corridor, of which one call or a part of its result is what ``fault`` gives."""

    name = "faulty"

    def __init__(self, call: str = "", fault: str = "") -> None:
        super().__init__()
        self.call, self.fault = call, fault
        if call == "constructor":
            self.wrong()

    def __new__(cls, call: str = "", fault: str = "") -> Any:
        made = super().__new__(cls)
        if call == "constructor":
            return FAULTS[fault]()
        return made

    def wrong(self) -> Any:
        return FAULTS[self.fault]()

    def __getattribute__(self, key: str) -> Any:
        get = super().__getattribute__
        if key in CALLS and get("__dict__").get("call") == key:
            if key in ("name", "time_limit_s"):
                return get("wrong")()
            return lambda *_, **__: get("wrong")()
        return get(key)

    def tasks(self, split: str) -> Any:
        tasks = list(super().tasks(split))
        _, _, field = self.call.partition("task ")
        if not field:
            return tasks
        values = {name: getattr(tasks[0], name) for name in FIELDS}
        return [Task(**{**values, field: self.wrong()}), *tasks[1:]]

    def reset(self, task: Task, *, seed: int = 0) -> Any:
        observation, info = super().reset(task, seed=seed)
        if self.call == "reset observation":
            return self.wrong(), info
        return observation, self.wrong() if self.call == "reset info" else info

    def step(self, action: str) -> Any:
        result: Any = super().step(action)
        _, _, part = self.call.partition("step ")
        if part in ("invalid", "disaster"):
            return result._replace(info={part: self.wrong()})
        return result._replace(**{part: self.wrong()}) if part else result


def make(call: str = "", fault: str = "") -> Environment:
    """What a plugin's entry point may name: a function."""
    made: Environment = Faulty(call, fault)
    return made
