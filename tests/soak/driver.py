"""Goes through the kinds of faults until the time is over, each with its share of it."""

from __future__ import annotations

import random
import shutil
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.soak.kind import Bench, Kind, Outcome
from tests.soak.program import end_all

_STATUS_S = 60.0
MOST_FAILURES = 50
"""After this many, a soak finds nothing new."""


@dataclass
class Tally:
    """What the trials of a kind did."""

    trials: int = 0
    failed: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Failure:
    """A trial that went wrong."""

    kind: str
    seed: int
    scenario: str
    fault: str

    def __str__(self) -> str:
        return (
            f"{self.kind}, seed {self.seed}: {self.fault}\n"
            f"  scenario: {self.scenario}\n"
            f"  again: python -m tests.soak --only {self.kind} --seed {self.seed} --count 1"
        )


@dataclass
class Soak:
    """A soak: kinds, seeds, and what has come of them so far.

    The trials of each kind have the seeds ``seed``, ``seed + 1``, ... Each trial depends on its
    kind and its seed alone.
    """

    kinds: Sequence[Kind[Any]]
    seed: int
    work: Path
    tallies: dict[str, Tally] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def run(self, *, minutes: float = 0.0, count: int = 0) -> None:
        """Try faults.

        Args:
            minutes: until this time is over; each kind has at least one trial.
            count: instead, this many trials of each kind.
        """
        began = shown = time.monotonic()
        self.tallies = {kind.name: Tally() for kind in self.kinds}
        with ExitStack() as closing:
            closing.callback(end_all)
            kept: dict[str, Any] = {}
            while kind := self._next(minutes * 60 - (time.monotonic() - began), count):
                self._try(kind, kept, closing)
                if time.monotonic() - shown >= _STATUS_S:
                    shown = time.monotonic()
                    said = ", ".join(f"{name} {t.trials}" for name, t in self.tallies.items())
                    _say(f"{(shown - began) / 60:.0f} min: {said}; {len(self.failures)} failed")

    def _next(self, left_s: float, count: int) -> Kind[Any] | None:
        """The kind that is furthest behind its share; None: the soak is over."""
        tallies = self.tallies
        if len(self.failures) >= MOST_FAILURES:
            return None
        if count:
            owed = [kind for kind in self.kinds if tallies[kind.name].trials < count]
            return owed[0] if owed else None
        new = [kind for kind in self.kinds if not tallies[kind.name].trials]
        if new or left_s <= 0:
            return new[0] if new else None
        return min(self.kinds, key=lambda kind: tallies[kind.name].seconds / kind.share)

    def _try(self, kind: Kind[Any], kept: dict[str, Any], closing: ExitStack) -> None:
        tally = self.tallies[kind.name]
        seed = self.seed + tally.trials
        scenario = kind.draw(random.Random(f"{kind.name}/{seed}"))
        folder = self.work / f"{kind.name}-{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        began = time.monotonic()
        try:
            outcome = kind.check(scenario, Bench(folder, self.work / "shared", kept, closing))
        except Exception:
            outcome = Outcome(faults=[f"the trial itself: {traceback.format_exc()}"])
        tally.trials += 1
        tally.seconds += time.monotonic() - began
        tally.counts += outcome.counts
        if not outcome.faults:
            shutil.rmtree(folder)
            return
        # Its folder stays, to be looked at.
        tally.failed += 1
        failure = Failure(kind.name, seed, repr(scenario), outcome.faults[0])
        self.failures.append(failure)
        _say(f"FAILED {failure}")

    def summary(self) -> str:
        """Counts by kind, the seeds, and the first difference."""
        lines = []
        for name, tally in self.tallies.items():
            counts = ", ".join(f"{count:,} {what}" for what, count in sorted(tally.counts.items()))
            seeds = f"seeds {self.seed} to {self.seed + tally.trials - 1}"
            lines.append(
                f"{name}: {tally.trials} trials ({seeds}), {tally.failed} failed,"
                f" {tally.seconds:.0f} s: {counts}"
            )
        if self.failures:
            lines += ["", f"The first of {len(self.failures)} failures:", str(self.failures[0])]
        return "\n".join(lines)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
