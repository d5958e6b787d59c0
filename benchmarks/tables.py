"""Markdown tables that are printed row by row; a part of other benchmarks."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_BUSY = 0.5
"""Load average above which the program warns."""


def begin(title: str, columns: Sequence[str]) -> None:
    """Print a heading and a table's head."""
    print(f"\n### {title}\n" if title else "")
    row(columns)
    row(["---"] * len(columns))


def row(cells: Sequence[str]) -> None:
    """Print one row at once, since the next may take minutes."""
    print("|", " | ".join(cells), "|", flush=True)


def note(text: str) -> None:
    """Print a paragraph."""
    print(f"\n{text}", flush=True)


def say(text: str) -> None:
    """Print a message on stderr."""
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Print a warning about the figures on stderr."""
    say(f"warning: {text}")


def warn_if_busy() -> None:
    """Warn if other programs keep the machine busy."""
    load = os.getloadavg()[0]
    if load > _BUSY:
        warn(f"the machine is busy (load average {load:.1f}): read the ratios")
