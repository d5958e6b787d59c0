"""The program as a process of its own: started, hit by signals, and judged when it has ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DEADLINE_S = 240.0
"""No command of a trial works for half a minute, even on a busy machine."""
LEFT_S = 90.0
"""How long a process that lost its parent may take to save its work and end."""
DOCUMENTED = (0, 1, 2, 3, 4, 5, 6, 130)
"""The exit codes in docs/commands.md."""
_MARK = "AGENTR_LITE_SOAK_TRIAL"
_LOOK_S = 0.02
_at_work: set[str] = set()
"""The marks of commands whose end has not been seen yet."""
_SHOWN = 1500


class Ended(NamedTuple):
    """How a command ended."""

    words: tuple[str, ...]
    code: int
    """Negative: the number of the signal that ended it."""
    out: str
    err: str
    faults: tuple[str, ...]
    """A hang, and processes that it left behind."""

    def judged(self, *allowed: int) -> list[str]:
        """Everything that is wrong with how it ended.

        Args:
            allowed: the exit codes that it may have; none: every documented one.
        """
        faults = list(self.faults)
        if "Traceback (most recent call last)" in self.err:
            faults.append("a traceback")
        if self.code not in (allowed or DOCUMENTED):
            faults.append(f"exit code {self.code}, not one of {allowed or DOCUMENTED}")
        shown = " ".join(self.words)
        said = self.err[-_SHOWN:]
        return [f"`{shown}`: {fault}; stderr ends with: {said}" for fault in faults]


class Running:
    """A command that has been started.

    Args:
        words: the command's arguments.
        program: what comes before them: Python's arguments.
        folder: where it runs, and where its output is kept.
        env: variables on top of this process's.
        prepare: called in the child before the program begins.
    """

    def __init__(
        self,
        words: Sequence[object],
        *,
        program: Sequence[str],
        folder: Path,
        env: Mapping[str, str] | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self.words = tuple(str(word) for word in words)
        self._mark = uuid.uuid4().hex
        _at_work.add(self._mark)
        folder.mkdir(parents=True, exist_ok=True)
        self._out, self._err = folder / "stdout.txt", folder / "stderr.txt"
        ready, told = os.pipe()

        def begin() -> None:
            # Where `nohup` began the soak, a child would ignore SIGHUP as it does.
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            if prepare is not None:
                prepare()

        try:
            with self._out.open("wb") as out, self._err.open("wb") as err:
                self.process = subprocess.Popen(
                    [sys.executable, *program, *self.words],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    cwd=folder,
                    env=_environment(folder, self._mark, told, env or {}),
                    pass_fds=(told,),
                    preexec_fn=begin,
                    start_new_session=True,
                )
        finally:
            os.close(told)
        self._ready = ready

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def wait_until_ready(self) -> None:
        """Return when the command has begun its work, or has ended."""
        # The end of the pipe comes where it ends before.
        os.read(self._ready, 1)

    def wait(self, seconds: float) -> bool:
        """Wait for its end; gives whether it has ended."""
        end = time.monotonic() + seconds
        while self.is_running and time.monotonic() < end:
            time.sleep(min(_LOOK_S, max(0.0, end - time.monotonic())))
        return not self.is_running

    def send(self, number: int) -> bool:
        """Send a signal; gives whether the command was still there."""
        if not self.is_running:
            return False
        self.process.send_signal(number)
        return True

    def children(self) -> list[int]:
        """Its other processes; empty where the system does not tell."""
        return [pid for pid in _marked(self._mark) if pid != self.process.pid]

    def _wait_for_children(self, seconds: float) -> list[int]:
        """Those that are still there after some time."""
        end = time.monotonic() + seconds
        while (left := self.children()) and time.monotonic() < end:
            time.sleep(_LOOK_S)
        return left

    def ended(self, deadline_s: float = DEADLINE_S, left_s: float = LEFT_S) -> Ended:
        """Wait for the end of the command and of all that it started.

        What does not end is a fault, and is killed.

        Args:
            deadline_s: how long the command may take.
            left_s: how long the others may take after it.
        """
        faults = []
        if not self.wait(deadline_s):
            faults.append(f"still at work after {deadline_s:g} s")
            # Python's fault handler prints where each thread is.
            self.process.send_signal(signal.SIGABRT)
            if not self.wait(10):
                self.process.kill()
        code = self.process.wait()
        if left := self._wait_for_children(left_s):
            faults.append(f"{len(left)} processes left behind: {', '.join(map(_command, left))}")
            _kill(left)
            self._wait_for_children(left_s)
        os.close(self._ready)
        _at_work.discard(self._mark)
        out, err = (path.read_text("utf-8", "replace") for path in (self._out, self._err))
        return Ended(self.words, code, out, err, tuple(faults))


def end_all() -> None:
    """Kill what is still at work, because the soak itself was cut."""
    while _at_work:
        _kill(_marked(_at_work.pop()))


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _environment(folder: Path, mark: str, ready: int, more: Mapping[str, str]) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    own = {
        "PYTHONPATH": path,
        "PYTHONFAULTHANDLER": "1",
        "AGENTR_LITE_HOME": str(folder / "home"),
        "AGENTR_LITE_SOAK_READY": str(ready),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "OMP_WAIT_POLICY": "passive",
        _MARK: mark,
    }
    return {**os.environ, **own, **more}


def _marked(mark: str) -> list[int]:
    """The processes that inherited a mark (Linux; elsewhere none are seen)."""
    line = f"{_MARK}={mark}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        # Another one's, or just gone.
        with contextlib.suppress(OSError):
            if line in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return str(pid)
    return b" ".join(words).decode("utf-8", "replace").strip() or str(pid)
