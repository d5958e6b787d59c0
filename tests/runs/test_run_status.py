"""The status that a run is left with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentr_lite.core.errors import EnvironmentFault, StoreError, UsageError
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.runs.status import recorded_status
from agentr_lite.store import Store, runs


@pytest.fixture
def store(db: Path) -> Iterator[Store]:
    with Store.open(db) as opened:
        yield opened


@pytest.fixture
def run(store: Store) -> str:
    return create_run(store, Recipe())


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
