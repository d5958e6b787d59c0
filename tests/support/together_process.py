"""A training in two processes, as a program that can be killed.

``python together_process.py MODEL OUT``: prints a line for each step, and resumes.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from agentr_lite.train.launch import train_together
from agentr_lite.train.lora import TrainResult
from tests.train.test_train_lora import TRAIN, VALID, changed

SETTINGS = changed(workers=2)


def fit(model_dir: Path, out_dir: Path, **more: Any) -> TrainResult:
    """Train, with the examples and settings of the tests of one process."""
    arguments: dict[str, Any] = {"settings": SETTINGS, "seed": 3, "out_dir": out_dir, **more}
    examples = arguments.pop("train", TRAIN), arguments.pop("valid", VALID)
    return train_together(model_dir, *examples, **arguments)


def processes_of(folder: Path) -> list[int]:
    """The processes, but for this one, in whose environment a folder is named (Linux)."""
    found = []
    for place in Path("/proc").iterdir():
        try:
            named = str(folder).encode() in (place / "environ").read_bytes()
            is_dead = ") Z " in (place / "stat").read_text()
        except (OSError, ValueError):
            continue
        if named and not is_dead and int(place.name) != os.getpid():
            found.append(int(place.name))
    return found


def wait_until_none(folder: Path) -> None:
    """Wait until there is no such process; a test's alarm ends it if there always is."""
    while processes_of(folder):
        time.sleep(0.05)


if __name__ == "__main__":
    fit(
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        resume=True,
        on_report=lambda row: print(row["event"], row["step"], flush=True),
    )
