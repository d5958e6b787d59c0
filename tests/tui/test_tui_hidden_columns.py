"""What a narrow terminal hides is said on every screen with a table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from agentr_lite_tui.app import Inspector
from agentr_lite_tui.widgets.bars import Caption, _hidden_note
from agentr_lite_tui.widgets.table import Table
from textual.pilot import Pilot

from agentr_lite.store import Store
from tests.support.inspector_cases import drive, make_run, picture, press

LISTS = {
    "runs": (),
    "tasks": ("enter",),
    "splices": ("enter", "v"),
    "evaluations": ("e",),
    "task by task": ("e", "t"),
    "episodes": ("e", "enter"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with one run."""
    path = tmp_path_factory.mktemp("inspector") / "runs.db"
    with Store.open(path) as store:
        make_run(store)
    return path


@pytest.mark.parametrize("screen", LISTS)
def test_hidden_columns_are_named_below_the_table_or_in_the_help(made: Path, screen: str) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, *LISTS[screen])
        table = app.screen.query_one(Table)

        def missing() -> list[str]:
            widths = table._widths(table.line_width)
            return [c.title for c, room in zip(table._columns, widths, strict=True) if not room]

        await pilot.resize_terminal(46, 24)
        await press(pilot)
        hidden = missing()
        assert hidden and list(app.screen.query_one(Caption).hidden) == hidden
        await press(pilot, "question_mark")
        shown = " ".join(re.sub(r"[│▁-█]", " ", picture(app)).split())
        assert f"terminal is narrow: {hidden[0]}" in shown
        await press(pilot, "escape")
        # The caption follows the terminal's size.
        await pilot.resize_terminal(200, 60)
        await press(pilot)
        assert list(app.screen.query_one(Caption).hidden) == missing()
        assert "hidden" not in picture(app) or missing()

    drive(made, script)


@pytest.mark.parametrize(
    ("titles", "room", "text"),
    [
        ((), 80, ""),
        (("stage", "env"), 19, "hidden: stage, env "),
        (("stage", "env"), 18, "2 columns hidden "),
        (("interval",), 16, "1 column hidden "),
        (("stage", "env"), 16, ""),
    ],
)
def test_the_caption_names_hidden_columns_where_it_has_room(
    titles: tuple[str, ...], room: int, text: str
) -> None:
    assert "".join(part for part, _ in _hidden_note(titles, room)) == text
