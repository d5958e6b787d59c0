"""Writing files whole, so that a reader or a full disk never leaves half a file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from agentr_lite.core.errors import UsageError


def check_new_file(path: Path, *, force: bool = False) -> None:
    """Refuse a file that cannot or must not be written, before any work is done for it.

    Args:
        path: the file that is to be written.
        force: an existing file may be replaced.

    Raises:
        UsageError: it exists, is a directory, or its folder is missing or cannot be written.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a directory", hint="Name a file in it.")
    if path.exists() and not force:
        raise UsageError(f"{path} exists", hint="Add --force to overwrite it.")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", hint="Make it first, or name another.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"the folder {folder} cannot be written", hint="Name another one.")


def write_whole(path: Path, content: bytes | Iterable[str]) -> None:
    """Write to a draft beside the target, then rename it.

    Args:
        path: the target, in a folder that is there.
        content: the bytes, or the text, piece by piece.

    Raises:
        OSError: the file cannot be written; an older file stays as it was.
    """
    draft = path.with_name(f".{path.name}.part")
    try:
        if isinstance(content, bytes):
            draft.write_bytes(content)
        else:
            with draft.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(content)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
