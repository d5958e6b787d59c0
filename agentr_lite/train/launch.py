"""Trains in several processes, which MLX's own launcher starts, here or on other machines.

::

    this command ──▶ mlx.launch ──▶ process 0, which writes the checkpoint and the adapter
                          ├───────▶ process 1, 2, … here, or through ssh on other machines
                          ◀──────── lines: progress of process 0, errors of all

If one of them ends early, so do all. If a process does, mlx.launch ends the others. This command
kills the group of mlx.launch and its processes, whatever became of them. mlx.launch does the same
when this command is gone.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import math
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import IO, Any

from agentr_lite.console.streams import say
from agentr_lite.core import errors
from agentr_lite.core.child import how_it_ended, module_command
from agentr_lite.core.errors import AgentrError
from agentr_lite.train.hosts import HERE, Hosts, training_hosts
from agentr_lite.train.job import arguments_to_json, result_from_json
from agentr_lite.train.loop import Report
from agentr_lite.train.lora import TrainResult, train_lora
from agentr_lite.train.rank import (
    ARGUMENTS_FILE,
    BEAT,
    BEAT_S,
    FOLDER,
    JOB_FILE,
    MARK,
    MEET_S,
    RESULT_FILE,
    SILENCE_S,
)

_LAUNCHER, _RANK = "agentr_lite.train.launcher", "agentr_lite.train.rank"
_LEAVE_S = 20.0
"""How long all may take to end after the first one has: ssh may wait for a machine that is gone."""
_EXITED = re.compile(r"Node with rank (\d+) (?:exited with code (-?\d+)|was killed)")
"""What mlx.launch says of a process that failed."""
_ENDED = -signal.SIGTERM
"""The exit code of a process that mlx.launch ended because another one had failed."""
_SSH_FAILED = 255
_NOISE = "[ring] "
"""What MLX says, many times, when another process has ended."""
_KEPT = "The last checkpoint is kept."


def train_together(*arguments: Any, on_report: Report | None = None, **named: Any) -> TrainResult:
    """``train_lora`` in as many processes as its settings say.

    Args:
        *arguments: those of ``train_lora``.
        on_report: as in ``train_lora``.
        **named: those of ``train_lora``.

    Raises:
        AgentrError: as ``train_lora``; of another process than the first, the message names it. Or
            a process ended without a word.
    """
    bound = inspect.signature(train_lora).bind(*arguments, **named)
    bound.apply_defaults()
    given = dict(bound.arguments)
    del given["on_report"], given["team"]
    hosts = training_hosts(given["settings"])
    job = {"hosts": list(hosts.names), "arguments": arguments_to_json(given)}
    with tempfile.TemporaryDirectory(prefix="agentr-lite-train-") as name:
        folder = Path(name)
        (folder / JOB_FILE).write_text(json.dumps(job), encoding="utf-8")
        with _launched(folder, hosts) as launched:
            launched.follow(on_report or (lambda _: None))
        return result_from_json((folder / RESULT_FILE).read_text("utf-8"))


@dataclass
class _Launched:
    """A launcher at work, and what its processes have said."""

    process: subprocess.Popen[bytes]
    hosts: Hosts
    lines: Queue[str | None] = field(default_factory=Queue)
    """Of both streams, as they come; None at the end of each."""
    ready: set[int] = field(default_factory=set)
    """Processes that only wait for the others."""
    failures: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    """By process: class, message and hint of its error."""
    exits: list[tuple[int, int]] = field(default_factory=list)
    """Processes that ended early, in that order, and with which code."""
    unheard: Counter[int] = field(default_factory=Counter)
    """By process on another machine: beats since it last said something."""
    is_done: bool = False
    _beat_at: float = 0.0
    _leave_at: float = math.inf
    """Until when to wait for the end, once it has begun."""

    def follow(self, report: Report) -> None:
        """Pass on what process 0 reports, until all is done.

        Raises:
            AgentrError: the training failed.
        """
        open_streams = 2
        while open_streams and time.monotonic() < self._leave_at and not self._silent():
            line = self._next()
            if line is None:
                open_streams -= 1
            elif line.startswith(MARK):
                self._take(line, report)
            elif exited := _EXITED.search(line):
                self._leave()
                self.exits.append((int(exited[1]), int(exited[2] or _ENDED)))
            elif line.strip() and not line.startswith(_NOISE):
                say(line.rstrip())
        if not self.is_done:
            raise self._error()

    def _next(self) -> str | None:
        """The next line; an empty one instead if a beat was due."""
        left = self._beat_at - time.monotonic()
        if left > 0:
            with contextlib.suppress(Empty):
                return self.lines.get(timeout=left)
        self._beat_at = time.monotonic() + BEAT_S
        self.unheard.update(self.hosts.elsewhere)
        # What comes earlier would be the answer to a question of ssh, or be echoed.
        if len(self.ready) == self.hosts.count:
            assert self.process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(BEAT)
                self.process.stdin.flush()
        return ""

    def _silent(self) -> list[int]:
        """Processes on other machines that have not been heard of for too long."""
        return [rank for rank, beats in self.unheard.items() if beats > SILENCE_S / BEAT_S]

    def _take(self, line: str, report: Report) -> None:
        try:
            kind, rank, value = json.loads(line.removeprefix(MARK))
        except ValueError:
            # Lines of two processes that fail at the same time may be mixed.
            say(line.rstrip())
            return
        self.unheard.pop(rank, None)
        if kind == "progress":
            report(value)
        elif kind == "ready":
            self.ready.add(rank)
            if len(self.ready) == self.hosts.count:
                self._beat_at = 0.0
        elif kind == "failed":
            self._leave()
            self.failures[rank] = value
        elif kind == "done":
            self._leave()
            self.is_done = True

    def _leave(self) -> None:
        self._leave_at = min(self._leave_at, time.monotonic() + _LEAVE_S)

    def _error(self) -> AgentrError:
        """Why the training failed; what only followed from it is left out."""
        own = {rank: row for rank, row in self.failures.items() if row[0] != "PeerLost"}
        if own:
            rank = min(own)
            name, message, hint = own[rank]
            kind: type[AgentrError] = getattr(errors, name, AgentrError)
            # The errors of the first one are those of a training in one process.
            return kind(f"{self._who(rank)}: {message}" if rank else message, hint=hint)
        for number, (rank, code) in enumerate(self.exits):
            # What ended after another one may have been ended by mlx.launch.
            if rank not in self.failures and (code != _ENDED or number == 0):
                hint = f"{_KEPT} {self._why(rank, code)}".strip()
                return AgentrError(f"{self._who(rank)} {self._how(rank, code)}", hint=hint)
        if silent := self._silent():
            return AgentrError(
                f"{self._who(silent[0])} has not been heard of for {SILENCE_S:g} s",
                hint=f"{_KEPT} See whether the machine is there.",
            )
        lost = next(iter(self.failures.values()), None)
        why = lost[1] if lost else f"mlx.launch {how_it_ended(self.process)}"
        return AgentrError(why, hint=_KEPT)

    def _who(self, rank: int) -> str:
        name = self.hosts.names[rank]
        where = f" on {name if name != HERE else 'this machine'}" if self.hosts.machines > 1 else ""
        return f"training process {rank + 1} of {self.hosts.count}{where}"

    def _why(self, rank: int, code: int) -> str:
        """What to look at."""
        if code == -signal.SIGKILL:
            return (
                "SIGKILL often means too little memory: lower train.memory, or use fewer"
                " train.workers."
            )
        if self._ssh_failed(rank, code):
            name = self.hosts.names[rank]
            return f"See whether `ssh {name}` works, and whether {name} has memory enough."
        return ""

    def _how(self, rank: int, code: int) -> str:
        if code == -signal.SIGALRM:
            return f"did not reach the others within {MEET_S:g} s"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"was ended by {signal.Signals(-code).name}"
        if self._ssh_failed(rank, code):
            return "was killed, or its ssh connection failed"
        return f"ended with exit code {code}"

    def _ssh_failed(self, rank: int, code: int) -> bool:
        """Whether ssh ended with the code that it has for all that it cannot tell apart."""
        return code == _SSH_FAILED and self.hosts.names[rank] != HERE


@contextlib.contextmanager
def _launched(folder: Path, hosts: Hosts) -> Iterator[_Launched]:
    """Within: the processes are at work. Afterwards none is left."""
    (folder / ARGUMENTS_FILE).write_text(json.dumps(_arguments(hosts)), encoding="utf-8")
    process = subprocess.Popen(
        module_command(_LAUNCHER),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # mlx.launch leaves its temporary files.
        env={**os.environ, FOLDER: str(folder), "TMPDIR": str(folder)},
        # A group of processes, which Ctrl-C does not reach.
        start_new_session=True,
    )
    launched = _Launched(process, hosts)
    readers = [
        threading.Thread(target=_read, args=(stream, launched.lines), daemon=True)
        for stream in (process.stdout, process.stderr)
    ]
    for reader in readers:
        reader.start()
    try:
        yield launched
    finally:
        # mlx.launch, or what it has left if it was killed.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for reader in readers:
            reader.join(_LEAVE_S)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _read(stream: IO[bytes], lines: Queue[str | None]) -> None:
    for line in stream:
        lines.put(line.decode("utf-8", "replace"))
    lines.put(None)
    stream.close()


def _arguments(hosts: Hosts) -> list[str]:
    """The command line of ``mlx.launch``."""
    if hosts.path is not None:
        where = ["--hostfile", str(hosts.path)]
    else:
        port = str(_free_ports(hosts.count))
        where = ["--hosts", hosts.names[0], "--repeat-hosts", str(hosts.count)]
        where += ["--starting-port", port, "--nccl-port", port]
    return [*where, "--", *module_command(_RANK)]


def _free_ports(count: int) -> int:
    """The first of so many successive ports that nobody uses on this machine."""
    while True:
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
            try:
                sockets[0].bind(("127.0.0.1", 0))
                first: int = sockets[0].getsockname()[1]
                for number, each in enumerate(sockets[1:], start=1):
                    each.bind(("127.0.0.1", first + number))
            except (OSError, OverflowError):
                continue
            return first
