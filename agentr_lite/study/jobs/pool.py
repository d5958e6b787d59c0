"""Runs a study's cells in several processes at once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from agentr_lite.console.streams import say, warn
from agentr_lite.console.text import format_duration
from agentr_lite.core.errors import EXIT_OK, EXIT_SOME_TASKS_FAILED
from agentr_lite.store import Store
from agentr_lite.study.jobs.cell_job import CellJob
from agentr_lite.study.jobs.cells import Cell
from agentr_lite.study.jobs.model_digests import ModelDigests
from agentr_lite.study.jobs.outcome import StudyOutcome
from agentr_lite.study.jobs.resolution import Resolution, resolve_cell
from agentr_lite.study.jobs.run_index import RunIndex
from agentr_lite.study.jobs.stage_inputs import plain_settings

WORKER = (sys.executable, "-m", "agentr_lite.study.jobs.worker")
"""The command that runs one cell; it reads a ``CellJob`` from stdin."""
POLL_S = 0.5
RESOLVE_S = 5.0
"""How often to check whether a waiting cell can start because another has finished a stage."""
STOP_S = 60.0
"""How long processes that have been asked to stop may take to save their work."""
_SHOWN_LINES = 6
"""Last lines of a failed process that are searched for its error."""


@dataclass(slots=True)
class _Process:
    """A cell in its own process."""

    cell: Cell
    process: subprocess.Popen[bytes]
    log: Path
    started: float
    cores: frozenset[int]
    """Its share of the machine; empty: the operating system decides."""


class ProcessPool:
    """Runs cells in several processes at once.

    Each process runs one cell and reads a pipe to which only this process writes. When this process
    ends, however it ends, the others see the end of the pipe and stop as on Ctrl-C.
    """

    def __init__(
        self,
        store: Store,
        cells: Sequence[Cell],
        *,
        job: CellJob,
        logs: Path,
        processes: int,
        on_finished: Callable[[Cell], None],
        worker: Sequence[str] = WORKER,
    ) -> None:
        """
        Args:
            store: the database; the pool only reads it.
            cells: in the order in which they are run.
            job: study and database; each process gets it with the name of its cell.
            logs: folder for the messages of the processes.
            processes: how many run at once.
            on_finished: called after each cell that this call finished.
            worker: a command that reads a ``CellJob`` from stdin, runs the cell, and stops at the
                end of stdin.
        """
        self._store = store
        self._waiting = list(cells)
        self._job = job
        self._logs = logs
        self._limit = processes
        self._on_finished = on_finished
        self._worker = list(worker)
        self._running: list[_Process] = []
        self._core_shares = share_cores(processes)
        self._index, self._digests = RunIndex(store), ModelDigests()
        self._outcome = StudyOutcome()

    def run(self) -> StudyOutcome:
        """Run all cells.

        Raises:
            StoreError: the database cannot be used.
            KeyboardInterrupt: passed on, after the processes have stopped.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        say(f"logs of the processes: {self._logs}")
        try:
            self._start_ready()
            resolved = time.monotonic()
            while self._running:
                time.sleep(POLL_S)
                if time.monotonic() - resolved >= RESOLVE_S:
                    self._start_ready()
                    resolved = time.monotonic()
                for ended in [p for p in self._running if p.process.poll() is not None]:
                    self._running.remove(ended)
                    # Start the next cell first: writing the tables takes a while.
                    self._start_ready()
                    self._collect(ended)
        finally:
            self._stop()
        for cell in self._waiting:
            self._outcome.owed[cell.name] = self._resolve(cell).reason
        return self._outcome

    def _resolve(self, cell: Cell) -> Resolution:
        return resolve_cell(self._store, self._index, self._digests, cell)

    def _start_ready(self) -> None:
        """Start the cells that can start, up to the number of processes."""
        for cell in list(self._waiting):
            if len(self._running) >= self._limit:
                return
            resolution = self._resolve(cell)
            if resolution.finished:
                self._waiting.remove(cell)
            elif resolution.recipe is not None and not self._can_reuse_soon(cell):
                self._waiting.remove(cell)
                self._start(cell)

    def _can_reuse_soon(self, cell: Cell) -> bool:
        """Whether a running cell is about to compute a stage that this cell could reuse."""
        digest = self._digests.digest(cell.recipe)
        for running in self._running:
            other = running.cell
            if other.env != cell.env:
                continue
            if self._index.find_stage(cell.recipe, digest, "eval") is None:
                return True
            imitation = cell.recipe.imitates and other.recipe.imitates and other.seed == cell.seed
            if imitation and self._index.find_stage(cell.recipe, digest, "imitate") is None:
                return True
            same_search = (other.recipe.search, other.seed) == (cell.recipe.search, cell.seed)
            both_search = min(other.recipe.rounds, cell.recipe.rounds) > 0 and same_search
            if both_search and self._index.find_stage(cell.recipe, digest, "search") is None:
                return True
            if both_search and may_train_on_the_same(cell, other):
                return True
        return False

    def _start(self, cell: Cell) -> None:
        log = self._logs / f"{cell.name.replace('/', '-')}.log"
        # Threads that spin while they wait would take the cores from the other processes.
        env: Mapping[str, str] = {"OMP_WAIT_POLICY": "passive", **os.environ}
        with log.open("ab") as file:
            process = subprocess.Popen(
                self._worker,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=file,
                env=dict(env),
                # This process passes Ctrl-C on, once.
                start_new_session=True,
            )
        taken = [running.cores for running in self._running]
        cores = next((share for share in self._core_shares if share not in taken), frozenset())
        if cores:
            # The process has loaded nothing yet, so it has not yet counted the cores it may use.
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(process.pid, cores)
        assert process.stdin is not None
        # A process that has ended already gives the reason in its log.
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{replace(self._job, cell=cell.name).to_json()}\n".encode())
            process.stdin.flush()
        self._running.append(_Process(cell, process, log, time.monotonic(), cores))
        say(f"{cell.name}: started, {len(self._running)} running")

    def _collect(self, ended: _Process) -> None:
        if ended.process.stdin:
            ended.process.stdin.close()
        name, code = ended.cell.name, ended.process.returncode
        if code in (EXIT_OK, EXIT_SOME_TASKS_FAILED):
            self._outcome.finished.append(name)
            self._outcome.some_tasks_failed |= code == EXIT_SOME_TASKS_FAILED
            say(f"{name}: finished in {format_duration(time.monotonic() - ended.started)}")
            self._on_finished(ended.cell)
            return
        lines = ended.log.read_text("utf-8", "replace").splitlines()[-_SHOWN_LINES:]
        status = f"signal {-code}" if code < 0 else f"exit code {code}"
        errors = [line for line in lines if line.startswith("Error: ")]
        reason = errors[-1].removeprefix("Error: ") if errors else status
        self._outcome.failed[name] = reason
        warn(f"{name} failed: {reason}", hint=f"{ended.log} has all of its messages.")

    def _stop(self) -> None:
        """Ask the processes to save their work and stop; wait for them."""
        with _interrupts_ignored():
            for running in self._running:
                with contextlib.suppress(ProcessLookupError):
                    running.process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + STOP_S
            for running in self._running:
                try:
                    running.process.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    # What it committed is kept; the run is resumed from there.
                    running.process.kill()
                    running.process.wait()
                if running.process.stdin:
                    running.process.stdin.close()
            self._running.clear()


def share_cores(processes: int) -> list[frozenset[int]]:
    """Divide the cores that this process may use among several processes.

    On two cores, two processes with two threads each wait for each other at every step; two
    processes with one thread each do not.

    Returns:
        One share for each process; empty if there are not enough cores, or if the operating system
        does not report the cores.
    """
    if not hasattr(os, "sched_getaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))
    if processes < 2 or len(cores) < processes:
        return []
    return [frozenset(cores[number::processes]) for number in range(processes)]


def may_train_on_the_same(cell: Cell, other: Cell) -> bool:
    """Whether two cells differ only in how splices are verified.

    Then only the splices show whether both train on the same examples.
    """
    verify = other.recipe.splice.verify
    recipe = replace(cell.recipe, splice=replace(cell.recipe.splice, verify=verify))
    return plain_settings(recipe) == plain_settings(other.recipe)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C in the block: a second one must not leave processes behind."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
