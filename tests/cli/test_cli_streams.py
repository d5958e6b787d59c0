"""What reaches the terminal, a pipe or a full device; what Ctrl-C leaves behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.actors import registry as actors
from agentr_lite.core.tasks import Task
from agentr_lite.envs import registry as environments
from agentr_lite.envs.base import StepResult
from agentr_lite.store import Store, runs
from tests.support import loop_case
from tests.support.command_line import Call, one_error
from tests.support.corridor import Corridor
from tests.support.tiny_gguf import write_tiny_model

# Everything that moves a cursor, reorders a line or hides text, but for the newline.
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200f]")
HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\x9b31m\u202e[bold]"


def spawn(*arguments: object, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agentr_lite", *map(str, arguments)]
    return subprocess.run(command, **{"text": True, "check": False, "timeout": 300, **more})


class Haunted(Corridor):
    """A corridor whose every word is hostile."""

    def tasks(self, split: str) -> Sequence[Task]:
        return [
            Task(task.name + HOSTILE, split, task.goal + HOSTILE, task.level, task.payload)
            for task in super().tasks(split)
        ]

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        observation, info = super().reset(task, seed=seed)
        return observation + HOSTILE, info

    def step(self, action: str) -> StepResult:
        if self._state.length == 5:
            raise RuntimeError(HOSTILE)
        result = super().step(action.removesuffix("!"))
        return result._replace(observation=result.observation + HOSTILE)

    def instructions(self, *, brief: bool = False) -> str:
        return super().instructions(brief=brief) + HOSTILE


class TestHostileText:
    @pytest.fixture
    def haunted(
        self, loop: Call, tmp_path: Path, db: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[tuple[int, str, str]]:
        monkeypatch.setitem(environments._BUILT_IN, "haunted", f"{__name__}:Haunted")

        class Player(loop_case.Player):
            def _play(self, messages: Any, seed: int) -> str:
                thought = super()._play(messages, seed).replace("Thought:", f"Thought: {HOSTILE}")
                return f"{thought}!"

        monkeypatch.setattr(actors, "open_actor", lambda recipe: Player())
        recipe = loop_case.write_recipe(tmp_path / "case")
        yield loop("run", recipe, "--set", "env=haunted", "-d", db)

    def test_never_reaches_the_terminal_raw(
        self, haunted: tuple[int, str, str], loop: Call, db: Path
    ) -> None:
        code, out, err = haunted
        assert code == 5, err
        assert not RAW.search(out + err)
        tree = json.loads(loop("trees", "-d", db, "--json")[1])[0]["id"]
        for words in [
            ("report",),
            ("report", "--md"),
            ("report", "--json"),
            ("runs", "show"),
            ("runs", "show", "--json"),
            ("trees",),
            ("trees", "--json"),
            ("trees", "latest", "--tree", tree, "--observations", "--all"),
            ("trees", "latest", "--tree", tree, "--json"),
            ("export", "-o", "-", "--kind", "all"),
            ("export", "-o", "-", "--format", "agent-r"),
            ("envs", "show", "haunted"),
            ("envs", "show", "haunted", "--json"),
            ("envs", "show", "haunted", "--tasks"),
            ("envs", "check", "haunted"),
        ]:
            place = () if words[0] == "envs" else ("-d", db)
            _, out, err = loop(*words, *place)
            assert out
            assert not RAW.search(out), words
            assert not RAW.search(err), words
        assert "\\x1b[2J" in loop("trees", "latest", "--tree", tree, "--all", "-d", db)[1]

    def test_json_keeps_it_whole(self, haunted: tuple[int, str, str], loop: Call, db: Path) -> None:
        found = json.loads(loop("trees", "-d", db, "--json")[1])
        assert all(row["task"]["goal"].endswith(HOSTILE) for row in found)

    def test_on_the_command_line(self, cli: Call, db: Path) -> None:
        for words in (
            ("run", HOSTILE),
            (HOSTILE,),
            ("run", "textcraft", "--set", HOSTILE),
            ("run", "textcraft", "--set", f"search.{HOSTILE}=1"),
            ("run", "textcraft", f"--{HOSTILE}"),
            ("search", "textcraft", "--model", HOSTILE),
            ("trees", HOSTILE),
            ("recipes", "show", HOSTILE),
            ("runs", "-d", db.with_name(HOSTILE)),
        ):
            _, out, err = cli(*words)
            assert not RAW.search(out + err), words


class TestStreams:
    def test_errors_go_to_stderr_and_data_to_stdout(self, loop: Call, filled: Path) -> None:
        code, out, err = loop("runs", "-d", filled)
        assert (code, err) == (0, "") and "corridor-" in out

    def test_no_color(self, filled: Path) -> None:
        """Colour on a terminal, none with NO_COLOR, none in a pipe."""
        pty = pytest.importorskip("pty", reason="needs a POSIX terminal")

        def on_terminal(**more: str) -> bytes:
            ours, theirs = pty.openpty()
            env = {**os.environ, "TERM": "xterm-256color", **more}
            words = [sys.executable, "-m", "agentr_lite", "envs", "check", "textcraft", "--quick"]
            words += ["--episodes", "1"]
            subprocess.run(words, stdout=theirs, stderr=theirs, env=env, check=True)
            os.close(theirs)
            text = b""
            while True:
                try:
                    part = os.read(ours, 65536)
                except OSError:  # Linux: the other end is closed
                    break
                if not part:
                    break
                text += part
            os.close(ours)
            return text

        assert b"\x1b[32mok" in on_terminal()
        plain = on_terminal(NO_COLOR="1")
        assert b"ok" in plain and b"\x1b" not in plain
        assert b"\x1b" in on_terminal(NO_COLOR="")

    @pytest.mark.parametrize("words", [("trees", "--json"), ("report",), ("export", "-o", "-")])
    def test_a_reader_that_went_away(self, filled: Path, words: tuple[str, ...]) -> None:
        read, write = os.pipe()
        os.close(read)
        done = spawn(*words, "-d", filled, stdout=write, stderr=subprocess.PIPE)
        os.close(write)
        assert done.stderr in ("", _narration(done.stderr))
        assert done.returncode == 1

    def test_nowhere_to_narrate_to(self, filled: Path) -> None:
        read, write = os.pipe()
        os.close(read)
        done = spawn("runs", "show", "nonsense", "-d", filled, stdout=write, stderr=write)
        os.close(write)
        assert done.returncode == 2

    def test_a_full_device(self) -> None:
        if not Path("/dev/full").exists():
            pytest.skip("this system has no /dev/full")
        with open("/dev/full", "w") as full:  # noqa: PTH123
            done = spawn("recipes", "show", "textcraft", stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 1
        assert one_error(done.stderr) == "Error: No space left on device"
        assert "Exception ignored" not in done.stderr

    def test_closed_streams(self) -> None:
        for close in (">&-", "2>&-", ">&- 2>&-"):
            command = f'"$0" -m agentr_lite recipes show textcraft {close}'
            done = subprocess.run(
                ["sh", "-c", command, sys.executable], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0 and done.stderr == ""

    def test_a_narrow_encoding(self) -> None:
        env = {**os.environ, "PYTHONIOENCODING": "latin-1"}
        words = ("run", "textcraft", "--plan", "--no-probe")
        done = spawn(*words, capture_output=True, env=env, encoding="latin-1")
        assert done.returncode == 0
        assert "\\u2192 splice" in done.stdout

    def test_json_errors_are_all_of_stdout(self, cli: Call, db: Path) -> None:
        db.write_text("Dear diary, " * 100)
        for words, kind in [
            (("runs", "-d", db), "store"),
            (("run", "textcraft", "--set", "x=1"), "recipe"),
            (("nonsense",), "usage"),
            (("eval",), "usage"),
        ]:
            code, out, err = cli(*words, "--json")
            assert code != 0 and err == ""
            assert list(json.loads(out)) == ["error"]
            assert json.loads(out)["error"]["kind"] == kind


def _narration(text: str) -> str:
    """``text``, if it holds no error."""
    assert "Error" not in text and "Traceback" not in text and "Exception" not in text
    return text


class TestInterrupts:
    @pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
    def test_the_real_engine(self, tmp_path: Path, db: Path, sent: signal.Signals) -> None:
        """Ctrl-C while llama.cpp decodes: exit 130, what is done is kept, the way on is named."""
        model = write_tiny_model(tmp_path / "tiny.gguf")
        words = ["eval", "textcraft", "--model", model, "-d", db]
        command = [sys.executable, "-m", "agentr_lite", *map(str, words)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None and process.stdout is not None
            line = process.stderr.readline()
            assert "evaluating the base model" in line
            process.send_signal(sent)
            out, err = process.stdout.read(), process.stderr.read()
        assert process.returncode == 130
        assert out == ""
        assert "Traceback" not in err
        assert "Go on with: agentr-lite eval textcraft-" in err
        with Store.open(db, create=False) as store:
            assert runs.get_run(store, "latest").status == "interrupted"

    def test_before_anything_began(
        self, cli: Call, monkeypatch: pytest.MonkeyPatch, db: Path
    ) -> None:
        def interrupted(*_: Any, **__: Any) -> Any:
            raise KeyboardInterrupt

        monkeypatch.setattr(Store, "open", interrupted)
        code, out, err = cli("runs", "show", "-d", db)
        assert (code, out) == (130, "") and one_error(err) == "Error: interrupted"
        code, out, _ = cli("runs", "show", "-d", db, "--json")
        assert code == 130 and json.loads(out)["error"]["kind"] == "interrupted"

    def test_no_is_an_answer(
        self, loop: Call, filled: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("click.confirm", lambda *_, **__: False)
        code, _, err = loop("runs", "delete", "latest", "-d", filled)
        assert code == 0 and "Nothing was deleted" in err
        assert "corridor-" in loop("runs", "-d", filled)[1]
