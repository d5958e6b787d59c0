"""The measured fastest batch shapes for a model on a machine, and the file that keeps them.

Batch shapes decide how sums are rounded, so a tuned engine and an untuned one may decide a near tie
differently. The actor's description therefore names its tuning.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agentr_lite.actors.llamacpp.library import gpus, library_version
from agentr_lite.actors.llamacpp.machine import physical_cores
from agentr_lite.core.config import config_dir
from agentr_lite.core.errors import ModelError
from agentr_lite.core.json_values import load_json

_HINT = "Delete it; `agentr-lite doctor --tune` creates it again."


@dataclass(frozen=True, slots=True)
class Tuning:
    """The shape of the engine's batches."""

    width: int
    """Most branches in one decode batch."""
    micro_batch: int
    """Tokens that llama.cpp computes at once."""
    flash_attention: bool


def tuning_file() -> Path:
    """The file with the measured settings."""
    return config_dir() / "tuning.json"


def machine_name() -> str:
    """What a measurement is valid for: processor, usable cores, GPUs, llama.cpp's version."""
    cards = " + ".join(gpu.name for gpu in gpus())
    parts = [_processor(), f"{physical_cores()} cores", cards or "CPU"]
    return ", ".join([*parts, f"llama-cpp-python {library_version()}"])


def stored(digest: str) -> Tuning | None:
    """The settings for the model with this SHA-256 on this machine; None: not measured.

    Raises:
        ModelError: the file is damaged.
    """
    row = _read().get(machine_name(), {}).get(digest)
    if row is None:
        return None
    try:
        tuning = Tuning(row["width"], row["micro_batch"], row["flash_attention"])
    except (KeyError, TypeError) as error:
        raise ModelError(f"{tuning_file()} has a damaged entry: {error}", hint=_HINT) from error
    sound = isinstance(tuning.width, int) and 1 <= tuning.width <= 127
    sound = sound and isinstance(tuning.micro_batch, int) and 32 <= tuning.micro_batch <= 8192
    if not (sound and isinstance(tuning.flash_attention, bool)):
        raise ModelError(f"{tuning_file()} has an entry that cannot be used: {row}", hint=_HINT)
    return tuning


def any_stored() -> bool:
    """Whether anything was measured. If not, no digest of a large file need be computed."""
    return tuning_file().exists()


def store(digest: str, name: str, tuning: Tuning) -> None:
    """Store the settings for this machine; ``name`` is for people who read the file."""
    data = _read()
    data.setdefault(machine_name(), {})[digest] = {"model": name, **asdict(tuning)}
    path = tuning_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=2, ensure_ascii=False)
            file.write("\n")
        Path(scratch).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(scratch).unlink()
        raise


def forget(digest: str) -> bool:
    """Return to the defaults for a model on this machine; False: it was not tuned."""
    data = _read()
    if data.get(machine_name(), {}).pop(digest, None) is None:
        return False
    tuning_file().write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return True


def _read() -> dict[str, Any]:
    path = tuning_file()
    try:
        data = load_json(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}", hint=_HINT) from error
    if not isinstance(data, dict) or not all(isinstance(row, dict) for row in data.values()):
        raise ModelError(f"{path} does not hold measured settings", hint=_HINT)
    return data


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()
