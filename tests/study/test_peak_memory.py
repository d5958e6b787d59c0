"""The most memory that a process held during a stage."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from agentr_lite.store import Store
from agentr_lite.store.runs import list_runs, list_stages
from agentr_lite.study.jobs import peak_memory
from agentr_lite.study.jobs.peak_memory import PEAK, peak_bytes, reset_peak
from tests.support.study_case import Command


def test_the_peak_begins_anew() -> None:
    if not reset_peak():
        pytest.skip("this system cannot begin the peak anew")
    before = peak_bytes()
    # Pages of its own: memory that the process had freed may be in its peak already.
    with mmap.mmap(-1, 200_000_000) as block:
        for start in range(0, len(block), mmap.PAGESIZE):
            block[start] = 1
        high = peak_bytes()
    assert high > before + 150_000_000
    reset_peak()
    assert peak_bytes() < high - 150_000_000


def test_every_stage_has_the_peak_of_the_process_that_finished_it(
    study: Command, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage that another run shares keeps what was measured there."""
    peaks = iter(range(1, 1000))
    monkeypatch.setattr(peak_memory, "peak_bytes", lambda: next(peaks))
    assert study(study_file, "--only", "corridor/*/1").code == 0
    with Store.open(study_file.parent / "s.db", create=False, read_only=True) as store:
        by_run = {
            run.recipe["name"]: {
                (row.round, row.stage): row.summary[PEAK] for row in list_stages(store, run.id)
            }
            for run in list_runs(store)
        }
    base, verified, good = (by_run[f"corridor-{m}"] for m in ("base", "verified", "good"))
    assert base[0, "eval"] == verified[0, "eval"] == good[0, "eval"] == 1
    assert verified[1, "search"] == good[1, "search"]
    assert len({*verified.values()}) == len(verified)
