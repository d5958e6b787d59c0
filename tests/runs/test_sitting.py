"""What a sitting costs and how it leaves its run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentr_lite.actors.mock import MockActor
from agentr_lite.core.errors import EnvironmentFault, StoreError, UsageError
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.create import create_run
from agentr_lite.runs.sitting import Sitting, recorded_status
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
    sitting = Sitting(store, run, 1, "search", actor)
    sitting.begin()
    actor.usage.output_tokens += 7
    with sitting.commit():
        assert tokens(store, run) == 0
    assert tokens(store, run) == 7
    sitting.book()
    assert tokens(store, run) == 7
    actor.usage.output_tokens += 2
    sitting.finish({"trees": 3})
    row = runs.stage_status(store, run, 1, "search")
    assert row is not None and row.finished and row.wall_s > 0
    assert (row.output_tokens, row.summary) == (9, {"trees": 3})


def test_what_is_rolled_back_is_not_booked(store: Store, run: str, actor: MockActor) -> None:
    sitting = Sitting(store, run, 1, "search", actor)
    sitting.begin()
    actor.usage.output_tokens += 7
    with pytest.raises(ZeroDivisionError), sitting.commit():
        raise ZeroDivisionError
    assert tokens(store, run) == 0


def test_work_that_is_no_part_of_the_stage_leaves_it_alone(
    store: Store, run: str, actor: MockActor
) -> None:
    first = Sitting(store, run, 1, "search", actor)
    first.begin()
    first.finish({"trees": 3})
    before = runs.stage_status(store, run, 1, "search")
    other = Sitting(store, run, 1, "search", actor, books=False)
    other.begin()
    actor.usage.output_tokens += 7
    with other.commit():
        pass
    other.finish({"trees": 9})
    assert runs.stage_status(store, run, 1, "search") == before


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (None, "finished", None),
        (KeyboardInterrupt(), "interrupted", None),
        (BrokenPipeError(), "interrupted", None),
        (UsageError("no such task", hint="Look."), "failed", "no such task"),
        (EnvironmentFault("maze", "fell over"), "failed", "environment 'maze': fell over"),
        (ZeroDivisionError("of ours"), "failed", "ZeroDivisionError: of ours"),
        (StoreError("disk full"), "running", None),
    ],
)
def test_how_a_run_is_left(
    store: Store, run: str, error: BaseException | None, status: str, reason: str | None
) -> None:
    def end() -> None:
        with recorded_status(store, run):
            if error is not None:
                raise error

    if error is None:
        end()
    else:
        with pytest.raises(type(error)):
            end()
    row = runs.get_run(store, run)
    assert (row.status, row.error) == (status, reason)


def test_a_status_that_is_not_this_blocks_to_change(store: Store, run: str) -> None:
    for error in (None, KeyboardInterrupt(), UsageError("no")):
        try:
            with recorded_status(store, run, applies=lambda: False):
                if error is not None:
                    raise error
        except (KeyboardInterrupt, UsageError):
            pass
        assert runs.get_run(store, run).status == "running"
