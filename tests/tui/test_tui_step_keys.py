"""The keys of the steps, the splices and the evaluations, pressed."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from agentr_lite_tui.app import Inspector
from agentr_lite_tui.screens.compare import CompareScreen
from agentr_lite_tui.screens.episodes import EpisodesScreen
from agentr_lite_tui.screens.splice import SpliceScreen
from agentr_lite_tui.screens.step import StepScreen
from agentr_lite_tui.widgets.document_view import DocumentView
from textual.pilot import Pilot

from agentr_lite.store import Store
from tests.support.corridor import Corridor
from tests.support.inspector_cases import drive, picture, press
from tests.support.inspector_keys import at_tree, covers, make_two_runs, table


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("keys") / "runs.db"
    return path, make_two_runs(path)


def state_pane(app: Inspector) -> str:
    """What stands in the pane beside the step."""
    lines = app.screen.query_one("#state", DocumentView)._lines
    return "\n".join("".join(text for text, _ in line) for line in lines)


@covers(
    "tree.walk",
    "step.previous",
    "step.next",
    "step.start",
    "step.end",
    "step.conversation",
    "step.copy",
    "step.copy_all",
    "step.state",
)
def test_stepping_through(made: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "g", "p", "enter")
        assert isinstance(app.screen, StepScreen)
        seen = []
        for keys in ("", "right", "l", "space", "left", "h", "end", "home"):
            await press(pilot, *([keys] if keys else []))
            seen.append(app.screen._at)
        assert seen == [1, 2, 3, 3, 2, 1, 3, 0]
        await press(pilot, "end", "c")
        text = picture(app)
        assert "You are at 2." in text and "You are at 9." in text
        await press(pilot, "y")
        assert app.clipboard == "Thought: on.\nAction: go 9\n\nYou are at 9."
        await press(pilot, "Y")
        assert app.clipboard.startswith("Open the door") and "go 2" in app.clipboard
        assert app.screen.reader is not None
        await asyncio.to_thread(app.screen.reader.join)
        await press(pilot)
        assert "Press i to repeat the steps in 'corridor'" in " ".join(state_pane(app).split())
        await press(pilot, "i", "home")
        await asyncio.to_thread(app.screen.reader.join)
        await press(pilot)
        assert "State(length=3" in state_pane(app)
        await press(pilot, "right")
        # The planted answers are not what the corridor says.
        assert "step 1 is answered differently now" in " ".join(state_pane(app).split())
        await press(pilot, "i")
        assert not app.screen.query_one("#state").display

    monkeypatch.setattr("agentr_lite_tui.state_reader.replays_quickly", lambda name: False)
    monkeypatch.setattr("agentr_lite_tui.state_reader.make_env", lambda name, options: Corridor())
    drive(made[0], at_tree(script), run_id=made[1])


@covers(
    "splices.open",
    "splices.which",
    "splice.previous",
    "splice.next",
    "splice.shared",
    "splice.result",
    "splice.copy",
)
def test_splices(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "v")
        everything = table(app).count
        counts = []
        for _ in range(3):
            await press(pilot, "u")
            counts.append(table(app).count)
        assert counts[0] + counts[1] == everything == counts[2]
        await press(pilot, "u", "slash", *"recovered", "enter", "enter")
        assert isinstance(app.screen, SpliceScreen)
        text = picture(app)
        assert "the bad trajectory" in text and "the good trajectory" in text and "◀ t′" in text
        first = app.screen._at
        await press(pilot, "right")
        moved = app.screen._at
        await press(pilot, "left")
        assert (moved - first, app.screen._at) == (min(1, moved), first)
        await press(pilot, "c")
        assert "shared step" not in picture(app)
        document = app.screen.query_one(DocumentView)
        await press(pilot, "r")
        assert "found a continuation that earns the reward" in picture(app)
        await press(pilot, "r", "y")
        assert document.scroll_y == 0
        assert "Action: reflect" in app.clipboard

    drive(made[0], script, run_id=made[1])


@covers("evals.open", "episodes.open", "episodes.which")
def test_evaluations(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "e", "end", "enter")
        assert isinstance(app.screen, EpisodesScreen)
        counts = []
        for _ in range(5):
            counts.append(table(app).count)
            await press(pilot, "u")
        assert counts == [4, 2, 0, 2, 0]
        await press(pilot, "enter")
        assert isinstance(app.screen, StepScreen)

    drive(made[0], script, run_id=made[1])


@covers("evals.compare", "compare.which", "compare.open")
def test_task_by_task(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "e", "t")
        assert isinstance(app.screen, CompareScreen)
        text = picture(app)
        assert "base  round 1  round 2" in text and "4 tasks" in text
        shown = []
        for _ in range(5):
            shown.append(table(app).count)
            await press(pilot, "u")
        assert shown[0] == 4 and shown[1] >= shown[2] + shown[3]
        assert f"▲ {shown[2]} ▼ {shown[3]}" in text
        await press(pilot, "enter")
        assert isinstance(app.screen, StepScreen)
        assert "› round 2 ›" in picture(app)

    drive(made[0], script, run_id=made[1])


def test_episodes_that_the_environment_broke_count_for_nothing(
    made: tuple[Path, str], tmp_path: Path
) -> None:
    path = tmp_path / "runs.db"
    shutil.copy(made[0], path)
    with Store.open(path) as store:
        store.execute(
            "UPDATE eval_items SET error = 'boom', success = 0 WHERE task_id ="
            " (SELECT max(task_id) FROM eval_items)"
        )

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "e", "end", "enter")
        assert isinstance(app.screen, EpisodesScreen)
        text = picture(app)
        assert "of 3 solved" in text and "1 broken, left out" in text and "⚠" in text
        await press(pilot, "u", "u", "u")
        assert "boom" not in picture(app), "it is no failure of the actor"
        await press(pilot, "escape", "t")
        assert isinstance(app.screen, CompareScreen)
        assert "⚠" in picture(app)

    drive(path, script, run_id=made[1])


def test_a_round_that_has_not_come_to_a_task_yet_shows_an_earlier_one(
    made: tuple[Path, str], tmp_path: Path
) -> None:
    path = tmp_path / "runs.db"
    shutil.copy(made[0], path)
    with Store.open(path) as store:
        last = store.rows("SELECT id FROM evals WHERE round = 2 AND run_id = ?", (made[1],))
        for row in last:
            store.execute("DELETE FROM eval_items WHERE eval_id = ?", (row["id"],))
            store.execute("UPDATE evals SET summary = '{}' WHERE id = ?", (row["id"],))

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "e", "t", "enter")
        assert isinstance(app.screen, StepScreen)
        assert "› round 1 ›" in picture(app)

    drive(path, script, run_id=made[1])
