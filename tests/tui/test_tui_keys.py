"""Every key of the inspector, pressed."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from agentr_lite_tui.app import BINDINGS_BY_ID, Inspector
from agentr_lite_tui.keys import load_keymap
from agentr_lite_tui.screens.base import FilterScreen
from agentr_lite_tui.screens.compare import CompareScreen
from agentr_lite_tui.screens.confirm import ConfirmScreen
from agentr_lite_tui.screens.episodes import EpisodesScreen
from agentr_lite_tui.screens.evals import EvalsScreen
from agentr_lite_tui.screens.help import HelpScreen
from agentr_lite_tui.screens.runs import RunsScreen
from agentr_lite_tui.screens.splice import SpliceScreen
from agentr_lite_tui.screens.splices import SplicesScreen
from agentr_lite_tui.screens.step import StepScreen
from agentr_lite_tui.screens.tasks import TasksScreen
from agentr_lite_tui.screens.tree import TreeScreen
from agentr_lite_tui.widgets.document_view import DocumentView
from agentr_lite_tui.widgets.table import Table
from agentr_lite_tui.widgets.tree_view import TreeView
from textual.binding import Binding
from textual.pilot import Pilot

from agentr_lite.core.errors import StoreError, UsageError
from agentr_lite.store import Store
from tests.support.corridor import Corridor
from tests.support.inspector_cases import Script, drive, make_run, picture, press
from tests.support.planted_trees import node, plant_nodes

PRESSED: set[str] = set()
"""Binding ids whose tests have run, for the last test of this file."""


def covers(*ids: str) -> None:
    """Note that a test presses the keys of these bindings."""
    for name in ids:
        assert name in BINDINGS_BY_ID, name
    PRESSED.update(ids)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("keys") / "runs.db"
    with Store.open(path) as store:
        make_run(store)
        other = make_run(store)
        store.execute("UPDATE runs SET status = 'failed' WHERE id = ?", (other,))
        store.execute("UPDATE runs SET created_utc = '2020' WHERE id = ?", (other,))
        # A tree with a known shape: five children of the root, their sub-trees below.
        store.execute("DELETE FROM trees WHERE run_id = ? AND round = 1", (other,))
        nodes = [node(0, None, 0, visits=9, value_sum=3.0)]
        nodes += [node(i, 0, 1, visits=i, value_sum=0.5) for i in range(1, 6)]
        nodes += [node(i, 2, 2, action=f"take {i}") for i in range(6, 9)]
        nodes += [
            node(9, 6, 3, terminated=True, reward=1.0),
            node(10, 8, 3, terminated=True),
            node(11, 5, 2, terminated=True, reward=1.0),
            node(12, 5, 2, truncated=True),
        ]
        plant_nodes(store, other, nodes)
    return path, other


def at_tree(script: Script) -> Script:
    """The script, begun at the planted tree."""

    async def begin(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "left_square_bracket", "enter")
        assert isinstance(app.screen, TreeScreen)
        await script(app, pilot)

    return begin


def table(app: Inspector) -> Table:
    return app.screen.query_one(Table)


def tree(app: Inspector) -> TreeView:
    return app.screen.query_one(TreeView)


def test_lists(made: tuple[Path, str]) -> None:
    covers("list.up", "list.down", "list.first", "list.last", "list.page_up", "list.page_down")

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        seen = []
        for keys in ("down", "j", "k", "up", "end", "home", "pagedown", "pageup"):
            await press(pilot, keys)
            seen.append(table(app).cursor)
        assert seen == [1, 2, 1, 0, 5, 0, 5, 0]

    drive(made[0], script, run_id=made[1])


def test_runs(made: tuple[Path, str]) -> None:
    covers("table.sort", "table.reverse", "runs.open", "runs.evals", "runs.copy")
    covers("app.back", "app.quit")

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        assert isinstance(app.screen, RunsScreen)
        orders, columns = [], []
        while "" not in columns:
            orders.append([row.key for row in table(app).rows])
            await press(pilot, "s")
            columns.append(table(app).sorted_by)
        assert orders[0][1] == made[1], "the older run comes second"
        assert orders[1] == sorted(orders[1])
        assert {"run", "status", "success", "nodes", "tokens", "time"} <= set(columns)
        await press(pilot, "s", "S")
        assert [row.key for row in table(app).rows] == orders[1][::-1]
        assert "run▴" in picture(app)
        await press(pilot, "S", "home", "y")
        assert app.clipboard == orders[1][0]
        await press(pilot, "enter")
        assert isinstance(app.screen, TasksScreen)
        await press(pilot, "escape", "e")
        assert isinstance(app.screen, EvalsScreen)
        await press(pilot, "backspace")
        assert isinstance(app.screen, RunsScreen)
        await press(pilot, "escape")
        assert isinstance(app.screen, RunsScreen), "the first screen stays"
        await press(pilot, "q")

    app = drive(made[0], script)
    assert app.return_code == 0


def test_filter(made: tuple[Path, str]) -> None:
    covers("filter.ask")

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "slash", *"fail")
        assert [row.key for row in table(app).rows] == [made[1]]
        await press(pilot, "enter")
        assert table(app).has_focus
        assert "/fail" in picture(app)
        await press(pilot, "slash", *"qqq")
        assert table(app).count == 0, "q is typed, not obeyed"
        await press(pilot, "escape")
        assert table(app).count == 2
        assert isinstance(app.screen, FilterScreen)

    drive(made[0], script)


def test_tasks(made: tuple[Path, str]) -> None:
    covers("tasks.previous", "tasks.next", "tasks.which", "tasks.copy", "table.sort")
    covers("tasks.open", "tasks.splices", "tasks.evals", "filter.env")

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        assert "[2]" in picture(app)
        everything = table(app).count
        # Only runs on several environments have this key: see test_multitask_shown.py.
        before = picture(app)
        await press(pilot, "E")
        assert picture(app) == before and "Env" not in before
        await press(pilot, "left_square_bracket")
        assert "[1]" in picture(app) and table(app).count == 1
        await press(pilot, "right_square_bracket")
        assert table(app).count == everything
        await press(pilot, "u")
        assert table(app).count == 0, "all are solved"
        assert "unsolved only" in picture(app)
        await press(pilot, "u")
        assert [bool(row.cells[-1][0]) for row in table(app).rows] == [True] * 3
        assert "has revision only" in picture(app)
        await press(pilot, "u")
        while table(app).sorted_by != "level":
            await press(pilot, "s")
        levels = [int(row.cells[4][0]) for row in table(app).rows]
        assert levels == sorted(levels, reverse=True)
        await press(pilot, "y")
        assert app.clipboard.startswith("corridor-")
        await press(pilot, "home", "down", "enter")
        assert isinstance(app.screen, TreeScreen)
        await press(pilot, "escape")
        assert table(app).cursor == 1, "back at the same task"
        await press(pilot, "v")
        assert isinstance(app.screen, SplicesScreen)
        await press(pilot, "escape", "e")
        assert isinstance(app.screen, EvalsScreen)

    drive(made[0], script, run_id=made[1])


def test_opening_and_closing_nodes(made: tuple[Path, str]) -> None:
    covers("tree.open", "tree.close", "tree.fold", "tree.parent")
    covers("tree.open_all", "tree.close_all", "tasks.open")

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "minus")
        rows = tree(app).tree_rows.rows
        assert rows == [0, 1, 2, 3, 4, 5]
        await press(pilot, "down", "down", "right")
        # 6 and 9, 8 and 10 are chains: each a row, under its last node.
        assert rows == [0, 1, 2, 9, 7, 10, 3, 4, 5]
        await press(pilot, "right")
        assert tree(app).node == 9, "the first child of an open node"
        await press(pilot, "left")
        assert tree(app).node == 2, "a closed node's parent"
        await press(pilot, "left")
        assert rows == [0, 1, 2, 3, 4, 5]
        await press(pilot, "space", "space", "l")
        assert rows == [0, 1, 2, 9, 7, 10, 3, 4, 5]
        await press(pilot, "down", "p")
        assert tree(app).node == 2
        await press(pilot, "home", "asterisk")
        assert len(rows) == 11
        await press(pilot, "minus")
        assert rows == [0, 1, 2, 3, 4, 5]

    drive(made[0], at_tree(script), run_id=made[1])


def test_chains(made: tuple[Path, str]) -> None:
    covers("tree.chains", "tree.open", "tree.close")

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        rows = tree(app).tree_rows.rows
        await press(pilot, "minus", "down", "down", "right", "down")
        assert "take 6 › ✓ go 9 ⋯2" in picture(app)
        await press(pilot, "right")
        assert rows == [0, 1, 2, 6, 9, 7, 10, 3, 4, 5]
        assert tree(app).node == 6, "the first step of the unfolded chain"
        await press(pilot, "down", "left")
        assert rows == [0, 1, 2, 9, 7, 10, 3, 4, 5]
        assert tree(app).node == 9
        await press(pilot, "z")
        assert rows == [0, 1, 2, 6, 9, 7, 8, 10, 3, 4, 5]
        assert "chains unfolded" in picture(app)
        await press(pilot, "z")
        assert rows == [0, 1, 2, 9, 7, 10, 3, 4, 5]
        assert tree(app).node == 9

    drive(made[0], at_tree(script), run_id=made[1])


def test_the_seldom_visited_can_be_hidden(made: tuple[Path, str]) -> None:
    covers("tree.hide")

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        rows = tree(app).tree_rows.rows
        await press(pilot, "minus", "m", "m")
        assert rows == [0, 2, 3, 4, 5, ~0]
        assert "… 1 more, n < 2" in picture(app) and "n ≥ 2" in picture(app)
        await press(pilot, "m")
        assert rows == [0, 4, 5, ~0]
        await press(pilot, "end", "space")
        assert rows == [0, 4, 5, 1, 2, 3]
        await press(pilot, "m", "m")
        assert rows == [0, 1, 2, 3, 4, 5]

    drive(made[0], at_tree(script), run_id=made[1])


def test_order_of_siblings_keeps_the_place(made: tuple[Path, str]) -> None:
    covers("tree.sort")

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "minus", "down", "down", "s")
        assert tree(app).tree_rows.rows == [0, 5, 4, 3, 2, 1]
        assert tree(app).node == 2
        assert "most visited first" in picture(app)
        await press(pilot, "s")
        assert tree(app).tree_rows.rows == [0, 1, 2, 3, 4, 5]
        assert "best first" in picture(app)

    drive(made[0], at_tree(script), run_id=made[1])


def test_leaves_and_the_best_path(made: tuple[Path, str]) -> None:
    covers("tree.next_good", "tree.previous_good", "tree.next_bad", "tree.previous_bad")
    covers("tree.best")

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "minus")
        seen = []
        for key in ("g", "g", "g", "G", "b", "b", "B", "o"):
            await press(pilot, key)
            seen.append(tree(app).node)
        # The picture's order: 9 and 10 are below node 2, 11 and 12 below node 5.
        assert seen == [9, 11, 9, 11, 12, 10, 12, 11]
        assert tree(app).best_path == {0, 5, 11}

    drive(made[0], at_tree(script), run_id=made[1])


def test_search(made: tuple[Path, str]) -> None:
    covers("tree.next_match", "tree.previous_match", "filter.ask")

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "minus", "slash", *"TAKE")
        assert tree(app).matches == {6, 7, 8}
        await press(pilot, "enter")
        seen = [tree(app).node]
        for key in ("n", "n", "n", "N"):
            await press(pilot, key)
            seen.append(tree(app).node)
        assert seen == [6, 7, 8, 6, 8]
        assert "/TAKE 3 found" in picture(app)
        await press(pilot, "escape", "slash", *"at 12", "enter")
        assert tree(app).node == 12, "an answer of the environment"
        await press(pilot, "escape")
        assert tree(app).matches == frozenset()
        assert isinstance(app.screen, TreeScreen)

    drive(made[0], at_tree(script), run_id=made[1])


def test_detail_of_a_node(made: tuple[Path, str]) -> None:
    covers("tree.conversation", "tree.detail", "tree.copy", "tree.copy_all", "tree.splices")

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        pane = app.screen.query_one("#detail", DocumentView)
        await press(pilot, "g")
        assert "You are at 9." in picture(app)
        await press(pilot, "c")
        assert "You are at 6." in picture(app), "the answers before it, too"
        await press(pilot, "d")
        assert not pane.display
        await press(pilot, "d", "y")
        assert pane.display
        assert app.clipboard == "Thought: on.\nAction: go 9\n\nYou are at 9."
        await press(pilot, "Y")
        assert "You are at 0." in app.clipboard and app.clipboard.endswith("You are at 9.")
        await press(pilot, "tab")
        assert pane.has_focus
        await press(pilot, "v")
        assert isinstance(app.screen, SplicesScreen)
        assert table(app).count == 0, "this tree was not spliced"

    drive(made[0], at_tree(script), run_id=made[1])


def state_pane(app: Inspector) -> str:
    """What stands in the pane beside the step."""
    lines = app.screen.query_one("#state", DocumentView)._lines
    return "\n".join("".join(text for text, _ in line) for line in lines)


def test_stepping_through(made: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    covers("tree.walk", "step.previous", "step.next", "step.start", "step.end")
    covers("step.conversation", "step.copy", "step.copy_all", "step.state")

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
        assert "i takes the steps again in 'corridor'" in " ".join(state_pane(app).split())
        await press(pilot, "i", "home")
        await asyncio.to_thread(app.screen.reader.join)
        await press(pilot)
        assert "State(length=3" in state_pane(app)
        await press(pilot, "right")
        # The planted answers are not what the corridor says.
        assert "step 1 is answered otherwise now" in " ".join(state_pane(app).split())
        await press(pilot, "i")
        assert not app.screen.query_one("#state").display

    monkeypatch.setattr("agentr_lite_tui.state_reader.replays_quickly", lambda name: False)
    monkeypatch.setattr("agentr_lite_tui.state_reader.make_env", lambda name, options: Corridor())
    drive(made[0], at_tree(script), run_id=made[1])


def test_splices(made: tuple[Path, str]) -> None:
    covers("splices.open", "splices.which", "splice.previous", "splice.next", "splice.shared")
    covers("splice.result", "splice.copy")

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
        assert "a true way back was found" in picture(app)
        await press(pilot, "r", "y")
        assert document.scroll_y == 0
        assert "Action: reflect" in app.clipboard

    drive(made[0], script, run_id=made[1])


def test_evaluations(made: tuple[Path, str]) -> None:
    covers("evals.open", "episodes.open", "episodes.which")

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "e", "end", "enter")
        assert isinstance(app.screen, EpisodesScreen)
        counts = []
        for _ in range(4):
            counts.append(table(app).count)
            await press(pilot, "u")
        assert counts == [4, 2, 0, 2]
        await press(pilot, "enter")
        assert isinstance(app.screen, StepScreen)

    drive(made[0], script, run_id=made[1])


def test_task_by_task(made: tuple[Path, str]) -> None:
    covers("evals.compare", "compare.which", "compare.open")

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "e", "t")
        assert isinstance(app.screen, CompareScreen)
        text = picture(app)
        assert "base  round 1  round 2" in text and "4 tasks" in text
        shown = []
        for _ in range(4):
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


def test_deleting_a_run_asks_first(made: tuple[Path, str]) -> None:
    covers("runs.delete", "confirm.yes", "confirm.no")
    asked: list[str] = []

    def remove(run_id: str) -> str:
        asked.append(run_id)
        if len(asked) > 1:
            raise StoreError("somebody works on it")
        return f"Deleted {run_id}"

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        said: list[str] = []
        app.notify = lambda text, **more: said.append(text)  # type: ignore[method-assign]
        await press(pilot, "down", "D")
        assert isinstance(app.screen, ConfirmScreen)
        text = picture(app)
        assert made[1] in text and "cannot be undone" in text and "trees" in text
        await press(pilot, "enter")
        assert isinstance(app.screen, ConfirmScreen), "enter is no answer"
        await press(pilot, "n")
        assert asked == [] and isinstance(app.screen, RunsScreen)
        for _ in range(2):
            await press(pilot, "D", "y")
            await app.workers.wait_for_complete()
            await press(pilot)
        assert asked == [made[1]] * 2
        assert said[0] == f"Deleted {made[1]}"
        assert "somebody works on it" in said[1]

    drive(made[0], script, remove=remove)


def test_without_a_way_to_delete_there_is_no_key_for_it(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "D")
        assert isinstance(app.screen, RunsScreen)
        assert "Delete" not in picture(app)

    drive(made[0], script)


def test_a_picture_of_the_screen(
    made: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    covers("app.picture")
    monkeypatch.chdir(tmp_path)

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "ctrl+s")

    drive(made[0], script)
    [file] = tmp_path.glob("agentr-lite-*.svg")
    svg = file.read_text()
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    # Nothing is fetched when it is looked at.
    assert "url(http" not in svg and 'url("http' not in svg and "@font-face" not in svg
    assert made[1] in svg.replace("&#160;", " ")


def test_the_palette_has_what_the_keys_do(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        commands = {c.title: c for c in app.get_system_commands(app.screen)}
        assert {"Tasks", "Evals", "Sort", "Help", "Theme", "Follow"} <= set(commands)
        commands["Evals"].callback()
        await press(pilot)
        assert isinstance(app.screen, EvalsScreen)
        await press(pilot, "escape", "ctrl+p", *"tasks", "enter")
        await press(pilot)
        assert isinstance(app.screen, TasksScreen)

    drive(made[0], script)


def test_following_goes_to_the_newest(made: tuple[Path, str]) -> None:
    covers("app.follow")

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "f")
        # The planted tree was stored last, though in the first round.
        assert "▶ following" in picture(app) and "[1]" in picture(app)
        newest = table(app).rows[0].key
        await press(pilot, "right_square_bracket", "home", "enter")
        assert isinstance(app.screen, TreeScreen) and app.screen.tree_id != newest
        await press(pilot, "f", "f")
        assert isinstance(app.screen, TreeScreen) and app.screen.tree_id == newest
        await press(pilot, "f")
        assert "following" not in picture(app)

    drive(made[0], script, run_id=made[1])


def test_help(made: tuple[Path, str]) -> None:
    covers("app.help", "help.close")

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "question_mark")
        assert isinstance(app.screen, HelpScreen)
        assert "tasks.which" in picture(app)
        await press(pilot, "escape")
        assert isinstance(app.screen, TasksScreen)

    drive(made[0], script, run_id=made[1])


def test_the_mouse(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "minus")
        await pilot.click(TreeView, offset=(20, 3))
        assert tree(app).node == 2
        assert tree(app).tree_rows.rows == [0, 1, 2, 3, 4, 5]
        await pilot.click(TreeView, offset=(3, 3))
        assert tree(app).tree_rows.rows == [0, 1, 2, 9, 7, 10, 3, 4, 5], "the fold mark opens"

    drive(made[0], at_tree(script), run_id=made[1])


def test_a_click_on_a_heading_sorts(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        at = picture(app).splitlines()[1].index("nodes") + 2
        nodes = []
        for _ in range(3):
            nodes.append([int(row.cells[6][0]) for row in table(app).rows])
            await pilot.click(Table, offset=(at, 0))
            await press(pilot)
        assert nodes[1] == sorted(nodes[0], reverse=True)
        assert nodes[2] == sorted(nodes[0])
        await pilot.double_click(Table, offset=(10, 2))
        await press(pilot)
        assert isinstance(app.screen, TreeScreen)

    drive(made[0], script, run_id=made[1])


def test_keys_of_ones_own(made: tuple[Path, str], tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text("tree.next_good: ctrl+g,f5\napp.quit: ctrl+x\n")

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "f5")
        assert tree(app).node == 9
        await press(pilot, "g", "q")
        assert tree(app).node == 9, "the old keys do nothing"
        await press(pilot, "ctrl+g")
        assert tree(app).node == 11

    keymap = load_keymap(file, BINDINGS_BY_ID)
    drive(made[0], at_tree(script), run_id=made[1], keymap=keymap)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tree.next_god: f5", "no binding 'tree.next_god'"),
        ("- a\n- b", "no mapping"),
        ("app.quit: 5", "not a text"),
        ("a: [", "cannot read"),
        ("\x00", "cannot read"),
    ],
)
def test_wrong_key_files_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=problem):
        load_keymap(file, BINDINGS_BY_ID)


def test_no_key_file_is_no_error(tmp_path: Path) -> None:
    assert load_keymap(tmp_path / "none.yaml", BINDINGS_BY_ID) == {}


def test_every_binding_has_an_id_and_a_test() -> None:
    """Runs last; meaningful only with the tests above."""
    for kind in (Inspector, RunsScreen, TasksScreen, TreeScreen, StepScreen, SplicesScreen):
        assert all(isinstance(b, Binding) and b.id for b in kind.__dict__["BINDINGS"])
    if len(PRESSED) > 30:
        assert set(BINDINGS_BY_ID) - PRESSED == set()
    # The manual names them all.
    manual = (Path(__file__).parents[2] / "docs" / "inspector.md").read_text()
    assert [name for name in BINDINGS_BY_ID if f"`{name}`" not in manual] == []
