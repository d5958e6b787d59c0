"""What the tests of the inspector's keys share: a database, the widgets, the keys pressed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from agentr_lite_tui.app import BINDINGS_BY_ID, Inspector
from agentr_lite_tui.screens.tree import TreeScreen
from agentr_lite_tui.widgets.table import Table
from agentr_lite_tui.widgets.tree_view import TreeView
from textual.pilot import Pilot

from agentr_lite.store import Store
from tests.support.inspector_cases import Script, make_run, press
from tests.support.planted_trees import node, plant_nodes

PRESSED: set[str] = set()
"""Ids of the bindings whose keys a test presses."""

Test = TypeVar("Test", bound=Callable[..., None])


def covers(*ids: str) -> Callable[[Test], Test]:
    """Mark a test that presses the keys of these bindings."""
    assert set(ids) <= BINDINGS_BY_ID.keys(), set(ids) - BINDINGS_BY_ID.keys()
    PRESSED.update(ids)
    return lambda test: test


def make_two_runs(path: Path) -> str:
    """Make a database of two runs; returns the older one, which has a tree of a known shape."""
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
    return other


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
