"""The preview of wide terminals, the live line, the palette and the help."""

from __future__ import annotations

import dataclasses
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from agentr_lite_tui.app import BINDINGS_BY_ID, Inspector
from agentr_lite_tui.error_reader import failing_step
from agentr_lite_tui.key_sentences import KEY_SENTENCES
from agentr_lite_tui.layout.documents import view_of_opening, view_of_step
from agentr_lite_tui.layout.live import QUIET_S, live_line
from agentr_lite_tui.screens.help import HelpScreen
from agentr_lite_tui.widgets.document_view import DocumentView
from textual.pilot import Pilot

from agentr_lite.core.steps import Step
from agentr_lite.store import Store, runs
from agentr_lite.store.live import LiveRow, get_live, save_live
from tests.support.inspector_cases import drive, make_run, picture, press
from tests.support.inspector_keys import covers, table

WIDE = (200, 60)
LIVE = LiveRow(
    "", 2, "search", "round 2 search, simulations", 12, 48, "now x step 3", 812.4, 40, 190
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("preview") / "runs.db"
    with Store.open(path) as store:
        return path, make_run(store)


def preview(app: Inspector) -> str:
    pane = app.screen.query_one("#preview", DocumentView)
    return "\n".join("".join(text for text, _ in line) for line in pane._lines)


@covers("preview.toggle")
@pytest.mark.parametrize("light", [False, True], ids=["dark", "light"])
def test_a_wide_terminal_shows_what_went_wrong(made: tuple[Path, str], light: bool) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        at = [column.key for column in table(app)._columns].index("error")
        seen = set()
        for row in table(app).rows:
            table(app).go_to(row.key)
            await press(pilot)
            shown = preview(app)
            if row.cells[at][0].startswith("step"):
                assert "critic ✗ bad" in shown and "── said" in shown
                seen.add("error")
            elif row.cells[at][0].startswith("no pair"):
                assert "No pair: " in shown
                seen.add("no pair")
        assert "error" in seen
        await press(pilot, "d")
        assert not app.screen.query_one("#preview").display
        await press(pilot, "d")
        assert app.screen.query_one("#preview").display
        await press(pilot, "v")
        assert "◀ t′" in preview(app) and "critic" in preview(app)
        await press(pilot, "escape", "e", "end", "enter")
        assert "── answer" in preview(app)
        await press(pilot, "escape", "t")
        assert "── answer" in preview(app)

    drive(made[0], script, run_id=made[1], size=WIDE, light=light)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_other_terminals_keep_the_room_for_the_list(
    made: tuple[Path, str], size: tuple[int, int]
) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        assert not app.screen.query_one("#preview").display
        assert not preview(app), "nothing is read for it either"
        await press(pilot, "d")
        assert not app.screen.query_one("#preview").display

    drive(made[0], script, run_id=made[1], size=size)


def test_which_step_of_an_episode_is_shown() -> None:
    fine = Step("Action: go", "go", "Gone.")
    start = view_of_opening("Do.", "At 0.")

    def shown(*steps: Step, given: int = 0) -> int:
        views = [start]
        for number, one in enumerate(steps, 1):
            views.append(view_of_step(number, one, saw="", is_given=number <= given))
        return failing_step(views).number

    invalid = dataclasses.replace(fine, action="fly", invalid=True)
    fatal = dataclasses.replace(fine, action="jump", disaster=True, terminated=True)
    other = dataclasses.replace(fine, action="look")
    assert shown(invalid, other, fatal) == 3
    assert shown(fine, other, invalid) == 3
    assert shown(other, fine, fine, other) == 3, "a step that repeats the one before it"
    assert shown(invalid, fine, other, given=1) == 3, "what was given is not the model's error"
    assert shown() == 0


def test_the_line_of_a_running_stage(made: tuple[Path, str]) -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    row = dataclasses.replace(LIVE, updated_utc=now.isoformat())
    left, right = ("".join(text for text, _ in part) for part in live_line(row, now))
    assert left == " ● round 2 search, simulations 12/48 · now x step 3"
    assert right == "812 tokens/s · 40s left, run 3m 10s "
    later = now + timedelta(seconds=QUIET_S + 60)
    assert "no news for 2m 00s" in live_line(row, later)[1][0][0]


@pytest.mark.parametrize("size", [(80, 24), (120, 40), WIDE])
def test_a_running_stage_says_what_it_does(
    tmp_path: Path, made: tuple[Path, str], size: tuple[int, int]
) -> None:
    path = tmp_path / "runs.db"
    path.write_bytes(made[0].read_bytes())
    with Store.open(path) as store:
        runs.set_run_status(store, made[1], "running")
        save_live(store, dataclasses.replace(LIVE, run_id=made[1]))

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        for keys in ((), ("enter",), ("enter",), ("escape", "e")):
            await press(pilot, *keys)
            lines = picture(app).splitlines()[1:3]
            now, rate = (lines[0], lines[1]) if size[0] < 88 else (lines[0], lines[0])
            assert "● round 2 search, simulations 12/48 · now x step 3" in now
            assert "812 tokens/s · 40s left, run 3m 10s" in rate
        with Store.open(path) as store:
            runs.set_run_status(store, made[1], "interrupted")
        app.poll()
        await press(pilot)
        assert "tokens/s" not in picture(app), "only of a run that runs"
        with Store.open(path) as store:
            assert get_live(store, made[1]) is not None

    drive(path, script, size=size)


def test_every_key_has_a_sentence() -> None:
    assert set(KEY_SENTENCES) == set(BINDINGS_BY_ID)
    assert all(text[0].isupper() and text.endswith(".") for text in KEY_SENTENCES.values())


PLACES = (
    (),
    ("enter",),
    ("enter",),
    ("enter",),
    ("escape", "escape", "v"),
    ("enter",),
    ("escape", "escape", "e"),
    ("enter",),
    ("b",),
    ("escape", "escape", "t"),
)
"""Keys that lead from the list of runs through every kind of screen."""


def test_the_palette_lists_nothing_twice_and_the_help_no_ids(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        seen = []
        for keys in PLACES:
            await press(pilot, *keys)
            commands = list(app.get_system_commands(app.screen))
            for twice in (Counter(c.title for c in commands), Counter(c.help for c in commands)):
                assert max(twice.values()) == 1, (app.screen, twice)
            await press(pilot, "question_mark")
            assert isinstance(app.screen, HelpScreen)
            lines = app.screen.query_one(DocumentView)._lines
            text = "\n".join("".join(part for part, _ in line) for line in lines)
            assert [name for name in BINDINGS_BY_ID if name in text] == []
            for word in ("t′", "alpha", "naive", "parting"):
                assert f"\n {word} " in text
            assert "Explains this screen, its keys and its signs." in " ".join(text.split())
            await press(pilot, "escape")
            seen.append(type(app.screen).__name__)
        assert len(set(seen)) == len(PLACES), seen

    drive(made[0], script)


def test_repeated_is_the_share_that_the_report_shows(made: tuple[Path, str]) -> None:
    with Store.open(made[0], read_only=True) as store:
        shares = [
            row[0]
            for row in store.rows(
                "SELECT json_extract(summary, '$.repeated_share') FROM evals"
                " WHERE run_id = ? ORDER BY round, mode",
                (made[1],),
            )
        ]

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "e")
        await press(pilot)
        assert [row.cells[-1][0] for row in table(app).rows] == [f"{s:.1%}" for s in shares]
        await press(pilot, "enter")
        assert all(row.cells[-1][0].endswith("%") for row in table(app).rows)

    drive(made[0], script, run_id=made[1])


@pytest.mark.parametrize(("rate", "shown"), [(None, False), (0.0, False), (41.6, True)])
def test_a_stage_that_generates_nothing_shows_no_rate(rate: float | None, shown: bool) -> None:
    row = LiveRow("run", 1, "train", "round 1 train, steps", 3, 9, "", rate, 60.0, None)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    _, right = live_line(dataclasses.replace(row, updated_utc=now.isoformat()), now)
    text = "".join(part for part, _ in right)
    assert "left" in text and ("42 tokens/s" in text) == ("tokens/s" in text) == shown
