"""How long the rest of a run takes, from what its stages and those of other runs took."""

from __future__ import annotations

from pathlib import Path

from agentr_lite.recipe.loading import load_recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.runs.time_left import TimeLeft
from agentr_lite.store import Store
from agentr_lite.store.records import Stage
from agentr_lite.store.runs import stage_finished, stage_started


def played(store: Store, run_id: str, number: int, stage: Stage, seconds: float) -> None:
    stage_started(store, run_id, number, stage)
    stage_finished(store, run_id, number, stage, wall_s=seconds)


def test_a_runs_own_stages_come_before_those_of_others(db: Path) -> None:
    recipe = load_recipe("smoke")
    with Store.open(db) as store:
        earlier, run = create_run(store, recipe), create_run(store, recipe)
        assert TimeLeft(store, run).of(["search"]) is None
        played(store, earlier, 1, "search", 100.0)
        played(store, earlier, 2, "search", 200.0)
        left = TimeLeft(store, run)
        assert left.of(["search", "search"]) == 300.0
        assert left.of(["search", "train"]) is None
        assert left.of([]) == 0.0
        played(store, run, 1, "search", 10.0)
        assert left.of(["search"]) == 10.0


def test_runs_of_another_kind_do_not_count(db: Path) -> None:
    with Store.open(db) as store:
        other = create_run(store, load_recipe("smoke", ["search.width=2"]))
        played(store, other, 1, "search", 100.0)
        run = create_run(store, load_recipe("smoke", ["seed=5", "rounds=3"]))
        assert TimeLeft(store, run).of(["search"]) is None
