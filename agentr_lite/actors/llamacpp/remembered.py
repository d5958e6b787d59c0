"""What the program found out about files and remembers in its home, one line each."""

from __future__ import annotations

import contextlib
from pathlib import Path


def remembered(path: Path) -> list[str]:
    """The lines of a list; empty if there is none yet, or it cannot be read."""
    with contextlib.suppress(OSError):
        return path.read_text("utf-8", "replace").splitlines()
    return []


def remember(path: Path, line: str) -> None:
    """Add a line to a list. In a home that cannot be written, it is found out again, no more."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Appending less than a page is one step, whoever else does it.
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
