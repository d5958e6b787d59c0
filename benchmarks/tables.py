"""Tables as Markdown, row by row as they are measured."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_BUSY = 0.5
"""Load average from which figures are worth a warning."""


def begin(title: str, columns: Sequence[str]) -> None:
    """Print a heading and a table's head."""
    print(f"\n### {title}\n" if title else "")
    row(columns)
    row(["---"] * len(columns))


def row(cells: Sequence[str]) -> None:
    """Print one row at once: the next may take minutes."""
    print("|", " | ".join(cells), "|", flush=True)


def note(text: str) -> None:
    """Print a paragraph."""
    print(f"\n{text}", flush=True)


def say(text: str) -> None:
    """Narrate on stderr."""
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Say on stderr what makes figures doubtful."""
    say(f"warning: {text}")


def warn_if_busy() -> None:
    """Say so where other programs keep the machine busy."""
    load = os.getloadavg()[0]
    if load > _BUSY:
        warn(f"the machine is busy (load average {load:.1f}): read the ratios")
