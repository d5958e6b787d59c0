"""The keys of the lists and of the application, pressed."""

from __future__ import annotations

import importlib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from agentr_lite_tui.app import BINDINGS_BY_ID, LIGHT, Inspector
from agentr_lite_tui.keys import load_keymap
from agentr_lite_tui.screens.confirm import ConfirmScreen
from agentr_lite_tui.screens.evals import EvalsScreen
from agentr_lite_tui.screens.filter import FilterScreen
from agentr_lite_tui.screens.help import HelpScreen
from agentr_lite_tui.screens.runs import RunsScreen
from agentr_lite_tui.screens.splices import SplicesScreen
from agentr_lite_tui.screens.step import StepScreen
from agentr_lite_tui.screens.tasks import TasksScreen
from agentr_lite_tui.screens.tree import TreeScreen
from agentr_lite_tui.widgets.table import Table
from agentr_lite_tui.widgets.tree_view import TreeView
from textual.binding import Binding
from textual.pilot import Pilot

from agentr_lite.core.errors import StoreError, UsageError
from tests.support.inspector_cases import drive, picture, press
from tests.support.inspector_keys import PRESSED, at_tree, covers, make_two_runs, table, tree


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("keys") / "runs.db"
    return path, make_two_runs(path)


@covers("list.up", "list.down", "list.first", "list.last", "list.page_up", "list.page_down")
def test_lists(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        seen = []
        for keys in ("down", "j", "k", "up", "end", "home", "pagedown", "pageup"):
            await press(pilot, keys)
            seen.append(table(app).cursor)
        assert seen == [1, 2, 1, 0, 5, 0, 5, 0]

    drive(made[0], script, run_id=made[1])


@pytest.mark.parametrize("leads", [(), ("enter",), ("enter", "v"), ("enter", "e", "t")], ids=str)
def test_a_search_without_a_match_says_so(made: tuple[Path, str], leads: tuple[str, ...]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, *leads)
        total = len(table(app).rows)
        await press(pilot, "slash", *"zzz")
        assert f"None of {total} matches the search. Escape clears it." in picture(app)
        await press(pilot, "escape")
        assert len(table(app).rows) == total and "None of" not in picture(app)

    drive(made[0], script)


def test_a_kind_without_a_row_says_so(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "enter", "e", "enter")
        shown = []
        for _ in range(5):
            await press(pilot, "u")
            shown.append((len(table(app).rows), "is of this kind. u shows" in picture(app)))
        assert all(says == (not rows) for rows, says in shown)
        # Of the base's own episodes none is gained or lost.
        assert (0, True) in shown

    drive(made[0], script)


@covers(
    "table.sort", "table.reverse", "runs.open", "runs.evals", "runs.copy", "app.back", "app.quit"
)
def test_runs(made: tuple[Path, str]) -> None:
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


@covers("filter.ask")
def test_filter(made: tuple[Path, str]) -> None:
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


@covers(
    "tasks.previous",
    "tasks.next",
    "tasks.which",
    "tasks.copy",
    "table.sort",
    "tasks.open",
    "tasks.splices",
    "tasks.evals",
    "filter.env",
)
def test_tasks(made: tuple[Path, str]) -> None:
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


@covers("runs.delete", "confirm.yes", "confirm.no")
def test_deleting_a_run_asks_first(made: tuple[Path, str]) -> None:
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


@covers("app.picture")
def test_a_picture_of_the_screen(
    made: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


@covers("app.follow")
def test_following_goes_to_the_newest(made: tuple[Path, str]) -> None:
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


@covers("app.help", "help.close")
def test_help(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "question_mark")
        assert isinstance(app.screen, HelpScreen)
        assert "Shows all tasks, unsolved ones" in picture(app)
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
    for kind in (Inspector, RunsScreen, TasksScreen, TreeScreen, StepScreen, SplicesScreen):
        assert all(isinstance(b, Binding) and b.id for b in kind.__dict__["BINDINGS"])
    others = (
        "tree_keys",
        "step_keys",
        "preferences",
        "first_errors",
        "beside",
        "preview",
        "critic",
        "demonstrations",
    )
    for name in others:
        importlib.import_module(f"tests.tui.test_tui_{name}")
    assert set(BINDINGS_BY_ID) - PRESSED == set()
    # The manual names them all.
    manual = (Path(__file__).parents[2] / "docs" / "inspector.md").read_text()
    assert [name for name in BINDINGS_BY_ID if f"`{name}`" not in manual] == []


def _colours(app: Inspector) -> list[tuple[str, object]]:
    """Every text on the screen with its colours."""
    strips = app.screen._compositor.render_strips()
    return [(part.text, part.style) for strip in strips for part in strip]


def test_lines_that_were_drawn_before_take_a_new_themes_colours(made: tuple[Path, str]) -> None:
    seen: dict[bool, list[tuple[str, object]]] = {}

    async def change(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "enter", "enter", "down", "up")
        before = _colours(app)
        app.theme = LIGHT.name
        await press(pilot, "down", "up")
        assert _colours(app) != before
        seen[False] = _colours(app)

    async def begin_light(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "enter", "enter", "down", "up")
        seen[True] = _colours(app)

    drive(made[0], change)
    drive(made[0], begin_light, light=True)
    assert seen[False] == seen[True]
