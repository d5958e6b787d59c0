"""The soak finds what it is made to find, and draws the same from the same seed."""

from __future__ import annotations

import random
import sqlite3
import sys
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.soak import actions, cases, flips
from tests.soak.__main__ import main
from tests.soak.driver import Soak, Tally
from tests.soak.kills import Killed, Kills, Moment
from tests.soak.kind import Bench, Kind, Outcome
from tests.soak.kinds import KINDS
from tests.soak.program import Running


@dataclass
class Counting(Kind[int]):
    """Draws a number; one of them is a fault."""

    name: str
    share: float = 1.0
    wrong: int = -1

    def draw(self, rng: random.Random) -> int:
        return rng.randrange(10**9)

    def check(self, scenario: int, bench: Bench) -> Outcome:
        (bench.folder / "trace").touch()
        if scenario == self.wrong:
            raise ZeroDivisionError("planted")
        return Outcome(Counter(numbers=1))


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    with ExitStack() as stack:
        (tmp_path / "trial").mkdir()
        yield Bench(tmp_path / "trial", tmp_path / "shared", {}, stack)


def ended(program: str, folder: Path, **limits: float) -> Any:
    return Running([], program=["-c", program], folder=folder).ended(**limits)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_seed_is_a_scenario(kind: Kind[Any]) -> None:
    first, second, other = (kind.draw(random.Random(seed)) for seed in ("1", "1", "2"))
    assert repr(first) == repr(second) != repr(other)


def test_a_failure_names_its_seed_and_keeps_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = Counting("numbers").draw(random.Random("numbers/42"))
    soak = Soak([Counting("numbers", wrong=wrong), Counting("others")], 40, tmp_path)
    soak.run(count=5)
    assert [failure.seed for failure in soak.failures] == [42]
    assert [path.name for path in tmp_path.iterdir()] == ["numbers-42"]
    again = Soak([Counting("numbers", wrong=wrong)], 42, tmp_path)
    again.run(count=1)
    assert again.failures[0].fault == soak.failures[0].fault
    summary = soak.summary()
    assert "numbers: 5 trials (seeds 40 to 44), 1 failed" in summary and "4 numbers" in summary
    assert "ZeroDivisionError: planted" in summary
    assert "python -m tests.soak --only numbers --seed 42 --count 1" in summary
    assert "FAILED numbers, seed 42" in capsys.readouterr().err


def test_every_kind_gets_its_share() -> None:
    kinds = [Counting("often", share=3), Counting("seldom", share=1)]
    soak = Soak(kinds, 0, Path())
    soak.tallies = {"often": Tally(5, 0, 29.0), "seldom": Tally(5, 0, 10.0)}
    assert soak._next(10.0, 0) is kinds[0]
    soak.tallies["often"].seconds = 31.0
    assert soak._next(10.0, 0) is kinds[1]
    assert soak._next(0.0, 0) is None
    soak.tallies["seldom"] = Tally()
    assert soak._next(0.0, 0) is kinds[1], "each kind is tried once"


def test_what_is_wrong_with_a_command(tmp_path: Path) -> None:
    assert ended("pass", tmp_path).judged() == []
    [crash] = ended("raise ValueError('x')", tmp_path).judged()
    assert "a traceback" in crash and "ValueError: x" in crash
    [code] = ended("raise SystemExit(7)", tmp_path).judged()
    assert "exit code 7" in code
    assert ended("raise SystemExit(5)", tmp_path).judged(0, 5) == []
    assert len(ended("raise SystemExit(5)", tmp_path).judged(0)) == 1
    hang = ended("import time; time.sleep(600)", tmp_path, deadline_s=0.5)
    assert "still at work" in hang.faults[0] and hang.code < 0
    assert "time.sleep" in hang.err or "Fatal Python error" in hang.err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_a_process_left_behind_is_found_and_ended(tmp_path: Path) -> None:
    child = "import time; time.sleep(600)"
    program = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)\n"
        "print(child.pid)\n"
    )
    found = ended(program, tmp_path, left_s=1.0)
    [fault] = found.faults
    assert "1 processes left behind" in fault and "time.sleep" in fault
    command = Path(f"/proc/{found.out.strip()}/cmdline")
    # Nobody may have waited for it yet.
    assert not command.exists() or command.read_bytes() == b""


def test_a_killed_run_goes_on_and_a_difference_is_found(bench: Bench) -> None:
    moments = (Moment(0, 0.5, "statement", False), Moment(0, 0.8, "statement", False))
    outcome = Kills().check(Killed(cases.ONE.name, moments), bench)
    assert outcome.faults == []
    assert outcome.counts["kills"] == 2
    whole = cases.reference(cases.ONE, bench)
    db = bench.folder / "runs.db"
    assert cases.difference_from(cases.ONE, whole, db) == []
    with closing(sqlite3.connect(db)) as conn:
        conn.execute("UPDATE nodes SET visits = visits + 1 WHERE idx = 2")
        conn.commit()
    [difference] = cases.difference_from(cases.ONE, whole, db)
    assert "not what an uninterrupted run stores: row " in difference
    [adapter, *_] = db.with_name("runs.db-artifacts").rglob("adapter.gguf")
    adapter.write_bytes(b"x")
    assert cases.first_difference(whole.stored[-2:], cases.ONE.stored(db)[-2:])


def test_the_first_difference() -> None:
    assert cases.first_difference(["a", "b"], ["a", "b"]) == ""
    assert "row 1 from character 2" in cases.first_difference(["a", "xxb"], ["a", "xxc"])
    assert "1 rows expected, 2 found" in cases.first_difference(["a"], ["a", "b"])


@pytest.mark.parametrize("way", flips.WAYS)
def test_damage_changes_bytes(way: str) -> None:
    whole = random.Random(1).randbytes(5 * 4096)
    data = bytearray(whole)
    flips.damage(data, way, 0.5, 0.1)
    assert bytes(data) != whole
    assert (len(data) < len(whole)) == (way == "cut")


def test_actions_are_played(bench: Bench) -> None:
    outcome = actions.Actions().check(actions.Fuzzed("textcraft", 3), bench)
    assert outcome.faults == [] and outcome.counts["in textcraft"] == actions.ACTIONS


def test_the_command_prints_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--only", "plugins", "--count", "1", "--seed", "1", "--work", str(tmp_path / "work")]
    assert main(words) == 0
    assert "plugins: 1 trials (seeds 1 to 1), 0 failed" in capsys.readouterr().out
