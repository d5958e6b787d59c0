"""Draw the pictures of the inspector in docs/pictures: ``python docs/pictures.py``.

They show a real run. Without ``--db`` a small one is made with the bundled model (some minutes) and
kept in .work/pictures, so that the next time costs seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from agentr_lite_tui.app import Inspector
from agentr_lite_tui.layout.pictures import svg_of
from agentr_lite_tui.screens.step import StepScreen
from textual.pilot import Pilot

from agentr_lite.cli import cli
from agentr_lite.store import Store
from agentr_lite.store.inspection import tree_overviews, tree_rounds
from agentr_lite.store.runs import get_run

FOLDER = Path(__file__).parent / "pictures"
NODES = 60
"""About as many as fit the picture once chains are folded."""
DATABASE = Path(__file__).parent.parent / ".work" / "pictures" / "runs.db"
SIZE = (110, 27)
MAKE = (
    *("run", "textcraft", "--seed", "1", "--set", "search.tasks=40", "--set", "search.wave=20"),
    *("--set", "rounds=2", "--set", "eval.tasks=60", "--set", "eval.recovery=false"),
)

PICTURES: tuple[tuple[str, bool, Sequence[str]], ...] = (
    ("runs", False, ()),
    ("tasks", False, ("enter",)),
    ("tree", False, ("enter", "m", "home", "asterisk", "g")),
    ("tree-light", True, ("enter", "enter", "m", "home", "asterisk", "g")),
    ("step", False, ("b", "enter", "home", "right", "right")),
    ("splices", False, ("escape", "escape", "v")),
    ("splice", False, ("enter",)),
    ("evaluations", False, ("escape", "escape", "e")),
    ("compare", False, ("t", "u")),
)
"""Name, light or dark, and the keys that lead to it: in the dark from the picture before."""


def make_database() -> Path:
    """The database with a run to show, made the first time."""
    if not DATABASE.exists():
        print(f"Making a run in {DATABASE}: agentr-lite {' '.join(MAKE)}", file=sys.stderr)
        DATABASE.parent.mkdir(parents=True, exist_ok=True)
        cli.main([*MAKE, "-d", str(DATABASE)], standalone_mode=False)
    return DATABASE


def best_task(store: Store, run_id: str) -> int:
    """The tree that shows most in the room that there is: revised, solved, of middling size."""
    last = tree_rounds(store, run_id)[-1]
    trees = tree_overviews(store, run_id, last)
    found = min(
        trees,
        key=lambda one: (
            not one.accepted,
            one.tree.best_reward < 1,
            abs(one.tree.node_count - NODES),
        ),
    )
    return found.tree.id


async def draw(store: Store, run_id: str, *, light: bool) -> None:
    """The pictures of one theme."""
    tree_id = best_task(store, run_id)
    app = Inspector(store, light=light, poll_s=0)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot)
        for name, is_light, keys in PICTURES:
            if is_light != light:
                continue
            for key in keys:
                if key == "enter" and (table := app.screen.query("Table")):
                    # The same task whatever the order.
                    table.first().go_to(tree_id)
                await pilot.press(key)
                await settle(app, pilot)
            path = FOLDER / f"{name}.svg"
            path.write_text(stable(svg_of(app)), encoding="utf-8")
            print(path, file=sys.stderr)


async def settle(app: Inspector, pilot: Pilot[None]) -> None:
    """Wait until nothing is on its way to the screen."""
    await pilot.pause()
    if isinstance(app.screen, StepScreen) and app.screen.reader is not None:
        await asyncio.to_thread(app.screen.reader.join)
    await pilot.pause()


def stable(svg: str) -> str:
    """The same picture with the same names inside, so that only real changes are changes."""
    return re.sub(r"terminal-\d+", "terminal", svg)


def main() -> None:
    """Draw all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--db", type=Path, help="a database with a finished run")
    parser.add_argument("--run", default="latest", help="which run to show")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    with Store.open(options.db or make_database(), create=False) as store:
        run_id = get_run(store, options.run).id
        for light in (False, True):
            asyncio.run(draw(store, run_id, light=light))


if __name__ == "__main__":
    main()
