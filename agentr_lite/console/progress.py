"""Progress of a stage: a bar on a terminal, a few lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

from agentr_lite.console.notebooks import notebook_bar
from agentr_lite.console.streams import is_terminal, set_bar
from agentr_lite.console.text import clean, format_duration, truncate


@dataclass(frozen=True, slots=True)
class ProgressState:
    """How far a stage is."""

    label: str
    count: int
    total: int | None
    """None: unknown."""
    note: str
    part_left_s: float | None
    """Seconds until ``total`` is reached; None: unknown."""
    run_left_s: float | None
    """Seconds to the end of all work; None: unknown."""


class Progress:
    """Shows the progress of one stage after another on stderr.

    On a terminal, one line with a bar and an ETA is redrawn, in a notebook a bar of its kind.
    Elsewhere, a line is printed every ``interval_s`` seconds and one at the end of a stage, so that
    logs stay readable.

    A resumed stage passes what is already there as ``initial``; the ETA uses the pace of this
    process only.
    """

    def __init__(
        self,
        *,
        stream: TextIO | None = None,
        interval_s: float = 30.0,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            stream: default: stderr as it is when a line is written.
            interval_s: seconds between lines where there is no terminal.
            quiet: print nothing at all.
            clock: seconds from any fixed point; tests replace it.
        """
        self._stream = stream
        self._interval_s = interval_s
        self._quiet = quiet
        self._clock = clock
        self._label = ""
        self._total: int | None = None
        self._count = self._initial = 0
        self._note = ""
        self._started = self._last = 0.0
        self._expected_s: float | None = None
        self._later_s: float | None = None
        self._expected_from = 0.0
        self._drawn = False
        self._notebook = None if stream is not None or quiet else notebook_bar()
        self._watcher: Callable[[ProgressState], None] | None = None

    def watch(self, watcher: Callable[[ProgressState], None] | None) -> None:
        """Call a function with every state from now on, shown or not; None: no longer."""
        self._watcher = watcher

    def expect(self, stage_s: float | None, later_s: float | None) -> None:
        """Say how long the work is expected to take, for the time that is left of all of it.

        Args:
            stage_s: seconds of what begins now, in one part or several; None: unknown.
            later_s: seconds of all that follows; None: unknown, and no such time is shown.
        """
        self._expected_s, self._later_s = stage_s, later_s
        self._expected_from = self._clock()

    def start(self, label: str, total: int | None = None, *, initial: int = 0) -> None:
        """Begin a stage of ``total`` items (None: unknown); ``initial`` of them are finished."""
        self.clear()
        self._label, self._total, self._note = label, total, ""
        self._count = self._initial = initial
        self._started = self._last = self._clock()
        set_bar(self.clear)
        self._tell()
        if self._tty:
            self._draw()

    def advance(self, n: int = 1, note: str = "") -> None:
        """Count ``n`` more items as finished; ``note`` replaces the remark after the counts."""
        self._count += n
        self._note = note or self._note
        self._tell()
        now = self._clock()
        if now - self._last < (0.1 if self._tty else self._interval_s):
            return
        self._last = now
        if self._tty:
            self._draw()
        else:
            self._write(self._text() + "\n")

    def finish(self, note: str = "") -> None:
        """End the stage and print a final line that stays."""
        self.clear()
        set_bar(None)
        if self._notebook is not None:
            self._notebook.remove()
        if not self._label:
            return
        elapsed = format_duration(self._clock() - self._started)
        remark = f" · {note or self._note}" if note or self._note else ""
        self._write(clean(f"{self._label}: {self._counts()} in {elapsed}{remark}\n"))
        self._label = ""

    def clear(self) -> None:
        """Remove the bar from the terminal; the next ``advance`` draws it again."""
        if self._drawn:
            self._write("\r\x1b[K")
            self._drawn = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.finish()
            return
        # An error message follows: leave a clean line for it and claim no end.
        self.clear()
        set_bar(None)

    @property
    def total(self) -> int | None:
        """Items of the stage; may be set when it becomes known. None: unknown."""
        return self._total

    @total.setter
    def total(self, total: int | None) -> None:
        self._total = total

    @property
    def _tty(self) -> bool:
        return self._notebook is not None or is_terminal(self._stream or sys.stderr)

    def _tell(self) -> None:
        if self._watcher is not None:
            left = self._eta_s()
            self._watcher(
                ProgressState(
                    self._label, self._count, self._total, self._note, left, self._left_s(left)
                )
            )

    def _counts(self) -> str:
        return str(self._count) if self._total is None else f"{self._count}/{self._total}"

    def _text(self) -> str:
        parts = [f"{self._label}: {self._counts()}"]
        remaining = self._eta_s()
        if remaining is not None:
            parts.append(f"ETA {format_duration(remaining)}")
        left = self._left_s(remaining)
        if left is not None:
            parts.append(f"run {format_duration(left)} left")
        if self._note:
            parts.append(self._note)
        return clean(" · ".join(parts), keep="")

    def _eta_s(self) -> float | None:
        done = self._count - self._initial
        if self._total is None or done <= 0 or self._count >= self._total:
            return None
        return (self._clock() - self._started) / done * (self._total - self._count)

    def _left_s(self, part_s: float | None) -> float | None:
        """Seconds to the end of all work; ``part_s``: to the end of this part, if known."""
        if self._later_s is None or (self._expected_s is None and part_s is None):
            return None
        spent = self._clock() - self._expected_from
        stage_s = max(0.0, (self._expected_s or 0.0) - spent)
        return self._later_s + max(stage_s, part_s or 0.0)

    def _draw(self) -> None:
        if self._notebook is not None:
            self._notebook.draw(self._text(), self._count, self._total)
            return
        bar = ""
        if self._total:
            filled = min(20, 20 * self._count // self._total)
            bar = "█" * filled + "░" * (20 - filled) + " "
        columns = shutil.get_terminal_size((100, 24)).columns
        self._write("\r\x1b[K" + truncate(bar + self._text(), columns - 1))
        self._drawn = True

    def _write(self, text: str) -> None:
        if self._quiet:
            return
        stream = self._stream or sys.stderr
        stream.write(text)
        stream.flush()


def silent_progress() -> Progress:
    """A ``Progress`` that prints nothing, for library use and tests."""
    return Progress(quiet=True)
