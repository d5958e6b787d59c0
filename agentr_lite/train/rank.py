"""One of the processes that train together; ``train.launch`` has them started.

Process 0 reports to the command that started them, a line of JSON at a time. The others say that
they are there, and why they fail. None outlives the command: see ``_follow_command``.
"""

from __future__ import annotations

import json
import os
import select
import signal
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentr_lite.core.child import write_all
from agentr_lite.core.errors import EXIT_FAILED, AgentrError

FOLDER = "AGENTR_LITE_TRAINING"
"""The variable with the folder of a training's job; it is set only on the command's machine."""
ARGUMENTS_FILE, JOB_FILE, RESULT_FILE = "launch.json", "job.json", "result.json"
MARK = "agentr-lite "
"""What a line of ours begins with; libraries may print others."""
BEAT = b"\n"
"""What the command sends every ``BEAT_S``, from when all processes are ready."""
BEAT_S = 5.0
SILENCE_S = 120.0
"""How long the command and a process on another machine hear nothing of each other before they
give up."""
MEET_S = 120.0
"""How long the processes try to reach each other."""

Tell = Callable[[str, Any], None]


def main() -> None:
    """Train, with the other processes."""
    # As the command may ignore it, and mlx.launch ends a process with it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    reports = os.dup(1)
    # What libraries print is no report.
    os.dup2(2, 1)
    rank = int(os.environ["MLX_RANK"])

    lock = threading.Lock()

    def tell(kind: str, value: Any) -> None:
        with lock:
            write_all(reports, f"{MARK}{json.dumps([kind, rank, value])}\n".encode())

    folder = os.environ.get(FOLDER)
    try:
        result = _train(Path(folder) if folder else None, tell)
        if rank == 0:
            Path(str(folder), RESULT_FILE).write_text(result, encoding="utf-8")
            tell("done", None)
    except BaseException as error:
        try:
            if not isinstance(error, AgentrError):
                traceback.print_exc()
            tell("failed", _described(error))
        finally:
            # At once: a thread of this process may wait for another process.
            os._exit(EXIT_FAILED)
    os._exit(0)


def _train(folder: Path | None, tell: Tell) -> str:
    """
    Args:
        folder: of the job; None on another machine.
        tell: the command.

    Returns:
        The result, as JSON.
    """
    from agentr_lite.actors.mlx.blas import use_fast_blas

    use_fast_blas()
    # Not earlier: it imports MLX, which must find the fast BLAS loaded.
    from agentr_lite.train.job import arguments_from_json, result_to_json
    from agentr_lite.train.lora import train_lora
    from agentr_lite.train.team import Team

    _follow_command(tell, SILENCE_S if folder is None else None)
    # MLX waits for the others without end and lets no other thread run, so only a signal helps.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, MEET_S)
    team = Team()
    signal.setitimer(signal.ITIMER_REAL, 0)
    # Process 0 is on the command's machine.
    job = json.loads((folder / JOB_FILE).read_text("utf-8")) if folder and not team.rank else None
    job = team.share(job)
    team.beside = job["hosts"].count(job["hosts"][team.rank])
    arguments = arguments_from_json(job["arguments"])
    result = train_lora(**arguments, on_report=lambda row: tell("progress", row), team=team)
    # Nobody leaves before all have what they wait for.
    team.gather(None)
    return result_to_json(result)


def _described(error: BaseException) -> tuple[str, str, str]:
    """Class, message and hint of an error."""
    if isinstance(error, AgentrError):
        return type(error).__name__, error.message, error.hint
    return "", f"{type(error).__name__}: {' '.join(str(error).split())}", ""


def _follow_command(tell: Tell, silence_s: float | None) -> None:
    """Wait until all processes are ready, and end this one when the command is gone.

    A process that tries to reach another one before that is ready gives up after half a minute.

    Args:
        tell: the command that this process is there.
        silence_s: the longest time without a sign of life from the command. None: the end of the
            input will say that the command is gone, because it is on this machine.
    """
    all_ready = threading.Event()

    def follow() -> None:
        try:
            while select.select([0], [], [], silence_s)[0] and os.read(0, 4096):
                all_ready.set()
                tell("alive", None)
        finally:
            os._exit(EXIT_FAILED)

    tell("ready", None)
    threading.Thread(target=follow, daemon=True).start()
    all_ready.wait()
