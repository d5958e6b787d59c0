"""A study in several processes: shared out, interrupted, claimed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.console.progress import Progress
from agentr_lite.core.errors import HeldError
from agentr_lite.runs.claim import claimed, is_claimed
from agentr_lite.store import Store
from agentr_lite.store.runs import get_run, list_runs
from agentr_lite.study.jobs import pool, run_cell, serial, status
from agentr_lite.study.jobs.cell_job import CellJob
from agentr_lite.study.jobs.cells import study_cells
from agentr_lite.study.recipe import load_study
from tests.support import study_case
from tests.support.study_case import Command


def test_a_run_at_work_shows(study: Command, study_file: Path) -> None:
    study(study_file, "--only", "corridor/base/1")
    recipe = load_study(str(study_file))
    with Store.open(study_file.parent / "s.db") as store:
        cells = study_cells(recipe)
        run = list_runs(store)[0].id
        store.execute("UPDATE runs SET status = 'running' WHERE id = ?", (run,))
        assert not is_claimed(store, run)
        assert status.study_status(store, cells).cells[0].state == "cut"
        with claimed(store, run):
            assert is_claimed(store, run)
            assert status.study_status(store, cells).cells[0].state == "at work"


@contextmanager
def make_pool(
    study_file: Path, hanging: str, on_finished: Callable[[Any], None]
) -> Iterator[pool.ProcessPool]:
    recipe = load_study(str(study_file))
    db = study_file.parent / "s.db"
    with Store.open(db) as store:
        yield pool.ProcessPool(
            store,
            study_cells(recipe),
            job=CellJob(str(study_file), [], quick=False, cell="", db=str(db)),
            logs=study_file.parent / "logs",
            processes=2,
            on_finished=on_finished,
            worker=[sys.executable, str(Path(study_case.__file__)), hanging],
        )


def test_processes_give_the_same_results(study: Command, study_file: Path) -> None:
    assert study(study_file, db="one.db").code == 0
    done: list[str] = []
    with make_pool(study_file, "nobody", lambda cell: done.append(cell.name)) as workers:
        outcome = workers.run()
    assert not outcome.failed
    assert sorted(outcome.finished) == sorted(done)
    assert len(done) == study_case.CELLS
    serial_rows, parallel_rows = (
        study_case.contents(study_file.parent / db) for db in ("one.db", "s.db")
    )
    assert serial_rows == parallel_rows


def test_interrupting_stops_the_processes_and_keeps_their_work(study_file: Path) -> None:
    log = study_file.parent / "logs" / "corridor-verified-1.log"
    processes: list[subprocess.Popen[bytes]] = []

    def interrupt(cell: Any) -> None:
        while not (log.exists() and "hanging" in log.read_text()):
            time.sleep(0.05)
        processes.extend(running.process for running in workers._running)
        raise KeyboardInterrupt

    with (
        make_pool(study_file, "verified", interrupt) as workers,
        pytest.raises(KeyboardInterrupt),
    ):
        workers.run()
    assert len(processes) == 2
    assert all(process.poll() is not None for process in processes)
    runs = study_case.run_names(study_file.parent / "s.db")
    names = {name: status for name, seed, status in runs if seed == 1}
    assert names == {"corridor-base": "finished", "corridor-verified": "interrupted"}


@pytest.mark.parametrize("way", ["the pipe ends", "SIGTERM", "SIGTERM twice"])
def test_a_process_stops_with_the_one_that_started_it(study_file: Path, way: str) -> None:
    db = study_file.parent / "s.db"
    Store.open(db).close()
    job = CellJob(str(study_file), [], quick=False, cell="corridor/base/1", db=str(db))
    process = subprocess.Popen(
        [sys.executable, str(Path(study_case.__file__)), "base"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(f"{job.to_json()}\n".encode())
    process.stdin.flush()
    while b"hanging" not in process.stderr.readline():
        assert process.poll() is None
    for _ in range(way.count("SIGTERM") + way.count("twice")):
        process.terminate()
        time.sleep(0.02)
    if "SIGTERM" not in way:
        process.stdin.close()
    assert process.wait(timeout=30) == 130
    process.stdin.close()
    process.stderr.close()
    with Store.open(db, create=False, read_only=True) as store:
        assert get_run(store, "latest").status == "interrupted"


def test_a_run_that_is_still_held_is_waited_for(
    study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0

    @contextmanager
    def claim(store: Store, run_id: str) -> Iterator[None]:
        nonlocal tried
        tried += 1
        if tried < 3:
            raise HeldError("another process is working on it")
        yield

    monkeypatch.setattr(run_cell.time, "sleep", lambda seconds: None)
    cell = study_cells(load_study(str(study_file)), ["corridor/base/1"])[0]
    monkeypatch.setattr(run_cell, "claimed", claim)
    with Store.open(study_file.parent / "s.db") as store:
        run_id, _ = run_cell.run_cell(store, cell, Progress(quiet=True))
        assert get_run(store, run_id).status == "finished"
    assert tried == 3
    monkeypatch.setattr(run_cell, "CLAIM_PATIENCE_S", 0.0)
    tried = -10
    with Store.open(study_file.parent / "t.db") as store, pytest.raises(HeldError):
        run_cell.run_cell(store, cell, Progress(quiet=True))


def test_a_run_that_stays_held_costs_its_cell_alone(
    study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[str] = []

    @contextmanager
    def claim(store: Store, run_id: str) -> Iterator[None]:
        if not held:
            held.append(run_id)
            raise HeldError("another process is working on it")
        yield

    monkeypatch.setattr(run_cell, "CLAIM_PATIENCE_S", 0.0)
    cells = study_cells(load_study(str(study_file)), ["corridor/base"])
    monkeypatch.setattr(run_cell, "claimed", claim)
    with Store.open(study_file.parent / "s.db") as store:
        outcome = serial.run_cells(
            store, cells, on_finished=lambda cell: None, progress=Progress(quiet=True)
        )
    assert outcome.failed == {cells[0].name: "another process is working on it"}
    assert outcome.finished == [cells[1].name]


def test_two_at_once_are_refused(study: Command, study_file: Path) -> None:
    with Store.open(study_file.parent / "s.db") as store, claimed(store, "tiny.study"):
        refused = study(study_file)
    assert refused.code == 4
    assert "is working on study tiny in" in refused.err


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux can share out cores")
@pytest.mark.parametrize(
    ("cores", "jobs", "shares"),
    [
        ({0, 1, 2, 3, 8}, 2, [{0, 2, 8}, {1, 3}]),
        ({4, 5}, 2, [{4}, {5}]),
        ({4, 5}, 3, []),
        ({4, 5}, 1, []),
    ],
)
def test_cores_are_shared_out(
    monkeypatch: pytest.MonkeyPatch, cores: set[int], jobs: int, shares: list[set[int]]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: cores)
    assert pool.share_cores(jobs) == shares


@pytest.mark.parametrize(
    ("name", "other", "waits"),
    [
        ("corridor/naive/1", "corridor/verified/1", True),
        ("corridor/naive/1", "corridor/verified/2", False),
        ("corridor/naive/1", "corridor/direct/1", False),
        ("corridor/good/1", "corridor/verified/1", False),
    ],
)
def test_a_cell_waits_for_another_that_may_train_on_the_same(
    study_file: Path, name: str, other: str, waits: bool
) -> None:
    recipe = load_study(str(study_file), ["methods=[verified, naive, direct, good]"])
    cells = {cell.name: cell for cell in study_cells(recipe)}
    assert pool.may_train_on_the_same(cells[name], cells[other]) is waits
