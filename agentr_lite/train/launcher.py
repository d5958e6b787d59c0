"""The process that ``mlx.launch`` runs in; it starts the processes of a training and waits."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlx._distributed_utils import launch

from agentr_lite.train.rank import ARGUMENTS_FILE, FOLDER

_OWN_END_S = 5.0
"""How long a process elsewhere may take to end by itself after another one has failed."""


def main() -> None:
    """Run ``mlx.launch`` with the arguments in the job's folder."""
    threading.Thread(target=_end_with_command, daemon=True).start()
    arguments = Path(os.environ[FOLDER], ARGUMENTS_FILE).read_text("utf-8")
    sys.argv = ["mlx.launch", *json.loads(arguments)]
    launch.select = _select
    launch.RemoteProcess.terminate = _terminate
    launch.main()


def _end_with_command() -> None:
    """Kill this process and all that it has started when the command is gone.

    The command holds the other end of the input, which mlx.launch reads.
    """
    poll = select.poll()
    poll.register(0, select.POLLHUP)
    while not any(event & select.POLLHUP for _, event in poll.poll()):
        # macOS also reports that there is something to read.
        time.sleep(0.1)
    # The command has made this process the first one of a group.
    os.killpg(0, signal.SIGKILL)


def _select(
    readable: Sequence[int], writable: Sequence[int], failing: Sequence[int], timeout: float
) -> tuple[list[Any], list[Any], list[Any]]:
    """``select.select``, which mlx.launch would call without end: a process can always be written
    to."""
    ready, _, failed = select.select(readable, [], failing, timeout)
    return ready, select.select([], writable, [], 0)[1], failed


def _terminate(self: Any) -> None:
    """End a process because another one has failed; instead of ``RemoteProcess.terminate``.

    The first one that fails is often not the one to blame: it has lost the other, whose own end
    comes later through ssh. So wait for that end, whose exit code says more.

    The original kills a process by the number in a file. Through ssh it does not find the file,
    because a terminal ends its name with a carriage return. A process elsewhere ends with its
    connection.
    """
    try:
        self.process.wait(0 if self._is_local else _OWN_END_S)
    except subprocess.TimeoutExpired:
        self.process.terminate()
        self.process.wait()
        self._killed = True
