"""The pairs of a better and a worse continuation in the inspector."""

from __future__ import annotations

from pathlib import Path

import pytest
from agentr_lite_tui.app import Inspector
from agentr_lite_tui.layout.preferences import lay_out_preference
from agentr_lite_tui.screens.preferences import (
    PreferenceScreen,
    PreferencesScreen,
    load_preference,
)
from agentr_lite_tui.screens.splices import SplicesScreen
from textual.pilot import Pilot

from agentr_lite.core.errors import UsageError
from agentr_lite.store import Store, splices
from agentr_lite.store.preferences import list_preferences
from tests.support.inspector_cases import drive, picture, press
from tests.support.inspector_keys import covers, table
from tests.support.preference_cases import pair_recipe, planted_run


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, str]:
    """A run with 5 pairs in each of its 4 trees."""
    path = tmp_path / "runs.db"
    store, run_id = planted_run(path, pair_recipe())
    store.close()
    return path, run_id


@covers(
    "splices.preferences",
    "preferences.open",
    "preference.previous",
    "preference.next",
    "preference.shared",
)
def test_a_trees_pairs_with_their_continuations(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "v")
        assert isinstance(app.screen, SplicesScreen)
        await press(pilot, "p")
        assert isinstance(app.screen, PreferencesScreen) and len(table(app).rows) == 20
        await press(pilot, "escape", "escape", "enter", "v", "p")
        assert isinstance(app.screen, PreferencesScreen) and app.screen.tree_id is not None
        assert "5 pairs · 2 episode · 2 step · 1 revision" in picture(app)
        await press(pilot, "slash", *"step", "enter")
        assert len(table(app).rows) == 2 and "2 shown" in picture(app)
        await press(pilot, "enter")
        assert isinstance(app.screen, PreferenceScreen)
        first = picture(app)
        assert "two actions in one state" in first and "1 of 2" in first
        await press(pilot, "right", "right")
        second = picture(app)
        assert "2 of 2" in second and second != first
        await press(pilot, "left")
        assert picture(app) == first
        assert "⋯ 1 earlier shared step" in first
        await press(pilot, "c")
        assert "⋯" not in picture(app) and "open door" in picture(app)

    drive(made[0], script, run_id=made[1])


def test_both_continuations_stand_below_what_they_share(made: tuple[Path, str]) -> None:
    with Store.open_to_read(made[0]) as store:
        rows = list_preferences(store, made[1], kinds=["revision"])
        view = load_preference(store, rows[0].id)
    text = ["".join(part for part, _ in line) for line in lay_out_preference(view, 80)]
    shown = [line.strip("▎ ").removeprefix("Action: ") for line in text]
    places = [shown.index(each) for each in ("jump high", "forward", "open") if each in shown]
    better = next(at for at, line in enumerate(text) if "better, reward 1" in line)
    worse = next(at for at, line in enumerate(text) if "worse, reward 0.25" in line)
    assert shown.index("jump high") < better < shown.index("open") < worse < shown.index("leave")
    assert places == sorted(places)
    assert "reflect" in shown[better:worse]


def test_a_pair_that_is_gone_says_so(made: tuple[Path, str]) -> None:
    with Store.open(made[0]) as store:
        number = list_preferences(store, made[1])[0].id
        splices.delete_splices(store, made[1], 1)
        with pytest.raises(UsageError, match=f"preference {number} is gone"):
            load_preference(store, number)


def test_a_run_without_pairs_says_which_key_asks_for_them(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    store, run_id = planted_run(path, pair_recipe(()))
    store.close()

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "v", "p")
        assert "splice.preferences says which to look for" in picture(app)
        await press(pilot, "enter")
        assert isinstance(app.screen, PreferencesScreen)

    drive(path, script, run_id=run_id)
