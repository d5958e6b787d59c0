"""What a stage costs, and when that is on record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentr_lite.actors.mock import MockActor
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.runs.stages.record import StageRecord
from agentr_lite.store import Store, runs


@pytest.fixture
def store(db: Path) -> Iterator[Store]:
    with Store.open(db) as opened:
        yield opened


@pytest.fixture
def run(store: Store) -> str:
    return create_run(store, Recipe())


@pytest.fixture
def actor() -> MockActor:
    return MockActor(["Action: look"])


def tokens(store: Store, run: str) -> int:
    row = runs.stage_status(store, run, 1, "search")
    return -1 if row is None else row.output_tokens


def test_what_is_committed_is_booked_once(store: Store, run: str, actor: MockActor) -> None:
    actor.usage.output_tokens = 100  # an earlier stage's
    record = StageRecord(store, run, 1, "search", actor)
    record.begin()
    actor.usage.output_tokens += 7
    with record.commit():
        assert tokens(store, run) == 0
    assert tokens(store, run) == 7
    record.book()
    assert tokens(store, run) == 7
    actor.usage.output_tokens += 2
    record.finish({"trees": 3})
    row = runs.stage_status(store, run, 1, "search")
    assert row is not None and row.finished and row.wall_s > 0
    assert (row.output_tokens, row.summary) == (9, {"trees": 3})


def test_what_is_rolled_back_is_not_booked(store: Store, run: str, actor: MockActor) -> None:
    record = StageRecord(store, run, 1, "search", actor)
    record.begin()
    actor.usage.output_tokens += 7
    with pytest.raises(ZeroDivisionError), record.commit():
        raise ZeroDivisionError
    assert tokens(store, run) == 0


def test_work_that_is_no_part_of_the_stage_leaves_it_alone(
    store: Store, run: str, actor: MockActor
) -> None:
    first = StageRecord(store, run, 1, "search", actor)
    first.begin()
    first.finish({"trees": 3})
    before = runs.stage_status(store, run, 1, "search")
    other = StageRecord(store, run, 1, "search", actor, books=False)
    other.begin()
    actor.usage.output_tokens += 7
    with other.commit():
        pass
    other.finish({"trees": 9})
    assert runs.stage_status(store, run, 1, "search") == before
