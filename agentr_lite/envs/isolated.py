"""An environment in a process of its own, which can be killed.

A time limit stops Python code; machine code runs until it returns, and a crash in it ends the whole
process. In a child process, both cost the task at hand: the child is killed at the limit, and the
next task gets a new one. ``isolate: true`` asks for it, as an option of any environment or as an
attribute of its class.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import pickle
import selectors
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from agentr_lite.core import errors
from agentr_lite.core.child import how_it_ended, write_all
from agentr_lite.core.errors import AgentrError, EnvironmentFault
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment, StepResult

HEADER = struct.Struct("<Q")
"""The length of a message, which follows: values in ``marshal``'s format."""
_CHILD = (sys.executable, "-m", "agentr_lite.envs.isolated_child")
_PICKLED = "pickled"
_BEGIN_S = 60.0
_CLOSE_S = 10.0


class IsolatedSnapshot(NamedTuple):
    """A state, as the child pickled it: this process need not have the environment's classes."""

    data: bytes


class IsolatedEnvironment(Environment):
    """The same environment, in a child process.

    Args:
        name: as in ``make_env``.
        options: as in ``make_env``.
        limit_s: the longest time that a call may take; None: as the environment says.

    Raises:
        AgentrError: what ``make_env`` raises in the child.
    """

    def __init__(self, name: str, options: Mapping[str, Any], limit_s: float | None) -> None:
        self._address = name
        # Options come from a recipe, so they have a JSON form.
        self._options = dict(options)
        self._name = name
        self._limit = limit_s
        self.time_limit_s = Environment.time_limit_s if limit_s is None else limit_s
        self._child: subprocess.Popen[bytes] | None = None
        self._plays = False
        """Whether the child has an episode; a new child has none."""
        self._start()

    @property
    def name(self) -> str:  # type: ignore[override]
        """What the environment calls itself."""
        return self._name

    @property
    def pid(self) -> int | None:
        """The child process; None: there is none now."""
        return self._child.pid if self._child else None

    def tasks(self, split: str) -> Sequence[Task]:
        """See ``Environment.tasks``."""
        listed = self._call("tasks", split)
        if not isinstance(listed, list):
            # The boundary says what is wrong with it.
            return listed
        return [_read_task(task) for task in listed]

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        """See ``Environment.reset``."""
        self._plays = False
        begun: tuple[str, dict[str, Any]] = self._call("reset", task.payload.get(_PICKLED), seed)
        self._plays = True
        return begun

    def step(self, action: str) -> StepResult:
        """See ``Environment.step``."""
        result: StepResult = self._playing("step", action)
        return result

    def instructions(self, *, brief: bool = False) -> str:
        """See ``Environment.instructions``."""
        text: str = self._call("instructions", brief)
        return text

    def snapshot(self) -> IsolatedSnapshot:
        """See ``Environment.snapshot``."""
        return IsolatedSnapshot(self._playing("snapshot"))

    def restore(self, snapshot: IsolatedSnapshot) -> None:
        """See ``Environment.restore``."""
        self._plays = False
        self._call("restore", snapshot.data)
        self._plays = True

    def solve(self, task: Task) -> list[str]:
        """See ``Environment.solve``."""
        actions: list[str] = self._call("solve", task.payload.get(_PICKLED))
        return actions

    def plan(self) -> list[str]:
        """See ``Environment.plan``."""
        actions: list[str] = self._playing("plan")
        return actions

    def valid_actions(self) -> list[str] | None:
        """See ``Environment.valid_actions``."""
        actions: list[str] | None = self._playing("valid_actions")
        return actions

    def grammar(self) -> str:
        """See ``Environment.grammar``."""
        text: str = self._call("grammar")
        return text

    def describe_state(self) -> str:
        """See ``Environment.describe_state``."""
        text: str = self._playing("describe_state")
        return text

    def close(self) -> None:
        """Let the child close its environment and end it."""
        if self._child is None:
            return
        limit = self.time_limit_s or _CLOSE_S
        try:
            self._exchange("close", (), min(limit, _CLOSE_S))
        finally:
            self._kill()

    def _playing(self, call: str, *arguments: Any) -> Any:
        if not self._plays:
            raise EnvironmentFault(
                self._name,
                f"{call}() has no episode: none has begun, or its process was ended",
                hint="Reset it, or restore a snapshot.",
            )
        return self._call(call, *arguments)

    def _call(self, call: str, *arguments: Any) -> Any:
        if self._child is None:
            self._start()
        return self._exchange(call, arguments, self.time_limit_s)

    def _start(self) -> None:
        self._plays = False
        self._child = subprocess.Popen(
            _CHILD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C is for this process only, which then ends the child.
            start_new_session=True,
            bufsize=0,
        )
        # Python's own start is not the environment's time.
        self._exchange("begin", (list(sys.path), os.getpid()), _BEGIN_S)
        arguments = (self._address, _plain(self._options))
        self._name, own_limit = self._exchange("make", arguments, self.time_limit_s)
        if self._limit is None and isinstance(own_limit, int | float):
            self.time_limit_s = float(own_limit)

    def _exchange(self, call: str, arguments: Sequence[Any], limit_s: float) -> Any:
        """Ask the child and wait for its answer; a child that does not answer is ended."""
        try:
            answer = self._ask(call, arguments, limit_s)
        except BaseException:
            # Also after Ctrl-C: the answer to this call must not be read as that to the next one.
            self._kill()
            raise
        if answer[0] == "ok":
            return _read_value(call, answer[1])
        if call == "make":
            self._kill()
        raise self._error(call, *answer)

    def _ask(self, call: str, arguments: Sequence[Any], limit_s: float) -> Any:
        child = self._child
        assert child is not None and child.stdin is not None and child.stdout is not None
        message = marshal.dumps((call, tuple(arguments)))
        try:
            write_all(child.stdin.fileno(), HEADER.pack(len(message)) + message)
        except BrokenPipeError:
            raise self._death(call) from None
        deadline = time.monotonic() + limit_s if limit_s > 0 else None
        header = self._read(HEADER.size, deadline, call, limit_s)
        return marshal.loads(self._read(HEADER.unpack(header)[0], deadline, call, limit_s))

    def _read(self, size: int, deadline: float | None, call: str, limit_s: float) -> bytearray:
        assert self._child is not None and self._child.stdout is not None
        pipe = self._child.stdout.fileno()
        data = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while len(data) < size:
                wait = None if deadline is None else max(0.0, deadline - time.monotonic())
                if not selector.select(wait):
                    raise EnvironmentFault(
                        self._name,
                        f"{call}() took longer than {limit_s:g} s and was stopped",
                        hint="`--set env_options.time_limit_s=SECONDS` changes the limit;"
                        " 0 = no limit.",
                    )
                part = os.read(pipe, min(size - len(data), 1 << 20))
                if not part:
                    raise self._death(call)
                data += part
        return data

    def _death(self, call: str) -> EnvironmentFault:
        """How the child ended."""
        assert self._child is not None
        return EnvironmentFault(self._name, f"{call}() {how_it_ended(self._child)}")

    def _kill(self) -> None:
        child, self._child, self._plays = self._child, None, False
        if child is None:
            return
        if child.poll() is None:
            # With whatever it started.
            with contextlib.suppress(OSError, AttributeError):
                os.killpg(child.pid, signal.SIGKILL)
            child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()

    def _error(self, call: str, outcome: str, kind: str, message: str, hint: str) -> Exception:
        """The child's exception, as it would have been in this process."""
        if outcome == "missing":
            return NotImplementedError(message)
        known = getattr(errors, kind, None) if outcome == "error" else None
        if known is EnvironmentFault:
            prefix = f"environment '{self._name}': "
            return EnvironmentFault(self._name, message.removeprefix(prefix), hint=hint)
        if isinstance(known, type) and issubclass(known, AgentrError):
            error: AgentrError = known(message, hint=hint)
            return error
        return EnvironmentFault(self._name, f"{call}() raised {kind}: {message}", hint=hint)


def _plain(value: Any) -> Any:
    """Options in types that ``marshal`` has."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _read_task(fields: Any) -> Any:
    """A task whose payload only the child reads; what is none stays as it is."""
    if not (isinstance(fields, tuple) and len(fields) == 5):
        return fields
    name, split, goal, level, pickled = fields
    return Task(name, split, goal, level, {_PICKLED: pickled})


def _read_value(call: str, value: Any) -> Any:
    if call == "step" and isinstance(value, tuple) and len(value) == 5:
        return StepResult(*value)
    return value


def pickled(value: Any) -> bytes:
    """A value of the child's, to be kept by its parent."""
    return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
