"""Databases that an earlier release wrote still open, report and resume.

``tests/data`` holds two, both of schema 2 and made by release 0.1.0 with the bundled starter:
``finished`` is a whole run of one round, ``cut`` a run that was killed in its second wave of
searches.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from agentr_lite.store import Store, runs, summaries, trees
from agentr_lite.store.migrations import SCHEMA_VERSION
from agentr_lite.store.splices import list_adapters

DATA = Path(__file__).parents[1] / "data"

FIGURES = (
    "base 25.0 % 8.9 to 53.2 – – –",
    "round 1 25.0 % 8.9 to 53.2 0.0 0.0 to 0.0 1.000",
    "round 1 89.8 % 9.8 52.5 % 60/1/0/0 0.25 1.0",
    "round 1 66.7 % 0.0 % 25.0 % 0.0 %",
    "base 0.0 % 0.0 to 29.9 – – 0.00",
    "round 1 5 23 6 0.0 % 6 0 0 1.2",
    "round 1 6 5 3 5 3 5,228 0.096 to 0.096",
)
"""Rows of the report that the old program printed of the finished run, with single spaces."""


def unpack(name: str, folder: Path) -> Path:
    """A stored database as a file that may be written to."""
    path = folder / f"{name}.db"
    path.write_bytes(gzip.decompress((DATA / f"{name}-schema-2.db.gz").read_bytes()))
    return path


def agentr_lite(*arguments: object) -> tuple[str, str]:
    """Run a command in a new process; gives stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "agentr_lite", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "120"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def rows_of(lines: Iterable[str]) -> list[str]:
    """Lines with single spaces."""
    return [" ".join(line.split()) for line in lines]


@pytest.mark.parametrize(
    ("name", "status", "tree_count"), [("finished", "finished", 6), ("cut", "running", 2)]
)
def test_it_opens_and_lists_its_run(
    tmp_path: Path, name: str, status: str, tree_count: int
) -> None:
    path = unpack(name, tmp_path)
    with Store.open_to_read(path) as store:
        assert store.scalar("PRAGMA user_version") == SCHEMA_VERSION
        assert store.rows("PRAGMA foreign_key_check") == []
        [run] = runs.list_runs(store)
        assert (run.status, run.env) == (status, "textcraft")
        rows = trees.list_trees(store, run.id)
        assert len(rows) == tree_count
        assert all(len(trees.load_tree(store, row.id)) == row.node_count for row in rows)
    listed, _ = agentr_lite("runs", "--json", "-d", path)
    assert run.id in json.dumps(json.loads(listed))


def test_the_report_of_a_finished_run_has_the_figures_that_it_had(tmp_path: Path) -> None:
    report, _ = agentr_lite("report", "latest", "-d", unpack("finished", tmp_path))
    rows = rows_of(report.splitlines())
    assert [figures for figures in FIGURES if figures not in rows] == []


def test_a_finished_run_resumes_to_nothing_to_do(tmp_path: Path) -> None:
    path = unpack("finished", tmp_path)
    adapter = tmp_path / "adapter.gguf"
    adapter.write_bytes((DATA / "finished-schema-2.adapter.gguf").read_bytes())
    with Store.open(path) as store:
        # The run was made in another folder.
        store.execute("UPDATE adapters SET gguf_path = ?", (str(adapter),))
        [run] = runs.list_runs(store)
        before = runs.list_stages(store, run.id), list_adapters(store, run.id)
        dump = list(summaries.dump_trees(store, run.id, 1))
    agentr_lite("run", "--resume", run.id, "-d", path)
    with Store.open_to_read(path) as store:
        assert (runs.list_stages(store, run.id), list_adapters(store, run.id)) == before
        assert list(summaries.dump_trees(store, run.id, 1)) == dump
        assert runs.get_run(store, run.id).status == "finished"


def test_a_cut_run_resumes_to_its_end(tmp_path: Path) -> None:
    path = unpack("cut", tmp_path)
    with Store.open(path) as store:
        [run] = runs.list_runs(store)
        searched = trees.list_trees(store, run.id)
        nodes = [trees.load_tree(store, tree.id) for tree in searched]
        base = runs.stage_status(store, run.id, 0, "eval")
    agentr_lite("run", "--resume", run.id, "-d", path)
    with Store.open_to_read(path) as store:
        assert runs.get_run(store, run.id).status == "finished"
        assert all(stage.finished for stage in runs.list_stages(store, run.id))
        assert [stage.stage for stage in runs.list_stages(store, run.id)] == [
            "eval",
            "search",
            "splice",
            "train",
            "eval",
        ]
        # What was committed is kept, and not done again.
        assert runs.stage_status(store, run.id, 0, "eval") == base
        rows = trees.list_trees(store, run.id)
        assert (len(rows), rows[:2]) == (4, searched)
        assert [trees.load_tree(store, tree.id) for tree in rows[:2]] == nodes
        [adapter] = list_adapters(store, run.id)
        assert Path(adapter.gguf_path).is_relative_to(tmp_path)
