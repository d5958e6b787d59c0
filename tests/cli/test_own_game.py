"""A game from a file: what the program says where it raises, and which model plays it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentr_lite.actors import registry as actors
from agentr_lite.actors.mock import MockActor
from tests.support.command_line import Call

GAME = """\
from agentr_lite.envs.base import Environment, StepResult, Task


def broken(count):
    return 1 // (count - 1)


class Game(Environment):
    name = "game"

    def tasks(self, split):
        return [Task(f"{split}{i}", split, "win") for i in range(2)]

    def reset(self, task, *, seed=0):
        self.count = 0
        return "Begin.", {}

    def step(self, action):
        self.count += 1
        broken(self.count)
        return StepResult("Lost.", 0.0, True, False, {})

    def instructions(self, *, brief=False):
        return "Say go."

    def valid_actions(self):
        return ["go"]
"""
LINE = "raised ZeroDivisionError: integer division or modulo by zero (game.py:5, in broken)"
SMALL = ("--set", "search.tasks=2", "--set", "search.simulations=1", "--set", "search.depth=2")


@pytest.fixture
def game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(
        actors, "open_actor", lambda recipe: MockActor(lambda *_: "Thought: a\nAction: go")
    )
    path = tmp_path / "game.py"
    path.write_text(GAME)
    return path


def test_the_line_that_raised_is_named_everywhere(cli: Call, game: Path, db: Path) -> None:
    code, out, _ = cli("envs", "check", game, "--json")
    details = [finding["detail"] for finding in json.loads(out)["findings"]]
    assert code == 1 and any(LINE in detail for detail in details)

    code, _, err = cli("search", game, "-d", db, *SMALL)
    assert code == 1 and "Traceback" not in err
    [first, _] = json.loads(cli("trees", "-d", db, "--json")[1])
    assert first["error"] == f"environment 'game': step('go') {LINE}"
    assert "game.py:5" in cli("trees", "-d", db)[1]

    code, _, err = cli("eval", game, "-d", db, "--json", "--no-recovery")
    # All of its episodes failed.
    assert code == 1 and f"environment 'game': step('go') {LINE}" in err


def test_debug_shows_the_whole_traceback(cli: Call, game: Path, db: Path) -> None:
    for words in (("envs", "check", game), ("search", game, "-d", db, *SMALL)):
        _, _, err = cli(*words, "--debug")
        assert "Traceback (most recent call last)" in err
        assert f'File "{game}", line 5, in broken' in err
    code, out, err = cli("run", "nothing", "--debug", "--json")
    assert code == 2 and "UsageError" in err
    assert json.loads(out)["error"]["kind"] == "usage"
    assert "Traceback" not in cli("run", "nothing")[2]


def test_the_bundled_model_does_not_play_an_unknown_game_unsaid(
    cli: Call, game: Path, db: Path
) -> None:
    _, _, err = cli("search", game, "-d", db, *SMALL)
    assert "the bundled model plays, but it has never seen" in err and "--model" in err
    _, _, err = cli("search", "textcraft", "-d", db, *SMALL)
    assert "never seen" not in err


def test_a_run_on_a_broken_game_stops_and_says_so(cli: Call, game: Path, db: Path) -> None:
    code, _, err = cli("run", game, "-d", db, *SMALL, "--set", "eval.tasks=1")
    assert code == 1
    assert "the environment broke in all 2 trees" in err and "envs check" in err
