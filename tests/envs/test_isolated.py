"""Environments in a child process: the same results, and whatever happens there stays there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.agent.boundary import guarded_reset, guarded_step, guarded_tasks
from agentr_lite.core.errors import EnvironmentFault, UsageError
from agentr_lite.envs.base import Environment
from agentr_lite.envs.checker import check_environment
from agentr_lite.envs.isolated import IsolatedEnvironment
from agentr_lite.envs.registry import make_env

LIMIT_S = 2

GAME = '''
import ctypes, os, sys, threading, time
import numpy as np
from agentr_lite.envs.base import Environment, StepResult, Task
from agentr_lite.core.errors import UsageError


class Text(str):
    pass


class Held:
    """Only this file has it."""

    def __init__(self, at):
        self.at = at


class Game(Environment):
    name = "game"

    def __init__(self, size=3, close=""):
        if size < 0:
            raise UsageError("size must not be negative", hint="Use 0.")
        self.size, self.at, self.closing = size, 0, close
        print("made")
        os.system("echo from a child of the child")

    def tasks(self, split):
        if split == "odd":
            raise UsageError("no split odd")
        return [Task(f"t{n}", split, "go up", n, {"held": Held(n)}) for n in range(self.size)]

    def reset(self, task, *, seed=0):
        self.at = task.payload["held"].at
        return Text(f"at {self.at}"), {"np": np.float32(1), "odd": Held(1)}

    def step(self, action):
        if action == "crash":
            ctypes.string_at(0)
        if action == "abort":
            os.abort()
        if action == "exit":
            os._exit(0)
        if action == "sys.exit":
            sys.exit(0)
        if action == "hang":
            ctypes.PyDLL(None).sleep(100)  # holds the interpreter's lock
        if action == "spin":
            while True:
                try:
                    time.sleep(100)
                except BaseException:
                    continue
        if action == "raise":
            raise ZeroDivisionError("a bug")
        if action == "print":
            print("loud")
            os.write(1, b"to the descriptor\\n")
        self.at += 1
        info = {"x": Text("y")}
        return StepResult(f"at {self.at}", np.float64(0.5), np.bool_(False), False, info)

    def instructions(self, *, brief=False):
        return "brief" if brief else "long"

    def snapshot(self):
        return Held(self.at)

    def restore(self, snapshot):
        self.at = snapshot.at

    def solve(self, task):
        raise NotImplementedError

    def valid_actions(self):
        return ["up"]

    def close(self):
        if self.closing == "hang":
            threading.Event().wait()
        if self.closing == "raise":
            raise ValueError("not closed")
'''


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "game.py"
    path.write_text(GAME)
    return str(path)


@pytest.fixture
def env(file: str) -> Iterator[Environment]:
    with closing(make_env(file, {"isolate": True, "time_limit_s": LIMIT_S})) as made:
        yield made


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_plays_as_in_this_process(env: Environment, file: str) -> None:
    assert isinstance(env, IsolatedEnvironment) and env.name == "game"
    tasks = guarded_tasks(env, "train")
    assert [(task.name, task.level) for task in tasks] == [("t0", 0), ("t1", 1), ("t2", 2)]
    assert guarded_reset(env, tasks[2]) == "at 2"
    held = env.snapshot()
    result = guarded_step(env, "up")
    assert result == ("at 3", 0.5, False, False, {"x": "y"})
    env.restore(held)
    assert guarded_step(env, "up").observation == "at 3"
    assert (env.instructions(), env.instructions(brief=True)) == ("long", "brief")
    assert (env.valid_actions(), env.grammar(), env.describe_state()) == (["up"], "", "")
    with pytest.raises(NotImplementedError):
        env.solve(tasks[0])
    with pytest.raises(UsageError, match="no split odd"):
        env.tasks("odd")
    with closing(make_env(file, {"isolate": True})) as other:
        other.restore(held)
        assert other.step("up").observation == "at 3"


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("crash", "ended its process by SIGSEGV"),
        ("abort", "ended its process by SIGABRT"),
        ("exit", "ended its process with exit code 0"),
        ("hang", "took longer than 2 s"),
        ("spin", "took longer than 2 s"),
        ("raise", "raised ZeroDivisionError: a bug"),
        ("sys.exit", "raised SystemExit: 0"),
    ],
)
def test_a_fault_costs_the_episode_only(env: Any, action: str, message: str) -> None:
    task = guarded_tasks(env, "train")[0]
    guarded_reset(env, task)
    held = env.snapshot()
    before = env.pid
    started = time.monotonic()
    with pytest.raises(EnvironmentFault, match=f"'game'.*{message}"):
        guarded_step(env, action)
    assert time.monotonic() - started < 5
    if "raised" not in message:
        assert not alive(before)
        with pytest.raises(EnvironmentFault, match=r"step\(\) has no episode"):
            env.step("up")
    env.restore(held)
    assert guarded_step(env, "up").observation == "at 1"
    assert guarded_reset(env, task) == "at 0"


def test_the_limit_holds_without_signals_too(env: Environment) -> None:
    from threading import Thread

    env.reset(env.tasks("train")[0])
    faults = []

    def play() -> None:
        try:
            guarded_step(env, "hang")
        except EnvironmentFault as fault:
            faults.append(fault.message)

    thread = Thread(target=play)
    thread.start()
    thread.join(10)
    assert len(faults) == 1 and "took longer than 2 s" in faults[0]


def test_what_it_prints_is_no_data(file: str, capfd: pytest.CaptureFixture[str]) -> None:
    with closing(make_env(file, {"isolate": True})) as env:
        env.reset(env.tasks("train")[0])
        env.step("print")
    out, err = capfd.readouterr()
    assert out == ""
    assert "made" in err and "from a child of the child" in err
    assert "loud" in err and "to the descriptor" in err


@pytest.mark.parametrize("close", ["", "hang", "raise"])
def test_closing_leaves_no_process(file: str, close: str) -> None:
    env: Any = make_env(file, {"isolate": True, "time_limit_s": LIMIT_S, "close": close})
    pid = env.pid
    if close:
        with pytest.raises(EnvironmentFault, match="'game': close"):
            env.close()
    env.close()
    assert not alive(pid)


def test_it_ends_with_its_parent(file: str) -> None:
    code = (
        "from agentr_lite.envs.registry import make_env\n"
        f"env = make_env({file!r}, {{'isolate': True}})\n"
        "print(env.pid, flush=True)\n"
        "env.reset(env.tasks('train')[0])\n"
        "env.step('spin')\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.5)
        parent.kill()
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


@pytest.mark.parametrize(
    ("text", "options", "kind", "message"),
    [
        ("raise SystemExit(0)", {}, EnvironmentFault, "SystemExit"),
        ("import os; os._exit(0)", {}, EnvironmentFault, "exit code 0"),
        ("import ctypes; ctypes.PyDLL(None).sleep(100)", {}, EnvironmentFault, "longer than 2 s"),
        (GAME, {"size": -1}, UsageError, "must not be negative"),
        (GAME, {"sizes": 1}, UsageError, "did you mean 'size'"),
        (GAME, {"isolate": "maybe"}, UsageError, "isolate needs true or false"),
        ("x = 1", {}, UsageError, "defines no environment"),
    ],
)
def test_what_cannot_be_made(
    tmp_path: Path, text: str, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(kind, match=message):
        make_env(str(path), {"isolate": True, "time_limit_s": LIMIT_S, **options})


def test_the_class_may_ask_for_it(tmp_path: Path) -> None:
    path = tmp_path / "game.py"
    path.write_text(GAME.replace('name = "game"\n', 'name = "game"\n    isolate = True\n'))
    with closing(make_env(str(path))) as env:
        assert isinstance(env, IsolatedEnvironment)
    with closing(make_env(str(path), {"isolate": False})) as env:
        assert not isinstance(env, IsolatedEnvironment)


def test_the_protocol_is_kept() -> None:
    options = {"isolate": True}
    with closing(make_env("textcraft", options)) as env:
        findings = check_environment(
            env, other=lambda: make_env("textcraft", options), episodes=3, solve_all=False
        )
    assert [finding for finding in findings if finding.failed] == []
