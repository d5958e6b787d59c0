"""The keys of the tree, pressed."""

from __future__ import annotations

from pathlib import Path

import pytest
from agentr_lite_tui.app import Inspector
from agentr_lite_tui.screens.splices import SplicesScreen
from agentr_lite_tui.screens.tree import TreeScreen
from agentr_lite_tui.widgets.document_view import DocumentView
from textual.pilot import Pilot

from tests.support.inspector_cases import drive, picture, press
from tests.support.inspector_keys import at_tree, covers, make_two_runs, table, tree


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("keys") / "runs.db"
    return path, make_two_runs(path)


@covers(
    "tree.open",
    "tree.close",
    "tree.fold",
    "tree.parent",
    "tree.open_all",
    "tree.close_all",
    "tasks.open",
)
def test_opening_and_closing_nodes(made: tuple[Path, str]) -> None:
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


@covers("tree.chains", "tree.open", "tree.close")
def test_chains(made: tuple[Path, str]) -> None:
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


@covers("tree.hide")
def test_the_seldom_visited_can_be_hidden(made: tuple[Path, str]) -> None:
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


@covers("tree.sort")
def test_order_of_siblings_keeps_the_place(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "minus", "down", "down", "s")
        assert tree(app).tree_rows.rows == [0, 5, 4, 3, 2, 1]
        assert tree(app).node == 2
        assert "most visits first" in picture(app)
        await press(pilot, "s")
        assert tree(app).tree_rows.rows == [0, 1, 2, 3, 4, 5]
        assert "best first" in picture(app)

    drive(made[0], at_tree(script), run_id=made[1])


@covers("tree.next_good", "tree.previous_good", "tree.next_bad", "tree.previous_bad", "tree.best")
def test_leaves_and_the_best_path(made: tuple[Path, str]) -> None:
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


@covers("tree.next_match", "tree.previous_match", "filter.ask")
def test_search(made: tuple[Path, str]) -> None:
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


@covers("tree.conversation", "tree.detail", "tree.copy", "tree.copy_all", "tree.splices")
def test_detail_of_a_node(made: tuple[Path, str]) -> None:
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
