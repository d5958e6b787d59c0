"""Trains in several processes, which MLX's own launcher starts, here or on other machines.

::

    this command ──▶ mlx.launch ──▶ process 0, which writes the checkpoint and the adapter
                          ├───────▶ process 1, 2, … here, or through ssh on other machines
                          ◀──────── lines: progress of process 0, errors of all

All of them end with this command: it holds a pipe open, at whose end they end themselves.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import IO, Any

from agentr_lite.console.streams import say
from agentr_lite.core import errors
from agentr_lite.core.child import how_it_ended, module_command
from agentr_lite.core.errors import AgentrError
from agentr_lite.train.hosts import Hosts, training_hosts
from agentr_lite.train.job import arguments_to_json, result_from_json
from agentr_lite.train.loop import Report
from agentr_lite.train.lora import TrainResult, train_lora
from agentr_lite.train.rank import (
    ALIVE_FILE,
    ARGUMENTS_FILE,
    BEAT_S,
    FOLDER,
    JOB_FILE,
    MARK,
    RESULT_FILE,
)

_LAUNCHER, _RANK = "agentr_lite.train.launcher", "agentr_lite.train.rank"
_LEAVE_S = 20.0
"""How long the processes may take to end. Those on other machines are ended through ssh."""
_EXITED = re.compile(r"Node with rank (\d+) (?:exited with code (-?\d+)|was killed)")
"""What mlx.launch says of a process that failed."""
_ENDED = str(-signal.SIGTERM)
"""The exit code of a process that mlx.launch ended because another one had failed."""
_RESUME = "Resume to go on from the last checkpoint."


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
    with tempfile.TemporaryDirectory(prefix="agentr-lite-train-") as name:
        folder = Path(name)
        (folder / JOB_FILE).write_text(arguments_to_json(given), encoding="utf-8")
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
    failures: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    """By process: class, message and hint of its error."""
    exits: list[tuple[int, str]] = field(default_factory=list)
    """Processes that ended early, in that order, and with which code."""

    def follow(self, report: Report) -> None:
        """Pass on what process 0 reports, until all is done.

        Raises:
            AgentrError: the training failed.
        """
        is_done, open_streams = False, 2
        while open_streams:
            line = self._next()
            if line is None:
                open_streams -= 1
            elif line.startswith(MARK):
                is_done |= self._take(json.loads(line.removeprefix(MARK)), report)
            elif exited := _EXITED.search(line):
                self.exits.append((int(exited[1]), exited[2] or _ENDED))
            elif line.strip():
                say(line.rstrip())
        if not is_done:
            raise self._error()

    def _next(self) -> str | None:
        while True:
            try:
                return self.lines.get(timeout=BEAT_S)
            except Empty:
                self._beat()

    def _beat(self) -> None:
        """A sign of life, which mlx.launch gives to every process."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()

    def _take(self, row: tuple[str, int, Any], report: Report) -> bool:
        kind, rank, value = row
        if kind == "progress":
            report(value)
        elif kind == "failed":
            self.failures[rank] = value
        return kind == "done"

    def _error(self) -> AgentrError:
        """Why the training failed; what only followed from it is left out."""
        own = {rank: row for rank, row in self.failures.items() if row[0] != "PeerLost"}
        if own:
            rank = min(own)
            name, message, hint = own[rank]
            kind: type[AgentrError] = getattr(errors, name, AgentrError)
            return kind(f"{self._who(rank)}{message}", hint=hint)
        # The launcher ends the others with SIGTERM.
        told = set(self.failures)
        silent = [each for each in self.exits if each[0] not in told and each[1] != _ENDED]
        if first := next(iter(silent or self.exits), None):
            rank, code = first
            return AgentrError(
                f"{self._who(rank) or 'training process 1: '}{_how(code)}",
                hint=f"{_RESUME} SIGKILL often means that memory ran out: lower train.memory, or"
                " use fewer train.workers.",
            )
        lost = next(iter(self.failures.values()), None)
        why = lost[1] if lost else f"mlx.launch {how_it_ended(self.process)}"
        return AgentrError(why, hint=_RESUME)

    def _who(self, rank: int) -> str:
        """Which process; empty for the first one, whose errors are those of a training alone."""
        if rank == 0:
            return ""
        where = f" on {self.hosts.names[rank]}" if self.hosts.are_several else ""
        return f"training process {rank + 1} of {self.hosts.count}{where}: "


def _how(code: str) -> str:
    if code.startswith("-"):
        with contextlib.suppress(ValueError):
            return f"ended by {signal.Signals(-int(code)).name}"
    return f"ended with exit code {code}"


@contextlib.contextmanager
def _launched(folder: Path, hosts: Hosts) -> Iterator[_Launched]:
    """Within: the processes are at work. Afterwards none is left."""
    arguments = _arguments(hosts, folder)
    (folder / ARGUMENTS_FILE).write_text(json.dumps(arguments), encoding="utf-8")
    os.mkfifo(folder / ALIVE_FILE)
    # For both directions: opening it for one would wait for the other.
    alive = os.open(folder / ALIVE_FILE, os.O_RDWR)
    process = subprocess.Popen(
        module_command(_LAUNCHER),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # mlx.launch leaves its temporary files.
        env={**os.environ, FOLDER: str(folder), "TMPDIR": str(folder)},
        # Ctrl-C is for this process only, which then ends the others.
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
        try:
            os.close(alive)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LEAVE_S)
        finally:
            # Also what a launcher that was killed has left.
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


def _arguments(hosts: Hosts, folder: Path) -> list[str]:
    """The command line of ``mlx.launch``."""
    if hosts.path is not None:
        where = ["--hostfile", str(hosts.path)]
    else:
        port = str(_free_ports(hosts.count))
        where = ["--hosts", hosts.names[0], "--repeat-hosts", str(hosts.count)]
        where += ["--starting-port", port, "--nccl-port", port]
    return [*where, "--env", f"{FOLDER}={folder}", "--", *module_command(_RANK)]


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
