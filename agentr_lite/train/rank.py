"""One of the processes that train together; ``train.launch`` has them started.

Process 0 reports to the command that started them, a line of JSON at a time. The others are heard
of only if they fail. None outlives the command: see ``_end_with_command``.
"""

from __future__ import annotations

import json
import os
import select
import threading
import traceback
from pathlib import Path
from typing import Any

from agentr_lite.core.child import write_all
from agentr_lite.core.errors import EXIT_FAILED, AgentrError

FOLDER = "AGENTR_LITE_TRAINING"
"""The variable with the folder of a training's job; only machine 1 has the folder."""
ARGUMENTS_FILE, JOB_FILE, RESULT_FILE = "launch.json", "job.json", "result.json"
ALIVE_FILE = "alive"
MARK = "agentr-lite "
"""What a line of ours begins with; libraries may print others."""
BEAT_S = 5.0
"""Between two signs of life of the command, for processes on other machines."""
_SILENCE_S = 60.0


def main() -> None:
    """Train, with the other processes."""
    folder = Path(os.environ[FOLDER])
    _end_with_command(folder / ALIVE_FILE)
    reports = os.dup(1)
    # What libraries print is no report.
    os.dup2(2, 1)
    rank = int(os.environ["MLX_RANK"])

    def report(kind: str, value: Any) -> None:
        write_all(reports, f"{MARK}{json.dumps([kind, rank, value])}\n".encode())

    try:
        result = _train(folder, report)
        if rank == 0:
            (folder / RESULT_FILE).write_text(result, encoding="utf-8")
            report("done", None)
    except BaseException as error:
        if not isinstance(error, AgentrError):
            traceback.print_exc()
        report("failed", _described(error))
        os._exit(EXIT_FAILED)
    os._exit(0)


def _train(folder: Path, report: Any) -> str:
    """
    Returns:
        The result, as JSON.
    """
    from agentr_lite.actors.mlx.blas import use_fast_blas

    use_fast_blas()
    # Not earlier: it imports MLX, which must find the fast BLAS loaded.
    from agentr_lite.train.team import Team

    team = Team()
    from agentr_lite.train.job import arguments_from_json, result_to_json
    from agentr_lite.train.lora import train_lora

    job = json.loads((folder / JOB_FILE).read_text("utf-8")) if team.rank == 0 else None
    arguments = arguments_from_json(team.share(job))
    result = train_lora(**arguments, on_report=lambda row: report("progress", row), team=team)
    # Nobody leaves before all have what they wait for.
    team.gather(None)
    return result_to_json(result)


def _described(error: BaseException) -> tuple[str, str, str]:
    """Class, message and hint of an error."""
    if isinstance(error, AgentrError):
        return type(error).__name__, error.message, error.hint
    return "", f"{type(error).__name__}: {' '.join(str(error).split())}", ""


def _end_with_command(alive: Path) -> None:
    """End this process at once when the command that had it started is gone.

    On the command's machine, ``alive`` is a pipe that the command holds open. Where there is no
    such pipe, the command's signs of life come through ``mlx.launch`` and ssh. The end of the input
    says that ``mlx.launch`` itself is gone.
    """
    threading.Thread(target=_watch_input, args=(not alive.exists(),), daemon=True).start()
    if alive.exists():
        threading.Thread(target=_watch_pipe, args=(alive,), daemon=True).start()


def _watch_pipe(alive: Path) -> None:
    # It does not wait for a command that is gone already.
    pipe = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)
    while select.select([pipe], [], []) and os.read(pipe, 1):
        pass
    os._exit(EXIT_FAILED)


def _watch_input(needs_beats: bool) -> None:
    while select.select([0], [], [], _SILENCE_S)[0] or not needs_beats:
        if not os.read(0, 4096):
            break
    os._exit(EXIT_FAILED)
