"""Training weights of a GGUF file, made once and kept."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from agentr_lite.actors.digest import file_sha256
from agentr_lite.config import home

_RECORD = "conversion.json"


def copy_of(gguf: Path) -> Path:
    """Where the weights taken from this file are kept, whether they are there or not."""
    return home() / "cache" / "weights" / f"{gguf.stem}-{file_sha256(gguf)[:16]}"


def has_copy(gguf: Path) -> bool:
    """Whether they are there, and were found to compute the same."""
    return (copy_of(gguf) / _RECORD).is_file()


def make_copy(gguf: Path, *, on_progress: Callable[[int, int], None] | None = None) -> Path:
    """The directory with the weights of ``gguf``; made and checked if it is not there.

    Args:
        gguf: the file.
        on_progress: called with (bytes written, bytes in all).

    Raises:
        ModelError: the file cannot be converted, or the copy does not compute the same.
        UsageError: no room.
    """
    from agentr_lite.actors.convert.check import check_copy
    from agentr_lite.actors.convert.gguf_to_hf import convert_to_hf

    folder = copy_of(gguf)
    if has_copy(gguf):
        return folder
    # Of a process that was killed between writing and checking.
    shutil.rmtree(folder, ignore_errors=True)
    made = convert_to_hf(gguf, folder, on_progress=on_progress)
    try:
        agreement = check_copy(gguf, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    record = {
        "source": str(gguf.resolve()),
        "sha256": file_sha256(gguf),
        **dataclasses.asdict(made),
        "agreement": {**dataclasses.asdict(agreement), "relative": agreement.relative},
    }
    partial = folder / f"{_RECORD}.partial"
    partial.write_text(json.dumps(record, indent=1) + "\n")
    partial.rename(folder / _RECORD)
    return folder
