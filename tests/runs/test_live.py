"""What a stage says of itself while it runs: published, kept up to date, and gone at its end."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from agentr_lite.console.progress import Progress, ProgressState
from agentr_lite.core.errors import StoreError
from agentr_lite.runs.creation import create_run
from agentr_lite.runs.stages import live as live_module
from agentr_lite.runs.stages.live import PUBLISH_S, LivePublisher
from agentr_lite.runs.time_left import TimeLeft
from agentr_lite.store import Store, runs
from agentr_lite.store.live import LiveRow, clear_live, get_live
from agentr_lite.store.runs import delete_run, set_run_model
from tests.support.corridor import Corridor
from tests.support.inspector_cases import RECIPE, Player
from tests.support.stages import eval_stage, search_stage


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "runs.db")


def state(count: int, note: str = "") -> ProgressState:
    return ProgressState("search", count, 9, note, 60.0, 600.0)


def test_the_speed_is_that_of_the_last_while(store: Store) -> None:
    run_id, clock, player = create_run(store, RECIPE), Clock(), Player(skill=1.0)
    publish = LivePublisher(store, run_id, 1, "search", player, clock=clock)
    for count in range(1, 30):
        clock.now += PUBLISH_S
        player.usage.output_tokens += 100 if count < 15 else 20
        publish(state(count, "now a task step 3"))
    row = get_live(store, run_id)
    assert row is not None
    assert row.tokens_per_s == pytest.approx(20 / PUBLISH_S), "the faster beginning is over"
    assert (row.count, row.total, row.note) == (29, 9, "now a task step 3")
    assert (row.part_left_s, row.run_left_s) == (60.0, 600.0)
    assert row.updated_utc.endswith("Z")


def test_it_does_not_write_all_the_time(store: Store) -> None:
    run_id, clock = create_run(store, RECIPE), Clock()
    publish = LivePublisher(store, run_id, 1, "train", None, clock=clock)
    publish(state(1))
    clock.now += PUBLISH_S / 2
    publish(state(2))
    row = get_live(store, run_id)
    assert row is not None and row.count == 1
    assert row.tokens_per_s is None, "a training generates nothing"
    clock.now += PUBLISH_S
    publish(state(3))
    row = get_live(store, run_id)
    assert row is not None and row.count == 3


def test_a_database_that_cannot_be_written_costs_a_line_and_not_the_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, clock = create_run(store, RECIPE), Clock()
    publish = LivePublisher(store, run_id, 1, "train", None, clock=clock)

    def locked(store: Store, row: LiveRow) -> None:
        raise StoreError("the database is locked")

    with monkeypatch.context() as broken:
        broken.setattr(live_module, "save_live", locked)
        publish(state(1))
    assert publish.fault is not None and get_live(store, run_id) is None
    clock.now += PUBLISH_S
    publish(state(2))
    assert publish.fault is None and get_live(store, run_id) is not None


@pytest.mark.parametrize("stage", ["search", "eval"])
def test_stages_say_the_task_and_the_step(
    store: Store, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = create_run(store, RECIPE)
    seen: list[LiveRow] = []
    monkeypatch.setattr(live_module, "PUBLISH_S", 0.0)
    monkeypatch.setattr(live_module, "save_live", lambda store, row: seen.append(row))
    if stage == "search":
        search_stage(store, run_id, 1, RECIPE, Corridor(), Player(skill=0.5))
    else:
        eval_stage(store, run_id, 0, RECIPE, Corridor(), Player(skill=0.5))
    assert {(row.round, row.stage) for row in seen} == {(1 if stage == "search" else 0, stage)}
    notes = [row.note for row in seen if ", now corridor-" in row.note]
    assert notes and all(note.rpartition(" step ")[2].isdecimal() for note in notes)
    assert len({note.rpartition(" step ")[2] for note in notes}) > 1, "the steps go on"


def test_the_end_of_a_stage_leaves_nothing(store: Store) -> None:
    run_id = create_run(store, RECIPE)
    search_stage(store, run_id, 1, RECIPE, Corridor(), Player(skill=1.0))
    assert get_live(store, run_id) is None
    LivePublisher(store, run_id, 1, "search", None)(state(1))
    clear_live(store, run_id)
    assert get_live(store, run_id) is None
    LivePublisher(store, run_id, 1, "search", None)(state(1))
    delete_run(store, run_id)
    assert store.scalar("SELECT count(*) FROM live") == 0


def test_progress_tells_its_watcher_even_if_it_prints_nothing() -> None:
    seen: list[ProgressState] = []
    progress = Progress(stream=io.StringIO(), quiet=True, clock=Clock())
    progress.watch(seen.append)
    progress.expect(None, 60.0)
    progress.start("search", 4, initial=1)
    progress.advance(1, "now b step 2")
    progress.watch(None)
    progress.advance(1)
    assert [(one.count, one.total, one.note) for one in seen] == [
        (1, 4, ""),
        (2, 4, "now b step 2"),
    ]


def test_the_time_left_counts_runs_of_the_same_model_once_it_is_recorded(store: Store) -> None:
    model = {"kind": "gguf", "path": "m.gguf", "sha256": "ab"}
    earlier = create_run(store, RECIPE)
    set_run_model(store, earlier, model)
    runs.stage_started(store, earlier, 1, "search")
    runs.stage_finished(store, earlier, 1, "search", summary={}, wall_s=50.0)
    left = TimeLeft(store, run_id := create_run(store, RECIPE))
    assert left.of(["search"]) is None, "it may be another model"
    set_run_model(store, run_id, model)
    assert left.of(["search", "search"]) == 100.0
