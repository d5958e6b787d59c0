"""Training weights that are converted from a GGUF file once and kept."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from agentr_lite.actors.digest import file_sha256
from agentr_lite.core.config import home
from agentr_lite.core.errors import UsageError

_RECORD = "conversion.json"


def copy_of(gguf: Path) -> Path:
    """The directory for the weights of this file, which need not exist yet."""
    return home() / "cache" / "weights" / f"{gguf.stem}-{file_sha256(gguf)[:16]}"


def has_copy(gguf: Path) -> bool:
    """Whether the weights of this file exist and have passed the check."""
    return (copy_of(gguf) / _RECORD).is_file()


def make_copy(gguf: Path, *, on_progress: Callable[[int, int], None] | None = None) -> Path:
    """The directory with the weights of ``gguf``; it is made and checked if it does not exist.

    Args:
        gguf: the file.
        on_progress: called with (bytes written, total bytes).

    Raises:
        ModelError: the file cannot be converted, or the copy computes something else.
        UsageError: there is no space.
    """
    from agentr_lite.convert.check import check_copy
    from agentr_lite.convert.gguf_to_hf import convert_to_hf

    folder = copy_of(gguf)
    if has_copy(gguf):
        return folder
    with _private_folder(folder) as private:
        copy = private / "copy"
        made = convert_to_hf(gguf, copy, on_progress=on_progress)
        agreement = check_copy(gguf, copy).agreement
        record = {
            "source": str(gguf.resolve()),
            "sha256": file_sha256(gguf),
            **dataclasses.asdict(made),
            "agreement": {**dataclasses.asdict(agreement), "relative": agreement.relative},
        }
        (copy / _RECORD).write_text(json.dumps(record, indent=1) + "\n")
        try:
            copy.rename(folder)
        except OSError:
            # Another process was faster, and its copy is as good. Or there is an unfinished
            # copy, which an earlier version left when it was killed.
            if not has_copy(gguf):
                folder.rename(private / "unfinished")
                copy.rename(folder)
    return folder


@contextmanager
def _private_folder(folder: Path) -> Generator[Path]:
    """A temporary folder beside ``folder``, because another process may make the same copy.

    Folders of killed processes are deleted: each process locks its folder, and the lock ends with
    the process.

    Raises:
        UsageError: the folder cannot be made.
    """
    prefix = f".making-{folder.name}."
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for path in list(folder.parent.iterdir()):
            if path.name.startswith(prefix) and _abandoned(path):
                shutil.rmtree(path, ignore_errors=True)
        private = Path(tempfile.mkdtemp(dir=folder.parent, prefix=prefix))
        lock = os.open(private, os.O_RDONLY)
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror or error}") from error
    try:
        # Some network file systems have no locks; there, no folder is ever deleted.
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield private
    finally:
        shutil.rmtree(private, ignore_errors=True)
        os.close(lock)


def _abandoned(path: Path) -> bool:
    """Whether no process uses a private folder; False if this is not certain."""
    try:
        if not any(path.iterdir()):
            # Its process may be about to lock it.
            return False
        lock = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(lock)
    except OSError:
        return False
    return True
