"""Environments by name, plugins included."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any, ClassVar

import pytest

from agentr_lite.core.errors import EnvironmentFault, UsageError
from agentr_lite.core.tasks import Task
from agentr_lite.envs import registry
from agentr_lite.envs.base import Environment, StepResult
from agentr_lite.envs.registry import env_names, env_origin, find_task, make_env, path_options
from agentr_lite.envs.textcraft import TextCraft
from agentr_lite.envs.wrappers import ReplayEnvironment, ReplayLog


class Counting(Environment):
    """Counts to three; cannot save its state. ``drift`` makes it forget to be deterministic."""

    name: ClassVar[str] = "counting"
    resets = 0

    def __init__(self, drift: bool = False) -> None:
        self._drift = drift
        self._count = 0

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(f"{split}-three", split, "count to three")]

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        self._count = 0
        Counting.resets += 1
        return f"Count to three (seed {seed}).", {}

    def step(self, action: str) -> StepResult:
        self._count += action == "up"
        shown = f"{self._count}" + (f" of {Counting.resets}" if self._drift else "")
        won = self._count == 3
        return StepResult(shown, float(won), won, False, {})

    def instructions(self, *, brief: bool = False) -> str:
        return "Say up."

    def solve(self, task: Task) -> list[str]:
        return ["up"] * 3

    def describe_state(self) -> str:
        return str(self._count)


class Broken(Counting):
    def __init__(self) -> None:
        super().__init__()
        raise RuntimeError("no luck")


class Sleeper(Counting):
    seconds = 60.0

    def __init__(self) -> None:
        super().__init__()
        threading.Event().wait(self.seconds)


NOT_CALLABLE = 3


def not_an_environment() -> int:
    return 3


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints(
        EntryPoint(name, value, registry.ENTRY_POINT_GROUP)
        for name, value in {
            "counting": f"{__name__}:Counting",
            "broken": f"{__name__}:Broken",
            "sleeper": f"{__name__}:Sleeper",
            "missing": "no_such_package_at_all:Env",
            "number": f"{__name__}:NOT_CALLABLE",
            "three": f"{__name__}:not_an_environment",
            # Takes a built-in's name, in vain.
            "textcraft": f"{__name__}:Counting",
        }.items()
    )
    monkeypatch.setattr(registry, "entry_points", lambda group: points)


def test_names() -> None:
    known = {"broken", "counting", "missing", "number", "sleeper", "three"}
    assert env_names() == sorted({*known, *registry._BUILT_IN})
    assert env_origin("textcraft") == "built in"


def test_built_ins_are_found_without_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: EntryPoints())
    assert env_names() == sorted(registry._BUILT_IN)
    assert isinstance(make_env("textcraft"), TextCraft)


def test_options_reach_the_constructor() -> None:
    env = make_env("textcraft", {"max_commands": 5, "distractors": 0})
    assert isinstance(env, TextCraft)


@pytest.mark.parametrize(
    ("name", "options", "kind", "message"),
    [
        ("textcarft", {}, UsageError, "did you mean 'textcraft'"),
        ("textcraft", {"max_comands": 3}, UsageError, "did you mean 'max_commands'"),
        ("textcraft", {"max_commands": "three"}, UsageError, "whole number"),
        ("missing", {}, EnvironmentFault, "'missing': cannot load no_such_package_at_all"),
        ("broken", {}, EnvironmentFault, "'broken': cannot be made: RuntimeError: no luck"),
        ("number", {}, EnvironmentFault, "not a class or function"),
        ("three", {}, EnvironmentFault, "made a int"),
        ("textcraft", {"time_limit_s": -1}, UsageError, "time_limit_s needs a number of seconds"),
        ("textcraft", {"time_limit_s": "x"}, UsageError, "time_limit_s needs a number of seconds"),
        ("sleeper", {"time_limit_s": 0.05}, EnvironmentFault, "making it took longer than 0.05 s"),
        ("gymnasum:X", {}, UsageError, "did you mean 'gymnasium:ID'"),
        ("http://localhost:1", {}, UsageError, "no environment"),
        ("nowhere/jugs.py", {}, UsageError, "there is no file nowhere/jugs.py"),
    ],
)
def test_faults_are_named(
    name: str, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        make_env(name, options)


def test_a_limit_of_0_lifts_that_on_making_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Environment, "time_limit_s", 0.05)
    monkeypatch.setattr(Sleeper, "seconds", 0.2)
    with pytest.raises(EnvironmentFault, match=r"making it took longer than 0\.05 s"):
        make_env("sleeper")
    assert make_env("sleeper", {"time_limit_s": 0}).time_limit_s == 0


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("textcraft", ("recipes_dir",)),
        ("webshop", ("data_dir",)),
        ("textworld", ("games_dir",)),
        ("sciworld", ()),
        # Their code is not loaded: there is no such file.
        ("nowhere.py", Environment.path_options),
        ("gymnasium:Nowhere-v0", Environment.path_options),
    ],
)
def test_options_that_name_files_are_declared(name: str, options: tuple[str, ...]) -> None:
    assert path_options(name) == options


def test_find_task() -> None:
    env = make_env("textcraft")
    assert find_task(env, "ladder").name == "ladder"
    with pytest.raises(UsageError, match="did you mean 'ladder'"):
        find_task(env, "lader")
    with pytest.raises(UsageError, match="in its dev split"):
        find_task(env, "ladder", "dev")


def test_without_state_saving_snapshots_are_replayed() -> None:
    env = make_env("counting")
    assert isinstance(env, ReplayEnvironment)
    assert env.name == "counting"
    task = env.tasks("train")[0]
    env.reset(task, seed=5)
    env.step("up")
    held = env.snapshot()
    assert held == ReplayLog(task, 5, ("up",), ("1",))
    env.step("up")
    env.restore(held)
    assert env.describe_state() == "1"
    assert env.step("up").observation == "2"
    make_env("counting").restore(held)


def test_restoring_the_current_state_costs_nothing() -> None:
    env = make_env("counting")
    env.reset(env.tasks("train")[0])
    env.step("up")
    before = Counting.resets
    env.restore(env.snapshot())
    assert Counting.resets == before


def test_a_replay_that_goes_another_way_is_a_fault() -> None:
    env = make_env("counting", {"drift": True})
    env.reset(env.tasks("train")[0])
    env.step("up")
    held = env.snapshot()
    env.step("up")
    with pytest.raises(EnvironmentFault, match="another observation when it was repeated"):
        env.restore(held)


class Failing(Counting):
    """Changes its state and then fails, in the call that ``fails`` names."""

    fails = ""

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        result = super().reset(task, seed=seed)
        self.fail("reset")
        return result

    def step(self, action: str) -> StepResult:
        result = super().step(action)
        self.fail("step")
        return result

    def solve(self, task: Task) -> list[str]:
        actions = super().solve(task)
        self.reset(task)
        for action in actions:
            self.step(action)
        return actions

    def fail(self, call: str) -> None:
        if self.fails == call:
            raise RuntimeError("halfway")


@pytest.mark.parametrize("call", ["reset", "step", "solve"])
def test_restore_starts_over_after_a_call_that_leaves_the_state_unknown(call: str) -> None:
    inner = Failing()
    env = ReplayEnvironment(inner)
    (task,) = env.tasks("train")
    env.reset(task)
    # A reset that fails leaves the very log that it begins with.
    if call != "reset":
        env.step("up")
    held = env.snapshot()
    if call == "solve":
        env.solve(task)
    else:
        inner.fails = call
        with pytest.raises(RuntimeError):
            env.reset(task) if call == "reset" else env.step("up")
        inner.fails = ""
    inner._count += call == "reset"
    with pytest.raises(EnvironmentFault, match="after a call that failed"):
        env.snapshot()
    env.restore(held)
    assert env.describe_state() == ("0" if call == "reset" else "1")
    assert env.snapshot() == held


def test_asking_for_an_oracle_that_is_none_keeps_the_episode() -> None:
    class Alone(Counting):
        solve = Environment.solve

    env = ReplayEnvironment(Alone())
    (task,) = env.tasks("train")
    env.reset(task)
    held = env.snapshot()
    with pytest.raises(NotImplementedError):
        env.solve(task)
    assert env.snapshot() == held


def test_snapshot_before_reset_is_a_fault() -> None:
    with pytest.raises(EnvironmentFault, match="before the first reset"):
        make_env("counting").snapshot()


class Text(str):
    """A text whose methods are a plugin's code."""


@pytest.mark.parametrize(
    "name",
    ["", "  ", "\ud800", "a\nb", "\x1b[2J", "\u202e", "x" * 201, Text("odd"), b"odd", None, 3],
)
def test_a_name_is_a_short_plain_text(name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "name", name)
    known = {**registry._BUILT_IN, "counting": f"{__name__}:Counting"}
    monkeypatch.setattr(registry, "_BUILT_IN", known)
    with pytest.raises(EnvironmentFault, match="'counting': its name is ") as caught:
        make_env("counting")
    assert "\x1b" not in caught.value.message
    caught.value.message.encode()


def test_a_name_may_have_any_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "name", "zählen/工作 2")
    known = {**registry._BUILT_IN, "counting": f"{__name__}:Counting"}
    monkeypatch.setattr(registry, "_BUILT_IN", known)
    assert make_env("counting").name == "zählen/工作 2"
