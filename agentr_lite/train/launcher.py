"""The process that ``mlx.launch`` runs in; it starts the processes of a training and waits."""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlx._distributed_utils import launch

from agentr_lite.train.rank import ARGUMENTS_FILE, FOLDER


def main() -> None:
    """Run ``mlx.launch`` with the arguments in the job's folder."""
    arguments = Path(os.environ[FOLDER], ARGUMENTS_FILE).read_text("utf-8")
    sys.argv = ["mlx.launch", *json.loads(arguments)]
    launch.select = _select
    launch.main()


def _select(
    readable: Sequence[int], writable: Sequence[int], failing: Sequence[int], timeout: float
) -> tuple[list[Any], list[Any], list[Any]]:
    """``select.select`` without two reasons for which ``mlx.launch`` would keep a core busy.

    It waits until it could write to a process, which is always so. And it reads its own input again
    and again after the end of it, which comes when the command is gone.
    """
    if 0 in readable and _has_ended(0):
        # Its processes are ending, too.
        time.sleep(timeout)
        return [], [], []
    ready, _, failed = select.select(readable, [], failing, timeout)
    return ready, select.select([], writable, [], 0)[1], failed


def _has_ended(pipe: int) -> bool:
    """Whether nobody can write into a pipe any more, and all that was written has been read."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return any(event & select.POLLHUP and not event & select.POLLIN for _, event in poll.poll(0))
