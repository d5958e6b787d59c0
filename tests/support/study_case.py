"""A study without a model: the stand-ins of ``loop_case``, two methods, two seeds.

As a program, it runs one cell with these stand-ins, as ``agentr_lite.study.jobs.worker`` does with
the real parts. A cell of the method named in its first argument hangs in its first batch.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from agentr_lite.store import Store
from agentr_lite.store.runs import list_runs
from agentr_lite.study.jobs import model_digests
from tests.support import loop_case

STUDY = """
name: tiny
environments:
  corridor: {{recipe: {recipe}}}
methods: [base, verified, good]
seeds: [1, 2]
rounds: 1
set: {{eval: {{samples: 0}}}}
ablations: {ablations}
quick: {{seeds: [3], set: {{eval: {{tasks: 2}}}}}}
"""


CELLS = 6
"""Cells of that study: three methods, two seeds."""


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Ran]
"""The fixture ``study``."""


def install(set_attribute: Callable[[Any, str, Any], None]) -> None:
    """Put the stand-ins in place; models have no digest."""
    loop_case.install(set_attribute)
    set_attribute(model_digests, "model_digest", lambda recipe: None)


def write_study(folder: Path, *, ablations: str = "false", text: str = STUDY) -> Path:
    """The study's file, beside the run recipe that it names."""
    recipe = loop_case.write_recipe(folder)
    path = folder / "tiny.yaml"
    path.write_text(text.format(recipe=recipe, ablations=ablations))
    return path


def run_names(db: Path) -> list[tuple[str, int, str]]:
    """(name, seed, status) of every run, oldest first."""
    with Store.open(db, create=False, read_only=True) as store:
        runs = [(run.recipe["name"], run.seed, run.status) for run in list_runs(store)]
    return runs[::-1]


def contents(db: Path) -> dict[str, list[str]]:
    """``NAME SEED`` of each run to everything that it stored."""
    with Store.open(db, create=False, read_only=True) as store:
        runs = [(f"{run.recipe['name']} {run.seed}", run.id) for run in list_runs(store)]
    return {name: loop_case.contents(db, run_id) for name, run_id in runs}


def without_usage(rows: list[str]) -> list[Any]:
    """What a run stored, without the cost of its evaluations, which may be that of another run."""
    # (round, stage, finished, usage, summary)
    return [
        row[:3] + row[4:] if isinstance(row, list) and row[1:2] == ["eval"] else row
        for row in map(json.loads, rows)
    ]


class Hanging(loop_case.Player):
    """Never answers."""

    def generate(self, requests: Any) -> Any:
        print("hanging", file=sys.stderr, flush=True)
        while True:
            time.sleep(0.05)


if __name__ == "__main__":
    from agentr_lite.study.jobs import worker

    install(setattr)
    line = worker.read_job()
    worker.stop_with_parent()
    if f"/{sys.argv[1]}/" in line:
        loop_case.actors.open_actor = lambda recipe, **_: Hanging()
    sys.exit(worker.main(line))
