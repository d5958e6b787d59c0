"""Every screen, as text, at two sizes: golden pictures."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from pathlib import Path

import pytest
from agentr_lite_tui.app import Inspector
from agentr_lite_tui.screens.step import StepScreen
from textual.pilot import Pilot

from agentr_lite.store import Store
from tests.support.corridor import Corridor
from tests.support.inspector_cases import SMALL, STANDARD, drive, make_run, picture, press

GOLDEN = Path(__file__).parents[1] / "golden"

# What to press, from the list of runs; the pictures are taken in this order.
TOUR: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("runs", ()),
    ("tasks", ("enter",)),
    ("tasks of round 1, unsolved", ("left_square_bracket", "u")),
    ("tree", ("u", "right_square_bracket", "end", "enter")),
    ("tree at a bad leaf", ("b",)),
    ("tree by value, conversation", ("s", "s", "c")),
    ("tree, chains unfolded, seldom visited hidden", ("z", "m", "m", "home")),
    ("search", ("m", "m", "m", "z", "slash", *"forw")),
    ("one step", ("enter", "escape", "c", "g", "enter")),
    ("splices", ("escape", "escape", "v")),
    ("splice", ("enter",)),
    ("splice, recovered", ("right",) * 4),
    ("splice, result", ("r",)),
    ("evaluations", ("escape", "escape", "e")),
    ("losses", ("tab", "end")),
    ("task by task", ("tab", "t", "u")),
    ("episodes", ("escape", "end", "enter")),
    ("episode", ("enter", "right", "right")),
    ("help", ("question_mark",)),
    ("palette", ("escape", "ctrl+p", *"conv")),
    ("delete", ("escape", "escape", "escape", "escape", "escape", "D")),
)


def tour(path: Path, run_id: str, size: tuple[int, int]) -> str:
    """All pictures, one below the other."""
    pictures = []

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        for name, keys in TOUR:
            await press(pilot, *keys)
            if isinstance(app.screen, StepScreen) and app.screen.reader is not None:
                await asyncio.to_thread(app.screen.reader.join)
                await press(pilot)
            pictures.append(f"==== {name}\n{picture(app)}\n")

    drive(path, script, size=size, remove=str)
    # A run's id tells when it began; it is as long on every machine.
    return "\n".join(pictures).replace(run_id, re.sub(r"\d{8}-\w{4}$", "20260101-0000", run_id))


def golden_file(size: tuple[int, int]) -> Path:
    return GOLDEN / f"inspector-{size[0]}x{size[1]}.txt"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("inspector") / "runs.db"
    with Store.open(path) as store:
        return path, make_run(store)


@pytest.fixture(autouse=True)
def known_corridor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own environment is in no registry."""
    monkeypatch.setattr("agentr_lite_tui.state_reader.replays_quickly", lambda name: True)
    monkeypatch.setattr("agentr_lite_tui.state_reader.make_env", lambda name, options: Corridor())


@pytest.mark.parametrize("size", [STANDARD, SMALL], ids=["100x24", "80x24"])
def test_pictures(made: tuple[Path, str], size: tuple[int, int]) -> None:
    assert tour(*made, size) == golden_file(size).read_text()


@pytest.mark.parametrize("size", [(40, 10), (200, 60)], ids=str)
def test_other_sizes_do_not_break_it(made: tuple[Path, str], size: tuple[int, int]) -> None:
    text = tour(*made, size)
    assert text.count("==== ") == len(TOUR)
    assert "Traceback" not in text


if __name__ == "__main__":
    # After a wanted change: draw the pictures anew and read the difference.
    patch = pytest.MonkeyPatch()
    patch.setattr("agentr_lite_tui.state_reader.replays_quickly", lambda name: True)
    patch.setattr("agentr_lite_tui.state_reader.make_env", lambda name, options: Corridor())
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "runs.db"
        with Store.open(database) as opened:
            made_run = make_run(opened)
        for wanted in (STANDARD, SMALL):
            golden_file(wanted).write_text(tour(database, made_run, wanted))
            sys.stderr.write(f"{golden_file(wanted)}\n")
