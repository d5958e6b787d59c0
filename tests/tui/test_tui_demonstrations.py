"""The demonstrations of a database in the inspector."""

from __future__ import annotations

from pathlib import Path

import pytest
from agentr_lite_tui.app import Inspector
from agentr_lite_tui.screens.demonstrations import DemonstrationsScreen, demonstration_steps
from agentr_lite_tui.screens.runs import RunsScreen
from agentr_lite_tui.screens.step import StepScreen
from textual.pilot import Pilot

from agentr_lite.core.errors import UsageError
from agentr_lite.core.steps import Step
from agentr_lite.store import Store
from agentr_lite.store.demonstrations import (
    Demonstration,
    add_demonstrations,
    delete_demonstrations,
)
from tests.support.corridor import Corridor
from tests.support.inspector_cases import drive, make_run, picture, press
from tests.support.inspector_keys import covers, table


def shown(env: Corridor, number: int, source: str) -> Demonstration:
    """The oracle's solution of a training task."""
    task = env.tasks("train")[number]
    opening, *_ = env.reset(task)
    steps = []
    for action in env.solve(task):
        result = env.step(action)
        end = {"reward": result.reward, "terminated": result.terminated}
        steps.append(Step(f"Action: {action}", action, result.observation, **end))
    return Demonstration(task, source, 1.0, env.instructions(), opening, steps)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A run, and three demonstrations of an environment that it has not played."""
    path = tmp_path / "runs.db"
    with Store.open(path) as store:
        make_run(store)
        env = Corridor()
        pairs = [(0, "solve"), (1, "solve"), (1, "person")]
        add_demonstrations(store, "hall", [shown(env, *pair) for pair in pairs])
    return path


@covers("runs.demonstrations", "demonstrations.open")
def test_they_are_listed_searched_and_stepped_through(database: Path) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "d")
        assert isinstance(app.screen, DemonstrationsScreen)
        assert len(table(app).rows) == 3
        assert "3 demonstrations · 2 solve · 1 person" in picture(app)
        await press(pilot, "slash", *"person", "enter")
        assert len(table(app).rows) == 1 and "1 shown" in picture(app)
        await press(pilot, "enter")
        assert isinstance(app.screen, StepScreen)
        assert "demonstrations" in picture(app) and "step 0 of" in picture(app)
        await press(pilot, "end")
        assert "solved" in picture(app) and "Action: open" in picture(app)
        await press(pilot, "escape", "escape", "escape")
        assert isinstance(app.screen, RunsScreen)

    drive(database, script)


def test_one_that_is_deleted_meanwhile_is_told(database: Path) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "d")
        with Store.open(database) as store:
            delete_demonstrations(store)
        await press(pilot, "enter")
        assert isinstance(app.screen, DemonstrationsScreen)
        assert "No demonstrations. Make some with: agentr-lite demos make ENV" in picture(app)

    drive(database, script)
    with (
        Store.open_to_read(database) as store,
        pytest.raises(UsageError, match="demonstration 1 has been deleted"),
    ):
        demonstration_steps(store, 1)


def test_a_game_from_a_file_is_made_again_as_its_run_made_it(tmp_path: Path) -> None:
    game = str(tmp_path / "hall.py")
    path = tmp_path / "runs.db"
    with Store.open(path) as store:
        add_demonstrations(store, "hall", [shown(Corridor(), 0, "solve")])
        assert demonstration_steps(store, 1).origin.env == "hall"
        run_id = make_run(store)
        sql = "UPDATE runs SET recipe = json_set(recipe, '$.env[0].name', ?) WHERE id = ?"
        store.execute(sql, (game, run_id))
        assert demonstration_steps(store, 1).origin.env == game
