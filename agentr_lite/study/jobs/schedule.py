"""Working off a study's cells: one after the other here, or several at once in processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from agentr_lite.console.progress import Progress
from agentr_lite.console.streams import say, warn
from agentr_lite.console.text import format_duration
from agentr_lite.core.errors import (
    EXIT_OK,
    EXIT_SOME_TASKS_FAILED,
    AgentrError,
    HeldError,
    StoreError,
)
from agentr_lite.store import Store
from agentr_lite.study.jobs.cells import Cell
from agentr_lite.study.jobs.sharing import Runs, comparable
from agentr_lite.study.jobs.work import Digests, resolve, work_off

POLL_S = 0.5
LOOK_S = 5.0
"""How often to look whether what a waiting cell wants to share has been played."""
LEAVE_S = 60.0
"""How long processes that were told to stop may take to save what they have."""
_TOLD_LINES = 6
"""Last lines of a failed process that are shown."""


@dataclass(slots=True)
class Outcome:
    """What a sitting at a study came to."""

    finished: list[str] = field(default_factory=list)
    """Cells that were finished in this sitting."""
    failed: dict[str, str] = field(default_factory=dict)
    """Cell to why it failed."""
    owed: dict[str, str] = field(default_factory=dict)
    """Cell to what it still waits for."""
    failed_tasks: int = 0
    """Tasks that an environment or the model broke; only known of cells worked off here."""
    some_tasks_failed: bool = False


OnCell = Callable[[Cell], None]


def work_here(
    store: Store,
    cells: Sequence[Cell],
    *,
    on_cell: OnCell,
    progress: Progress | None = None,
) -> Outcome:
    """Work cells off one after the other in this process.

    A cell that fails is reported and the next ones go on; the database failing ends it all.

    Args:
        store: the database.
        cells: in the order of the work.
        on_cell: called after each cell that this sitting finished.
        progress: narration; default: on stderr.

    Raises:
        StoreError: the database cannot be used.
        KeyboardInterrupt: passed on; what was committed is kept.
    """
    runs, digests, outcome = Runs(store), Digests(), Outcome()
    narration = progress or Progress()
    for cell in cells:
        found = resolve(store, runs, digests, cell)
        if found.finished:
            continue
        if found.recipe is None:
            outcome.owed[cell.name] = found.why
            continue
        started = time.monotonic()
        try:
            with narration:
                _, result = work_off(store, cell, narration, runs=runs, digests=digests)
        except AgentrError as error:
            if isinstance(error, StoreError) and not isinstance(error, HeldError):
                raise
            outcome.failed[cell.name] = error.message
            warn(f"{cell.name} failed: {error.message}", hint=error.hint)
            continue
        outcome.finished.append(cell.name)
        outcome.failed_tasks += result.failed_tasks
        outcome.some_tasks_failed |= result.failed_tasks > 0
        say(f"{cell.name}: finished in {format_duration(time.monotonic() - started)}")
        on_cell(cell)
    return outcome


@dataclass(slots=True)
class _Process:
    """A cell in a process of its own."""

    cell: Cell
    process: subprocess.Popen[bytes]
    log: Path
    started: float
    cores: frozenset[int]
    """Its share of the machine; empty: not for us to say."""


class Pool:
    """Works cells off in several processes at once.

    Each process has one cell to do and reads a pipe that this one alone writes: when this one ends,
    however it ends, the others see the end of the pipe and stop as on Ctrl-C.
    """

    def __init__(
        self,
        store: Store,
        cells: Sequence[Cell],
        *,
        command: Sequence[str],
        order: Callable[[Cell], str],
        logs: Path,
        jobs: int,
        on_cell: OnCell,
    ) -> None:
        """
        Args:
            store: the database, for reading what is done.
            cells: in the order of the work.
            command: a program that reads one line from stdin, works off the cell that it names,
                and stops at the end of stdin.
            order: that line.
            logs: folder for what the processes say.
            jobs: how many at once.
            on_cell: called after each cell that this sitting finished.
        """
        self._store = store
        self._waiting = list(cells)
        self._command = list(command)
        self._order = order
        self._logs = logs
        self._jobs = jobs
        self._on_cell = on_cell
        self._running: list[_Process] = []
        self._shares_of_cores = share_cores(jobs)
        self._runs, self._digests = Runs(store), Digests()
        self._outcome = Outcome()

    def run(self) -> Outcome:
        """Work everything off.

        Raises:
            StoreError: the database cannot be used.
            KeyboardInterrupt: passed on, once the processes have stopped.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        say(f"logs of the processes: {self._logs}")
        try:
            self._fill()
            looked = time.monotonic()
            while self._running:
                time.sleep(POLL_S)
                if time.monotonic() - looked >= LOOK_S:
                    self._fill()
                    looked = time.monotonic()
                for ended in [one for one in self._running if one.process.poll() is not None]:
                    self._running.remove(ended)
                    # The free place first: writing tables takes a while.
                    self._fill()
                    self._close(ended)
        finally:
            self._stop()
        for cell in self._waiting:
            found = resolve(self._store, self._runs, self._digests, cell)
            self._outcome.owed[cell.name] = found.why
        return self._outcome

    def _fill(self) -> None:
        """Start what can be started, as far as there are places."""
        for cell in list(self._waiting):
            if len(self._running) >= self._jobs:
                return
            found = resolve(self._store, self._runs, self._digests, cell)
            if found.finished:
                self._waiting.remove(cell)
            elif found.recipe is not None and not self._shares(cell):
                self._waiting.remove(cell)
                self._start(cell)

    def _shares(self, cell: Cell) -> bool:
        """Whether a cell at work is about to play what this one could have from it."""
        for other in self._running:
            if other.cell.env != cell.env:
                continue
            digest = self._digests.of(cell.recipe)
            if self._runs.find_stage(cell.recipe, digest, "eval") is None:
                return True
            same_search = (other.cell.recipe.search, other.cell.seed) == (
                cell.recipe.search,
                cell.seed,
            )
            plays = min(other.cell.recipe.rounds, cell.recipe.rounds) > 0 and same_search
            if plays and self._runs.find_stage(cell.recipe, digest, "search") is None:
                return True
            if plays and may_come_out_the_same(cell, other.cell):
                return True
        return False

    def _start(self, cell: Cell) -> None:
        log = self._logs / f"{cell.name.replace('/', '-')}.log"
        # Threads that spin while they wait would take the cores from the other processes.
        env: Mapping[str, str] = {"OMP_WAIT_POLICY": "passive", **os.environ}
        with log.open("ab") as file:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=file,
                env=dict(env),
                # Ctrl-C is passed on once, by us.
                start_new_session=True,
            )
        taken = [one.cores for one in self._running]
        cores = next((share for share in self._shares_of_cores if share not in taken), frozenset())
        if cores:
            # Before it has loaded anything, so before it counts the cores that it may use.
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(process.pid, cores)
        assert process.stdin is not None
        # A process that is gone already says why in its log.
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{self._order(cell)}\n".encode())
            process.stdin.flush()
        self._running.append(_Process(cell, process, log, time.monotonic(), cores))
        say(f"{cell.name}: begun, {len(self._running)} at work")

    def _close(self, ended: _Process) -> None:
        if ended.process.stdin:
            ended.process.stdin.close()
        name, code = ended.cell.name, ended.process.returncode
        if code in (EXIT_OK, EXIT_SOME_TASKS_FAILED):
            self._outcome.finished.append(name)
            self._outcome.some_tasks_failed |= code == EXIT_SOME_TASKS_FAILED
            say(f"{name}: finished in {format_duration(time.monotonic() - ended.started)}")
            self._on_cell(ended.cell)
            return
        lines = ended.log.read_text("utf-8", "replace").splitlines()[-_TOLD_LINES:]
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        errors = [line for line in lines if line.startswith("Error: ")]
        why = errors[-1].removeprefix("Error: ") if errors else how
        self._outcome.failed[name] = why
        warn(f"{name} failed: {why}", hint=f"{ended.log} has all that it said.")

    def _stop(self) -> None:
        """Let the processes save what they have, and wait for them."""
        with _deaf_to_interrupts():
            for one in self._running:
                with contextlib.suppress(ProcessLookupError):
                    one.process.send_signal(signal.SIGINT)
            until = time.monotonic() + LEAVE_S
            for one in self._running:
                try:
                    one.process.wait(max(0.1, until - time.monotonic()))
                except subprocess.TimeoutExpired:
                    # What it committed is kept; the run is resumed from there.
                    one.process.kill()
                    one.process.wait()
                if one.process.stdin:
                    one.process.stdin.close()
            self._running.clear()


def share_cores(jobs: int) -> list[frozenset[int]]:
    """The cores that this process may use, dealt out to ``jobs`` processes.

    Two processes of two threads each on two cores wait for each other at every step; two of one
    thread do not.

    Returns:
        A share a process; empty where there are not enough cores, or the system does not say.
    """
    if not hasattr(os, "sched_getaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))
    if jobs < 2 or len(cores) < jobs:
        return []
    return [frozenset(cores[job::jobs]) for job in range(jobs)]


def may_come_out_the_same(cell: Cell, other: Cell) -> bool:
    """Whether it shows only in the splices whether the two train on the same."""
    verify = other.recipe.splice.verify
    recipe = replace(cell.recipe, splice=replace(cell.recipe.splice, verify=verify))
    return comparable(recipe) == comparable(other.recipe)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """A second Ctrl-C shall not leave processes behind."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
