"""Writing files whole, so that a reader or a full disk never leaves half a file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def write_whole(path: Path, pieces: Iterable[str]) -> None:
    """Write text to a draft beside the target, then rename it.

    Args:
        path: the target; its folder is made if it is missing.
        pieces: the text, piece by piece.

    Raises:
        OSError: the file cannot be written; an older file stays as it was.
    """
    draft = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(pieces)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
