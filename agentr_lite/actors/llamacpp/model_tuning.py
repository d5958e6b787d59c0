"""The batch shapes of a model on this machine: measured and stored, or forgotten."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from agentr_lite.actors.digest import file_sha256
from agentr_lite.actors.llamacpp import tuning
from agentr_lite.actors.llamacpp.calibrate import Calibration, calibrate
from agentr_lite.actors.registry import resolve_model
from agentr_lite.core.errors import UsageError

BUSY_LOAD = 0.5
"""Load of a core above which measured figures are doubtful."""


def tunable_file(model: str) -> tuple[Path, str]:
    """(GGUF file, name) of a model.

    Raises:
        ModelError: there is no such model.
        UsageError: it is not a GGUF file.
    """
    files = resolve_model(model)
    if files.gguf.is_dir():
        raise UsageError(f"MLX runs {model}; only GGUF files can be tuned")
    return files.gguf, files.name


def load_of_a_core() -> float:
    """The machine's load, divided by its cores."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def measure_tuning(path: Path, name: str, on_turn: Callable[[int, int], None]) -> Calibration:
    """Find the fastest batch shapes and store them for later commands.

    Args:
        path: the GGUF file.
        name: of the model.
        on_turn: called after each measurement with how many are done, and how many there are.

    Raises:
        ModelError: the model does not load.
    """
    calibration = calibrate(path, on_turn=on_turn)
    tuning.store(file_sha256(path), name, calibration.best)
    return calibration


def forget_tuning(path: Path) -> bool:
    """Let a model run with the defaults again; returns whether anything was stored."""
    return tuning.forget(file_sha256(path))
