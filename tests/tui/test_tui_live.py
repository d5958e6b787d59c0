"""The inspector beside a writer, over hostile text, deep chains and broken files."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from agentr_lite_tui.app import Inspector
from agentr_lite_tui.screens.runs import RunsScreen
from agentr_lite_tui.screens.tasks import TasksScreen
from agentr_lite_tui.screens.tree import TreeScreen
from agentr_lite_tui.widgets.document_view import DocumentView
from agentr_lite_tui.widgets.table import Table
from agentr_lite_tui.widgets.tree_view import TreeView
from textual.color import Color
from textual.pilot import Pilot

from agentr_lite.cli import main
from agentr_lite.core.errors import EXIT_STORE, EXIT_USAGE, StoreError
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store, trees
from agentr_lite.store.inspection import TreeShape, find_nodes, newest_tree, tree_shape
from tests.support.inspector_cases import RECIPE, SMALL, drive, picture, press
from tests.support.planted_trees import node, plant_nodes

CHAIN = [node(0, None, 0), *(node(i, i - 1, i) for i in range(1, 4))]


GROWN = """
tree = store.scalar("SELECT max(id) FROM trees")
store.execute(
    "INSERT INTO nodes SELECT tree_id, 4, 0, 1, kind, 'late', text_id, observation_id,"
    " reward, 0, 0, 0, 0, 7, 0.0, 1, NULL, NULL FROM nodes WHERE idx = 1"
)
store.execute("UPDATE trees SET node_count = 5 WHERE id = ?", (tree,))
"""


def new_run(path: Path) -> str:
    with Store.open(path) as store:
        run_id = create_run(store, RECIPE)
        plant_nodes(store, run_id, CHAIN)
        return run_id


def write(path: Path, code: str) -> None:
    """Run code over the database in another process; ``store`` and the cases are at hand."""
    program = "from tests.support.planted_trees import *\n"
    program += "from agentr_lite.store import Store, runs, trees\n"
    program += f"with Store.open({str(path)!r}) as store:\n" + textwrap.indent(code, "    ")
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


class TestLive:
    def test_new_trees_appear_and_the_place_is_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "runs.db"
        run_id = new_run(path)
        with Store.open(path) as store:
            plant_nodes(store, run_id, CHAIN, task_index=1)

        async def script(app: Inspector, pilot: Pilot[None]) -> None:
            table = app.screen.query_one(Table)
            await press(pilot, "down")
            here = table.current
            write(path, f"plant_nodes(store, {run_id!r}, [node(0, None, 0)], task_index=2)")
            assert table.count == 2, "nobody has looked yet"
            app.poll()
            await pilot.pause()
            assert table.count == 3
            assert table.current is not None and here is not None
            assert table.current.key == here.key
            assert "3 tasks" in picture(app)
            app.poll()
            write(path, f"runs.set_run_status(store, {run_id!r}, 'finished')")
            app.poll()
            await pilot.pause()
            assert "✓ finished" in picture(app)

        drive(path, script, run_id=run_id)

    def test_a_tree_that_grows_stays_open_where_it_was(self, tmp_path: Path) -> None:
        path = tmp_path / "runs.db"
        run_id = new_run(path)

        async def script(app: Inspector, pilot: Pilot[None]) -> None:
            await press(pilot, "enter", "z", "home", "down", "right", "down", "left")
            view = app.screen.query_one(TreeView)
            assert (view.node, view.tree_rows.rows) == (2, [0, 1, 2, 3])
            write(path, GROWN)
            app.poll()
            await pilot.pause()
            assert (view.node, view.tree_rows.rows) == (2, [0, 1, 2, 3, 4])
            assert "late" in picture(app)

        drive(path, script, run_id=run_id)

    def test_follow_mode_goes_to_what_is_written(self, tmp_path: Path) -> None:
        path = tmp_path / "runs.db"
        run_id = new_run(path)

        async def script(app: Inspector, pilot: Pilot[None]) -> None:
            table = app.screen.query_one(Table)
            write(path, f"plant_nodes(store, {run_id!r}, [node(0, None, 0)], task_index=1)")
            app.poll()
            await pilot.pause()
            assert table.cursor == 1, "the new tree"
            write(path, f"plant_nodes(store, {run_id!r}, [node(0, None, 0)], round_index=2)")
            app.poll()
            await pilot.pause()
            assert "[2]" in picture(app), "the new round"
            await press(pilot, "enter")
            write(
                path,
                f"plant_nodes(store, {run_id!r}, [node(0, None, 0)], round_index=2, task_index=1)",
            )
            app.poll()
            await press(pilot)
            assert isinstance(app.screen, TreeScreen)
            with Store.open(path, read_only=True) as store:
                assert app.screen.tree_id == newest_tree(store, run_id)

        drive(path, script, run_id=run_id, following=True)

    def test_the_stage_that_runs_is_said(self, tmp_path: Path) -> None:
        path = tmp_path / "runs.db"
        run_id = new_run(path)

        async def script(app: Inspector, pilot: Pilot[None]) -> None:
            write(path, f"runs.stage_started(store, {run_id!r}, 2, 'splice')")
            app.poll()
            await pilot.pause()
            assert "● splice 2" in picture(app)

        drive(path, script, run_id=run_id)

    def test_a_tree_that_is_searched_again_is_left(self, tmp_path: Path) -> None:
        path = tmp_path / "runs.db"
        run_id = new_run(path)

        async def script(app: Inspector, pilot: Pilot[None]) -> None:
            await press(pilot, "enter")
            assert isinstance(app.screen, TreeScreen)
            write(path, f"trees.delete_trees(store, {run_id!r}, 1)")
            app.poll()
            await pilot.pause()
            assert isinstance(app.screen, TasksScreen)
            assert "No trees yet" in picture(app)
            write(path, f"runs.delete_run(store, {run_id!r})")
            app.poll()
            await pilot.pause()
            assert isinstance(app.screen, RunsScreen)
            assert "No runs yet" in picture(app)

        drive(path, script, run_id=run_id)

    @pytest.mark.parametrize("key", ["enter", "e", "D"])
    def test_a_run_that_another_process_has_deleted(self, tmp_path: Path, key: str) -> None:
        path = tmp_path / "runs.db"
        run_id = new_run(path)

        async def script(app: Inspector, pilot: Pilot[None]) -> None:
            said: list[str] = []
            app.notify = lambda text, **more: said.append(text)  # type: ignore[method-assign]
            write(path, f"runs.delete_run(store, {run_id!r})")
            await press(pilot, key)
            assert isinstance(app.screen, RunsScreen)
            assert len(said) == 1
            app.poll()
            await pilot.pause()
            assert "No runs yet" in picture(app)

        drive(path, script, remove=lambda run_id: run_id)

    def test_it_never_stops_a_writer(self, tmp_path: Path) -> None:
        path = tmp_path / "runs.db"
        run_id = new_run(path)

        async def script(app: Inspector, pilot: Pilot[None]) -> None:
            # No read is left open between keys, so a checkpoint gets through, too.
            await press(pilot, "enter", "down")
            write(path, "assert store.rows('PRAGMA wal_checkpoint(TRUNCATE)')[0][0] == 0")

        drive(path, script, run_id=run_id)

    def test_a_database_in_trouble_is_said_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "runs.db"
        new_run(path)
        said: list[str] = []

        async def script(app: Inspector, pilot: Pilot[None]) -> None:
            def broken(store: Store) -> int:
                raise StoreError("the disk\x1b[31m is gone")

            monkeypatch.setattr("agentr_lite_tui.app.data_version", broken)
            monkeypatch.setattr(app, "notify", lambda text, **more: said.append(text))
            app.poll()
            app.poll()

        drive(path, script)
        assert said == ["the disk\\x1b[31m is gone"]


HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31m[bold red]markup[/] [link=http://x]l[/link] \x00 \x9b1A"
    " \u202ereversed\u202c \u2067rtl\u2069 שלום 日本語 👩‍👩‍👧‍👦 \t tab \r\n next {x} $y %s"
)


class TestHostileText:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "runs.db"
        with Store.open(path) as store:
            run_id = create_run(store, RECIPE)
            huge = "A" * 500_000 + "\n" + HOSTILE * 20_000
            plant_nodes(
                store,
                run_id,
                [
                    node(0, None, 0, observation=HOSTILE),
                    node(1, 0, 1, action=HOSTILE, text=f"{HOSTILE}\nAction: {HOSTILE}", visits=3),
                    node(2, 1, 2, observation=huge, action="x" * 100_000),
                    node(3, 1, 2, terminated=True, reward=1.0, observation=""),
                ],
            )
            store.execute("UPDATE tasks SET goal = ?, name = ?", (HOSTILE, HOSTILE))
            store.execute("UPDATE trees SET error = ?", (HOSTILE,))
        return path

    def test_no_screen_lets_anything_through(self, path: Path) -> None:
        pictures: list[str] = []

        async def script(app: Inspector, pilot: Pilot[None]) -> None:
            for keys in (
                ("enter",),
                ("enter",),
                ("g", "p"),
                ("c",),
                ("c", "right", "down"),
                ("end",),
                ("enter",),
                ("left",),
                ("c",),
                ("escape", "slash", *"[bold"),
                ("enter",),
            ):
                await press(pilot, *keys)
                pictures.append(picture(app))

        drive(path, script)
        for shown in pictures:
            bad = [c for c in shown if c != "\n" and (ord(c) < 32 or 0x7F <= ord(c) < 0xA0)]
            assert bad == []
            assert not set("\u202e\u202c\u2067\u2069") & set(shown)
            assert all(len(line) <= 100 for line in shown.split("\n"))
        assert any("\\x1b[31m[bold red]markup[/]" in shown for shown in pictures)

    def test_keys_stay_quick_on_a_megabyte(self, path: Path) -> None:
        async def script(app: Inspector, pilot: Pilot[None]) -> None:
            await press(pilot, "enter", "enter", "down", "down")
            pane = app.screen.query_one("#detail", DocumentView)
            assert "more characters" in "".join(text for line in pane._lines for text, _ in line)
            await press(pilot, "tab", "end")

        drive(path, script)


class TestDepthAndWidth:
    def test_a_chain_of_two_thousand(self, tmp_path: Path) -> None:
        path = tmp_path / "runs.db"
        depth = 2_000
        assert depth > sys.getrecursionlimit() * 1.5
        with Store.open(path) as store:
            run_id = create_run(store, RECIPE)
            chain = [node(0, None, 0), *(node(i, i - 1, i) for i in range(1, depth))]
            chain.append(node(depth, depth - 1, depth, terminated=True, reward=1.0))
            plant_nodes(store, run_id, chain)

        async def script(app: Inspector, pilot: Pilot[None]) -> None:
            await press(pilot, "enter")
            view = app.screen.query_one(TreeView)
            assert view.count == 2, "the chain is one row"
            assert f"go {depth} ⋯{depth}" in picture(app)
            await press(pilot, "z", "g")
            assert view.count == depth + 1, "and its steps are as many"
            assert view.node == depth
            assert f"go {depth}" in picture(app), "in sight, however deep"
            assert "from level" in picture(app)
            await press(pilot, "c")
            assert f"{depth - 100:,} earlier steps" in "".join(
                text for text, _ in app.screen.query_one("#detail", DocumentView)._lines[0]
            )
            await press(pilot, "enter", "left", "left")
            assert f"step {depth - 2} of {depth}" in picture(app)
            await press(pilot, "escape", "minus", "asterisk", "home", "left", "s", "s")
            assert view.node == 0

        drive(path, script, run_id=run_id, size=SMALL)

    def test_many_siblings_come_in_pages(self, tmp_path: Path) -> None:
        path = tmp_path / "runs.db"
        with Store.open(path) as store:
            run_id = create_run(store, RECIPE)
            many = [node(i, 0, 1, visits=200 - i) for i in range(1, 113)]
            plant_nodes(store, run_id, [node(0, None, 0, visits=999), *many])

        async def script(app: Inspector, pilot: Pilot[None]) -> None:
            await press(pilot, "enter", "end")
            assert "… 62 more" in picture(app)
            await press(pilot, "enter", "end")
            assert "… 12 more" in picture(app)
            await press(pilot, "s")
            assert "… 12 more, n ≤ 99" in picture(app)
            await press(pilot, "space", "end")
            assert "go 112" in picture(app)
            assert app.screen.query_one(TreeView).count == 113

        drive(path, script, run_id=run_id)


def test_a_shape_of_many_parts_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentr_lite.store.inspection._SHAPE_CHUNK", 3)
    with Store.open(tmp_path / "runs.db") as store:
        run_id = create_run(store, RECIPE)
        for count in (1, 2, 3, 4, 6, 7):
            nodes = [node(i, i - 1 if i else None, i, visits=i) for i in range(count)]
            shape = tree_shape(store, plant_nodes(store, run_id, nodes, round_index=count))
            assert (list(shape.parent), list(shape.visits)) == (
                [-1, *range(count - 1)],
                list(range(count)),
            )


def test_turns_answers_and_actions_are_searched(tmp_path: Path) -> None:
    with Store.open(tmp_path / "runs.db") as store:
        run_id = create_run(store, RECIPE)
        nodes = [
            node(0, None, 0, observation="A dark room"),
            node(1, 0, 1, text="Thought: 100% sure\nAction: look", action="look"),
            node(2, 0, 1, observation="It is DARK_er"),
            node(3, 0, 1, action="darken"),
        ]
        tree_id = plant_nodes(store, run_id, nodes)
        other = plant_nodes(store, run_id, nodes[:1], task_index=1)
        assert find_nodes(store, tree_id, "dark") == [0, 2, 3]
        assert find_nodes(store, tree_id, "SURE") == [1]
        assert find_nodes(store, tree_id, "0%") == [1], "no pattern, a text"
        assert find_nodes(store, tree_id, "k_e") == [2]
        assert find_nodes(store, tree_id, "nothing") == []
        assert find_nodes(store, other, "darken") == []


def test_the_shape_of_a_tree(tmp_path: Path) -> None:
    with Store.open(tmp_path / "runs.db") as store:
        run_id = create_run(store, RECIPE)
        nodes = [
            node(0, None, 0, visits=4, value_sum=3.0),
            node(1, 0, 1, kind="reflect", action="reflect"),
            node(2, 0, 1, kind="none", action=None, visits=0, invalid=True),
            node(3, 0, 1, terminated=True, reward=0.5, disaster=True),
            node(4, 0, 1, truncated=True),
        ]
        tree_id = plant_nodes(store, run_id, nodes)
        shape = tree_shape(store, tree_id)
        assert [list(getattr(shape, column.name)) for column in dataclasses.fields(shape)] == [
            [-1, 0, 0, 0, 0],
            [4, 1, 0, 1, 1],
            [0.75, 0.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, 0.0, 0.5, 0.0],
            [0, 2, 3, 1, 1],
            [0, 0, 4, 9, 2],
        ]
        assert all(type(number) in (int, float) for number in (*shape.parent, *shape.value))
        assert tree_shape(store, tree_id + 1) == TreeShape()
        assert len(trees.load_tree(store, tree_id)) == 5


class TestCommand:
    def run(self, *arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
        with pytest.raises(SystemExit) as caught:
            main(["tui", *arguments])
        return int(caught.value.code or 0), capsys.readouterr().err

    def test_a_pipe_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        new_run(tmp_path / "runs.db")
        code, err = self.run("-d", str(tmp_path / "runs.db"), capsys=capsys)
        assert code == EXIT_USAGE
        assert "needs a terminal" in err
        assert "agentr-lite trees" in err

    @pytest.mark.parametrize(
        ("arguments", "code", "problem"),
        [
            (["-d", "none.db"], EXIT_STORE, "there is no database"),
            (["-d", "text.db"], EXIT_STORE, "not a database"),
            (["nope", "-d", "runs.db"], EXIT_USAGE, "there is no run 'nope'"),
        ],
    )
    def test_errors_come_before_the_screen(
        self,
        arguments: list[str],
        code: int,
        problem: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        new_run(tmp_path / "runs.db")
        (tmp_path / "text.db").write_text("no database " * 100)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("AGENTR_LITE_HOME", str(tmp_path))
        for stream in (sys.stdin, sys.stdout):
            monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
        got, err = self.run(*arguments, capsys=capsys)
        assert (got, problem in err) == (code, True), err

    def test_help_needs_no_textual(self) -> None:
        code = (
            "import sys\nfrom agentr_lite.cli import main\n"
            "try:\n    main(['tui', '--help'])\nexcept SystemExit:\n    pass\n"
            "assert not {'textual', 'numpy', 'sqlite_utils'} & set(sys.modules)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
        )
        assert "keys.yaml" in done.stdout

    def test_an_error_inside_leaves_the_program_in_order(self, tmp_path: Path) -> None:
        path = tmp_path / "runs.db"
        new_run(path)

        async def script(app: Inspector, pilot: Pilot[None]) -> None:
            app._handle_exception(StoreError("locked"))

        app = drive(path, script)
        assert app.fault is not None and app.fault.message == "locked"
        assert app.return_code == EXIT_STORE


class TestColours:
    def test_no_color(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "runs.db"
        new_run(path)
        monkeypatch.setenv("NO_COLOR", "1")
        colours: set[object] = set()

        async def script(app: Inspector, pilot: Pilot[None]) -> None:
            await press(pilot, "enter", "enter")
            for strip in app.screen._compositor.render_strips():
                for name in app.get_line_filters():
                    strip = strip.apply_filter(name, Color.parse("black"))
                for segment in strip:
                    if segment.style:
                        colours.update({segment.style.color, segment.style.bgcolor})
            assert "▌" in picture(app), "the cursor is a sign, too"

        drive(path, script)
        assert {getattr(c, "name", "default") for c in colours} <= {"default"}

    @pytest.mark.parametrize(("light", "name"), [(False, "agentr-dark"), (True, "agentr-light")])
    def test_themes(self, tmp_path: Path, light: bool, name: str) -> None:
        path = tmp_path / "runs.db"
        new_run(path)

        async def script(app: Inspector, pilot: Pilot[None]) -> None:
            assert app.theme == name
            for theme in ("nord", "ansi-dark", "solarized-light"):
                if theme in app.available_themes:
                    app.theme = theme
                    await press(pilot, "down")

        drive(path, script, light=light)

    @pytest.mark.parametrize(
        ("value", "light"), [("0;15", True), ("15;0", False), ("0;default;15", True), ("", False)]
    )
    def test_the_terminal_is_asked(
        self, value: str, light: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from agentr_lite.cli.tui import _light

        monkeypatch.setenv("COLORFGBG", value)
        assert _light("auto") is light
        assert _light("dark") is False
        assert _light("light") is True
