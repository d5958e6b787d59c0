"""Every call of a plugin x everything it can raise or return: an exit code and no trace."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentr_lite.agent import boundary
from agentr_lite.envs import registry
from tests.support.command_line import Call
from tests.support.faulty_env import CALLS, FAULTS
from tests.support.loop_case import install

EVERYTHING = bool(os.environ.get("FAULTY_PLUGINS_ALL"))
"""Try all faults at all calls (minutes), instead of every seventh."""
_SEARCH = ("search.tasks=2", "search.simulations=2", "search.width=2", "search.depth=3")
_EVAL = ("eval.tasks=2", "eval.max_steps=3", "eval.samples=0", "eval.batch=1")


@pytest.fixture
def faulty(loop: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    install(monkeypatch.setattr)
    known = {**registry._BUILT_IN, "faulty": "tests.support.faulty_env:make"}
    monkeypatch.setattr(registry, "_BUILT_IN", known)
    return loop


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_call_is_no_crash(
    faulty: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Each fault costs its task or ends the command with a message; nothing of it is data."""
    # A list without an end is given up after this many.
    monkeypatch.setattr(boundary, "MAX_TASKS", 100)
    monkeypatch.setattr(boundary, "MAX_ACTIONS", 100)
    wrong = []
    chosen = list(FAULTS) if EVERYTHING else list(FAULTS)[CALLS.index(call) % 7 :: 7]
    for number, fault in enumerate(chosen):
        if (call, fault) == ("constructor", "endless"):
            continue
        own = ("-o", f"call={call}", "-o", f"fault={fault}", "-o", "time_limit_s=2")
        if call == "time_limit_s":
            own = own[:-2]
        db = tmp_path / f"{number}.db"
        commands = [("envs", "check", "faulty", "--episodes", "1", "--quick", *own)]
        grammar = ("--set", "agent.grammar=env") if call == "grammar" else ()
        sets = [word for key in (*_SEARCH, *_EVAL) for word in ("--set", key)]
        if call in ("solve", "plan", "valid_actions", "describe_state"):
            commands += [("play", "faulty", *own), ("envs", "show", "faulty", *own)]
        else:
            commands += [
                ("search", "faulty", "--recipe", "smoke", *sets, *grammar, *own, "-d", db),
                ("eval", "faulty", "--recipe", "smoke", *sets, *grammar, *own, "-d", db),
            ]
        commands.append(("demos", "make", "faulty", "--tasks", "2", *own, "-d", db))
        for words in commands:
            monkeypatch.setattr("sys.stdin", io.StringIO("?\nforward\n??\n:undo\n:quit\n"))
            try:
                code, out, err = faulty(*words, *(("--json",) if words[0] != "play" else ()))
            except BaseException as error:
                wrong.append((fault, words[0], type(error).__name__, str(error)[:200]))
                if isinstance(error, KeyboardInterrupt):
                    raise
                continue
            if code not in (0, 1, 2, 5) or "Traceback" in err:
                wrong.append((fault, words[0], code, err[-300:]))
            if words[0] != "play" and not isinstance(json.loads(out), dict | list):
                wrong.append((fault, words[0], code, out[:200]))
            if code == 0 and out == "":
                wrong.append((fault, words[0], code, "nothing printed"))
    assert wrong == []


PLUGIN = """
import os, sys
{at_import}
from tests.support.corridor import Corridor


class Game(Corridor):
    name = "game"

    def __init__(self):
        {in_constructor}
        super().__init__()

    def step(self, action):
        os.system("echo from a child")
        os.write(1, b"to the descriptor\\n")
        print("to stdout")
        return super().step(action)

    def close(self):
        {in_close}
"""


@pytest.mark.parametrize(
    ("place", "code"),
    [("", 0), ("at_import", 1), ("in_constructor", 1), ("in_close", 0)],
)
def test_a_plugin_that_exits(tmp_path: Path, place: str, code: int) -> None:
    places = dict.fromkeys(("at_import", "in_constructor", "in_close"), "print('hello')")
    if place:
        places[place] = "print('hello'); os.write(1, b'x'); sys.exit(0)"
    path = tmp_path / "game.py"
    path.write_text(PLUGIN.format(**places))
    words = ["envs", "show", str(path), "--json", "--task", "corridor-3-1"]
    ended = subprocess.run(
        [sys.executable, "-m", "agentr_lite", *words], capture_output=True, text=True, check=False
    )
    data = json.loads(ended.stdout)
    assert "Traceback" not in ended.stderr
    assert ended.returncode == code
    if code:
        assert "SystemExit: 0" in data["error"]["message"]
    else:
        assert "hello" in ended.stderr
        assert ("close() raised SystemExit: 0" in ended.stderr) == (place == "in_close")


def test_only_data_is_on_stdout(tmp_path: Path) -> None:
    path = tmp_path / "game.py"
    path.write_text(
        PLUGIN.format(at_import="os.system('echo import')", in_constructor="", in_close="pass")
    )
    words = ["envs", "check", str(path), "--json", "--episodes", "1", "--quick"]
    ended = subprocess.run(
        [sys.executable, "-m", "agentr_lite", *words], capture_output=True, text=True, check=False
    )
    assert "findings" in json.loads(ended.stdout)
    for words_of_plugin in ("import", "from a child", "to the descriptor", "to stdout"):
        assert words_of_plugin in ended.stderr


NOISY = """
import atexit, logging, os, sys, threading, weakref
from tests.support.corridor import Corridor

kept, real = sys.stdout, sys.__stdout__
log = logging.getLogger("noisy")
for stream in (kept, real):
    log.addHandler(logging.StreamHandler(stream))
atexit.register(print, "at exit")
atexit.register(lambda: sys.__stdout__.write("real at exit\\n"))
atexit.register(lambda: os.system("echo child at exit"))


def talk():
    while True:
        print("from a thread")
        wait.wait(0.002)


wait = threading.Event()
threading.Thread(target=talk, daemon=True).start()


class Game(Corridor):
    name = "game"

    def __init__(self):
        super().__init__()
        weakref.finalize(self, print, "finalized")

    def __del__(self):
        print("deleted")

    def step(self, action):
        log.warning("logged")
        kept.write("kept\\n")
        sys.__stdout__.write("real\\n")
        return super().step(action)
"""


@pytest.mark.parametrize("verb", ["check", "show"])
def test_whatever_a_plugin_prints_to_is_not_stdout(tmp_path: Path, verb: str) -> None:
    """Threads, finalizers, handlers and what is kept of the streams: none of them is the data's."""
    path = tmp_path / "game.py"
    path.write_text(NOISY)
    words = ["envs", verb, str(path), "--json"]
    words += ["--episodes", "2", "--quick"] if verb == "check" else []
    ended = subprocess.run(
        [sys.executable, "-m", "agentr_lite", *words], capture_output=True, text=True, check=False
    )
    assert isinstance(json.loads(ended.stdout), dict)
    said = ["from a thread", "at exit", "real at exit", "child at exit"]
    said += ["logged", "kept", "real"] if verb == "check" else []
    # The thread may write in the middle of another's line.
    for words_of_plugin in said:
        assert words_of_plugin in ended.stderr


def test_help_is_data(tmp_path: Path) -> None:
    for words in (["--help"], ["--version"], ["envs", "--help"], ["envs", "show", "--help"]):
        ended = subprocess.run(
            [sys.executable, "-m", "agentr_lite", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stderr) == (0, "") and ended.stdout


@pytest.mark.parametrize("words", [["run", b"text\xffcraft"], ["runs", "-d", b"\xff.db"]])
def test_bytes_that_are_no_text_end_with_2(words: list[str | bytes], tmp_path: Path) -> None:
    command = [os.fsencode(word) for word in (sys.executable, "-m", "agentr_lite", *words)]
    ended = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path)
    assert ended.returncode == 2 and ended.stdout == b""
    assert b"is not valid UTF-8" in ended.stderr and b"Traceback" not in ended.stderr
