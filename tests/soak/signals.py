"""Requests to end: one or several, of any kind, at a random moment; then the run goes on."""

from __future__ import annotations

import random
import signal
from dataclasses import dataclass
from pathlib import Path

from agentr_lite.store import Store
from agentr_lite.store.runs import list_runs
from tests.soak.cases import BY_NAME, CASES, difference_from, reference
from tests.soak.kills import finish
from tests.soak.kind import Bench, Kind, Outcome
from tests.soak.program import Running

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ENDED = 130


@dataclass(frozen=True)
class Signalled:
    """A case, and what is sent to its first command.

    Attributes:
        case: the case.
        at: the share of the command's work after which the first signal comes.
        sent: each signal, and the seconds before the next one.
    """

    case: str
    at: float
    sent: tuple[tuple[str, float], ...]


class Signals(Kind[Signalled]):
    """Being asked to end is an interruption: 130, a command that resumes, nothing lost."""

    name = "signals"
    share = 12

    def draw(self, rng: random.Random) -> Signalled:
        case = rng.choices([case for case, _ in CASES], [weight for _, weight in CASES])[0]
        sent = [
            (rng.choice(NUMBERS).name, rng.choice((0.0, 0.01, 0.1, 0.5)))
            for _ in range(rng.choice((1, 1, 2, 3)))
        ]
        return Signalled(case.name, rng.random(), tuple(sent))

    def check(self, scenario: Signalled, bench: Bench) -> Outcome:
        case = BY_NAME[scenario.case]
        whole = reference(case, bench)
        outcome = Outcome()
        db = bench.folder / "runs.db"
        words = case.command(whole.steps[0], db)
        running = Running(words, program=case.program, folder=bench.folder)
        running.wait_until_ready()
        running.wait(scenario.at * whole.seconds[0])
        for name, pause in scenario.sent:
            outcome.counts["signals"] += running.send(signal.Signals[name])
            running.wait(pause)
        ended = running.ended()
        outcome.counts["interrupted"] += ended.code == ENDED
        outcome.faults += ended.judged(ENDED, whole.codes[0])
        if ended.code == ENDED and _can_go_on(db) and "agentr-lite" not in _hint(ended.err):
            outcome.faults.append(f"no command that goes on: {ended.err}")
        for number in range(len(whole.steps)):
            if not outcome.faults:
                finish(case, whole, number, bench, outcome)
        if not outcome.faults:
            outcome.faults += difference_from(case, whole, db)
        return outcome


def _can_go_on(db: Path) -> bool:
    """Whether a run is stored that has not come to its end."""
    if not db.exists():
        return False
    with Store.open_to_read(db) as store:
        return any(run.status != "finished" for run in list_runs(store))


def _hint(err: str) -> str:
    """The command's last hint; empty: it gave none."""
    hints = [line for line in err.splitlines() if line.startswith("Hint: ")]
    return hints[-1] if hints else ""
