"""A child process that answers one call after the other, and that can be killed.

Some work cannot be stopped from within: machine code runs until it returns, takes all memory, or
ends the process. In a child it costs the call: the child is killed and the next call gets a new
one::

    parent  ask(question, limit_s)  ── length, marshal ──▶  child  serve(answer)
            waits, looks at memory  ◀────── the same ──────         an alarm ends it, too

The child ends with its parent: it sees the end of its input, or its alarm ends it.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import select
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_HEADER = struct.Struct("<Qd")
"""Before each message: its length in bytes, and the seconds that its answer may take."""
_START_S = 60.0
_END_S = 10.0
_ALARM_AFTER_S = 1.0
"""The child's own alarm comes this much after the limit: it is for children without a parent."""
_LOOK_S = 0.05
"""Between two looks at a child's memory, or at whether its parent is there."""
_PROGRAM = "import sys; sys.path[:] = sys.argv[2:]; __import__(sys.argv[1], fromlist=['_']).main()"
"""The parent's path, rather than the current folder: a file there may be named as a module."""


class ChildLost(Exception):
    """The child is gone, and with it the answer: it died, or was killed at a limit.

    The text says how, e.g. ``ran for more than 5 s``.
    """


class Child:
    """Starts a child when it is needed, and another one after that is lost.

    Attributes:
        pid: of the child; None: there is none now.
    """

    def __init__(self, module: str, *, memory_bytes: int) -> None:
        """
        Args:
            module: full name of a module whose ``main`` calls ``serve``.
            memory_bytes: most memory that the child may have in RAM. It is looked at every 50 ms,
                so a child may exceed it for as long.
        """
        self._module = module
        self._memory_bytes = memory_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def ask(self, question: Any, limit_s: float) -> Any:
        """The child's answer.

        Args:
            question: of the types that ``marshal`` has.
            limit_s: the longest time for the answer; the child's start does not count.

        Raises:
            ChildLost: it gave none.
        """
        with self._lock:
            self._start()
            return self._exchange(question, limit_s)

    def close(self) -> None:
        """End the child, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        # After a fork, it is the child of another process.
        if self._owner == os.getpid():
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def _start(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            return
        self.close()
        self._owner = os.getpid()
        self._process = subprocess.Popen(
            module_command(self._module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C is for this process only, which then ends the child.
            start_new_session=True,
            bufsize=0,
        )
        self._exchange(None, _START_S)

    def _exchange(self, question: Any, limit_s: float) -> Any:
        try:
            return self._answer(question, limit_s)
        except BaseException:
            # Also after Ctrl-C: this answer must not be read as that to the next question.
            self.close()
            raise

    def _answer(self, question: Any, limit_s: float) -> Any:
        process = self._process
        assert process is not None and process.stdin is not None
        message = marshal.dumps(question)
        try:
            write_all(process.stdin.fileno(), _HEADER.pack(len(message), limit_s) + message)
        except BrokenPipeError:
            raise ChildLost(how_it_ended(process)) from None
        deadline = time.monotonic() + limit_s
        size, _ = _HEADER.unpack(self._read(process, _HEADER.size, deadline, limit_s))
        return marshal.loads(self._read(process, size, deadline, limit_s))

    def _read(
        self, process: subprocess.Popen[bytes], size: int, deadline: float, limit_s: float
    ) -> bytearray:
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        data = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while len(data) < size:
                left = deadline - time.monotonic()
                if not selector.select(max(0.0, min(left, _LOOK_S))):
                    if left <= 0:
                        raise ChildLost(f"ran for more than {limit_s:g} s")
                    if resident_bytes(process.pid) > self._memory_bytes:
                        raise ChildLost(f"took more than {self._memory_bytes / 1e6:,.0f} MB")
                    continue
                part = os.read(pipe, min(size - len(data), 1 << 20))
                if not part:
                    raise ChildLost(how_it_ended(process))
                data += part
        return data


def module_command(module: str) -> list[str]:
    """The command that calls a module's ``main`` in a process with this one's search path."""
    return [sys.executable, "-P", "-c", _PROGRAM, module, *sys.path]


def serve(answer: Callable[[Any], Any]) -> None:
    """Answer the parent's questions until there are no more; the body of a child's ``main``.

    Args:
        answer: gives the answer to a question, of the types that ``marshal`` has. What it raises
            ends the child.
    """
    questions, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    # What the work prints is nobody's: the parent says what went wrong.
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    # The default action ends the process, whatever runs in it.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    parent = os.getppid()
    while _wait(questions, parent) and (header := _receive(questions, _HEADER.size)):
        size, limit_s = _HEADER.unpack(header)
        question = marshal.loads(_receive(questions, size))
        signal.setitimer(signal.ITIMER_REAL, limit_s + _ALARM_AFTER_S)
        message = marshal.dumps(answer(question) if question is not None else None)
        signal.setitimer(signal.ITIMER_REAL, 0)
        write_all(answers, _HEADER.pack(len(message), 0.0) + message)
    os._exit(0)


def limit_memory(size: int) -> None:
    """Let this process have only so many bytes of address space, where the system can do that.

    Linux can: a request for more raises MemoryError. On macOS the parent's looks must do.
    """
    import resource

    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def resident_bytes(pid: int) -> int:
    """Memory that a process has in RAM; 0: there is no such process."""
    if sys.platform == "linux":
        try:
            pages = Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGESIZE")
    shown = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return int(shown) * 1024 if shown.isdigit() else 0


def write_all(pipe: int, data: bytes) -> None:
    """Write ``data`` to a file descriptor that may take only a part at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(pipe, rest) :]


def _wait(pipe: int, parent: int) -> bool:
    """Wait for a question; False: the parent is gone."""
    # Another process may hold the parent's end of the pipe, so its end is not enough.
    while not select.select([pipe], [], [], 1.0)[0]:
        if os.getppid() != parent:
            return False
    return True


def _receive(pipe: int, size: int) -> bytes:
    """``size`` bytes; none at the end of the input."""
    data = b""
    while len(data) < size:
        part = os.read(pipe, min(size - len(data), 1 << 20))
        if not part:
            return b""
        data += part
    return data


def how_it_ended(process: subprocess.Popen[bytes]) -> str:
    """What a process did whose output has ended, e.g. ``ended its process by SIGSEGV``."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
    code = process.returncode
    if code is None:
        return "closed its output"
    if code >= 0:
        return f"ended its process with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"ended its process by {signal.Signals(-code).name}"
    return f"ended its process by signal {-code}"
