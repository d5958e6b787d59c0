"""SIGKILL at a random moment, again and again; then the run goes on to its end."""

from __future__ import annotations

import os
import random
import signal
from dataclasses import dataclass

from tests.soak.cases import BY_NAME, CASES, Case, Reference, difference_from, reference
from tests.soak.kind import Bench, Kind, Outcome
from tests.soak.program import Running

MOST = 6
"""Kills of a trial."""
_STARTING = 0.1


@dataclass(frozen=True)
class Moment:
    """When a command is killed.

    Attributes:
        command: which of the case's commands.
        at: the share of its remaining work after which it is killed; negative: before it begins.
        by: ``clock``, or ``statement``: before one of its SQL statements, which is exact.
        child: whether the clock kills one of its worker processes, where it has some.
    """

    command: int
    at: float
    by: str
    child: bool


@dataclass(frozen=True)
class Killed:
    """A case and the moments of its kills."""

    case: str
    moments: tuple[Moment, ...]


class Kills(Kind[Killed]):
    """Interrupted = uninterrupted."""

    name = "kills"
    share = 40

    def draw(self, rng: random.Random) -> Killed:
        case = rng.choices([case for case, _ in CASES], [weight for _, weight in CASES])[0]
        commands = _COMMANDS.get(case.name, 1)
        moments = [
            Moment(
                rng.randrange(commands),
                rng.uniform(-_STARTING, 1.0),
                rng.choice(("clock", "statement")),
                rng.random() < 0.3,
            )
            for _ in range(rng.randint(1, MOST))
        ]
        return Killed(case.name, tuple(sorted(moments, key=lambda moment: moment.command)))

    def check(self, scenario: Killed, bench: Bench) -> Outcome:
        case = BY_NAME[scenario.case]
        whole = reference(case, bench)
        outcome = Outcome()
        db = bench.folder / "runs.db"
        for number, step in enumerate(whole.steps):
            left = 1.0
            for moment in scenario.moments:
                if moment.command == number:
                    words = case.command(step, db)
                    _kill(case, whole, words, moment, left, bench, outcome)
                    left *= 1.0 - max(0.0, moment.at)
            finish(case, whole, number, bench, outcome)
            if outcome.faults:
                return outcome
        outcome.faults += difference_from(case, whole, db)
        return outcome


_COMMANDS = {"stages": 5, "imitate": 2, "demonstrations": 2}


def finish(case: Case, whole: Reference, number: int, bench: Bench, outcome: Outcome) -> None:
    """Go on with a command until it has come to its end.

    Args:
        case: the case.
        whole: its reference.
        number: which of its commands.
        bench: where.
        outcome: gets what goes wrong.
    """
    db = bench.folder / "runs.db"
    words = case.command(whole.steps[number], db)
    ended = Running(words, program=case.program, folder=bench.folder).ended()
    outcome.counts["resumed"] += 1
    outcome.faults += ended.judged(whole.codes[number])


def _kill(
    case: Case,
    whole: Reference,
    words: list[str],
    moment: Moment,
    left: float,
    bench: Bench,
    outcome: Outcome,
) -> None:
    env = {}
    statements = whole.statements[moment.command]
    if moment.by == "statement":
        env["AGENTR_LITE_SOAK_KILL"] = str(max(1, round(abs(moment.at) * left * statements)))
    running = Running(words, program=case.program, folder=bench.folder, env=env)
    child_killed = False
    if moment.by == "clock":
        if moment.at < 0:
            # Python's start takes about as long as a second of the work.
            running.wait(-moment.at / _STARTING)
        else:
            running.wait_until_ready()
            running.wait(moment.at * left * whole.seconds[moment.command])
        children = running.children() if moment.child else []
        if children:
            child_killed = _kill_process(children[0])
        else:
            running.send(signal.SIGKILL)
    ended = running.ended()
    killed = ended.code == -signal.SIGKILL
    # A study says so of its workers.
    workers = max(child_killed, ended.err.count("failed: signal 9"))
    outcome.counts["kills"] += killed + workers
    outcome.counts["too late"] += not (killed or workers)
    if killed:
        outcome.faults += ended.judged(ended.code)
    else:
        # A study that lost a worker says that its cell failed.
        allowed = (0, 1, 5) if workers else (whole.codes[moment.command],)
        outcome.faults += ended.judged(*allowed)


def _kill_process(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
