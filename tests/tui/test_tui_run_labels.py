"""Names, tags and notes of runs in the list of runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from agentr_lite_tui.app import Inspector
from textual.pilot import Pilot

from agentr_lite.recipe.loading import load_recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store
from agentr_lite.store.labels import add_tags, set_name, set_note
from tests.support.inspector_cases import drive, picture, press
from tests.support.inspector_keys import table


@pytest.fixture
def labelled(db: Path) -> tuple[Path, str, str]:
    """A database with a run that has labels and one that has none."""
    with Store.open(db) as store:
        first, second = (
            create_run(store, load_recipe("smoke", [f"seed={seed}"])) for seed in (1, 2)
        )
        set_name(store, first, "wide search")
        add_tags(store, first, ["good"])
        set_note(store, first, "what the paper does")
    return db, first, second


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
def test_a_run_is_listed_with_its_name_and_tags(
    labelled: tuple[Path, str, str], size: tuple[int, int]
) -> None:
    path, first, _ = labelled

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        shown = picture(app)
        assert first in shown
        assert ("wide search #good" in shown) == (size[0] == 200)

    drive(path, script, size=size)


@pytest.mark.parametrize("needle", ["wide", "#good", "paper"])
def test_the_search_finds_names_tags_and_notes(
    labelled: tuple[Path, str, str], needle: str
) -> None:
    path, first, _ = labelled

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        assert len(table(app).rows) == 2
        await press(pilot, "slash", *needle, "enter")
        assert [row.key for row in table(app).rows] == [first]

    drive(path, script)


def test_without_names_there_is_no_column_for_them(db: Path) -> None:
    with Store.open(db) as store:
        create_run(store, load_recipe("smoke"))

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        assert "name" not in [column.key for column in table(app)._columns]

    drive(db, script, size=(200, 60))
