"""``agentr-lite envs`` and ``agentr-lite play`` as a user meets them."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agentr_lite.cli import main
from agentr_lite.cli.envs import envs
from agentr_lite.cli.play import play
from agentr_lite.core.errors import UsageError
from agentr_lite.core.tasks import Task
from agentr_lite.envs import registry
from agentr_lite.envs.base import Environment, StepResult
from agentr_lite.envs.textcraft import TextCraft


class Leaky(TextCraft):
    """Every split has the same tasks."""

    def tasks(self, split: str) -> Sequence[Task]:
        return [replace(task, split=split) for task in super().tasks("dev")]


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(envs, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def game(text: str, *arguments: str) -> Result:
    result = CliRunner().invoke(play, ["textcraft", *arguments], input=text)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0
    return result


class Listless(TextCraft):
    """Cannot list its tasks."""

    def tasks(self, split: str) -> Sequence[Task]:
        raise LookupError("no list")


class Counted(TextCraft):
    """Counts how many there are, each of which something outside may be held for."""

    name = "counted"
    left = 0

    def __init__(self) -> None:
        super().__init__()
        Counted.left += 1

    def close(self) -> None:
        Counted.left -= 1


def test_every_environment_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._BUILT_IN, "counted", f"{__name__}:Counted")
    for words in (
        ("list",),
        ("show", "counted"),
        ("show", "counted", "--task", "ladder"),
        ("show", "counted", "--tasks", "--json"),
        ("check", "counted", "--episodes", "1", "--quick"),
    ):
        run(*words)
        assert Counted.left == 0, words
    with pytest.raises(UsageError, match="no task"):
        run("show", "counted", "--task", "none")
    assert Counted.left == 0


class Wrong(TextCraft):
    """Raises, or hangs, in the call that ``call`` names."""

    name = "wrong"

    def __init__(self, call: str = "", hangs: bool = False) -> None:
        super().__init__()
        self.call, self.hangs = call, hangs

    def err(self, call: str) -> None:
        if call == self.call:
            if self.hangs:
                threading.Event().wait(60)
            raise KeyError(call)

    def tasks(self, split: str) -> Sequence[Task]:
        self.err(f"tasks {split}")
        return super().tasks(split)

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        self.err("reset")
        return super().reset(task, seed=seed)

    def step(self, action: str) -> StepResult:
        self.err("step")
        return super().step(action)

    def restore(self, snapshot: Any) -> None:
        self.err("restore")
        super().restore(snapshot)

    def plan(self) -> list[str]:
        self.err("plan")
        return super().plan()

    def solve(self, task: Task) -> list[str]:
        self.err("solve")
        return super().solve(task)

    def valid_actions(self) -> list[str]:
        self.err("valid_actions")
        return super().valid_actions()


SHOW = ("envs", "show", "wrong", "--task", "ladder")
PLAY = ("play", "wrong", "--task", "ladder")


@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("tasks foo", ("envs", "show", "wrong", "--split", "foo")),
        ("tasks foo", (*SHOW, "--split", "foo")),
        ("tasks foo", (*PLAY, "--split", "foo")),
        ("tasks foo", ("play", "wrong", "--split", "foo")),
        ("reset", SHOW),
        ("solve", SHOW),
        ("reset", PLAY),
        ("step", PLAY),
        ("restore", PLAY),
        ("plan", PLAY),
    ],
)
def test_an_environment_that_fails_is_named(
    call: str,
    words: tuple[str, ...],
    hangs: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(registry._BUILT_IN, "wrong", f"{__name__}:Wrong")
    monkeypatch.setattr(sys, "stdin", io.StringIO("get 1 oak logs\n:undo\n?\n"))
    # Short only where it must be reached: a busy machine may hold up any call for a while.
    limit = 0.5 if hangs else 300
    options = ("-o", f"call={call}", "-o", f"hangs={hangs}", "-o", f"time_limit_s={limit}")
    with pytest.raises(SystemExit) as ended:
        main([*words, *options])
    assert ended.value.code == 1
    told = capsys.readouterr().err
    happened = "took longer than 0.5 s" if hangs else f"raised KeyError: '{call}'"
    assert f"environment 'wrong': {call.split()[0]}(" in told and happened in told


@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize(
    ("call", "check"),
    [
        ("tasks dev", "splits"),
        ("solve", "oracle"),
        ("reset", "rewards"),
        ("step", "determinism"),
        ("restore", "snapshots"),
    ],
)
def test_check_goes_on_where_an_environment_fails(
    call: str, check: str, hangs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._BUILT_IN, "wrong", f"{__name__}:Wrong")
    limit = 0.5 if hangs else 300
    options = ("-o", f"call={call}", "-o", f"hangs={hangs}", "-o", f"time_limit_s={limit}")
    result = run("check", "wrong", "--episodes", "1", "--quick", "--json", *options)
    assert result.exit_code == 1
    data = json.loads(result.stdout)
    details = {finding["check"]: finding["detail"] for finding in data["findings"]}
    assert len(details) == 10
    happened = "took longer than 0.5 s" if hangs else f"raised KeyError: '{call}'"
    assert happened in details[check]


@pytest.mark.parametrize(
    "words",
    [("play",), ("play", "--task", "ladder"), ("envs", "show"), ("envs", "show", "--tasks")],
)
def test_a_split_that_is_none_is_the_users_to_mend(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words, "textcraft", "--split", "foo"])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "Error: textcraft has no split 'foo'" in told and "Splits: train, dev, test." in told


def test_list() -> None:
    assert "textcraft" in run().stdout
    (row,) = [row for row in json.loads(run("--json").stdout) if row["name"] == "textcraft"]
    assert (row["train"], row["dev"], row["test"]) == (342, 57, 172)
    assert json.loads(run("list", "--json").stdout) == json.loads(run("--json").stdout)


def test_show() -> None:
    shown = run("show", "textcraft").stdout
    assert "Action: get 1 oak logs" in shown and "level 5" in shown
    data = json.loads(run("show", "textcraft", "--brief", "--json").stdout)
    assert data["splits"]["test"] == {"1": 41, "2": 56, "3": 52, "4": 21, "5": 2}


def test_show_a_task() -> None:
    assert "craft 3 ladder using 7 stick" in run("show", "textcraft", "--task", "ladder").stdout
    data = json.loads(run("show", "textcraft", "--task", "ladder", "--json").stdout)
    assert data["solution"][-1] == "craft 3 ladder using 7 stick"
    with pytest.raises(UsageError, match="did you mean 'ladder'"):
        run("show", "textcraft", "--task", "laddder")


def test_list_tasks() -> None:
    tasks = json.loads(run("show", "textcraft", "--tasks", "--split", "dev", "--json").stdout)
    assert len(tasks) == 57 and {task["split"] for task in tasks} == {"dev"}
    assert len(run("show", "textcraft", "--tasks", "--split", "dev").stdout.splitlines()) == 59


def test_check() -> None:
    result = run("check", "textcraft", "--episodes", "5", "--quick")
    assert result.exit_code == 0
    assert result.stdout.count(" ok ") == 9 and result.stdout.count(" remark ") == 1


def test_check_does_not_call_sound_what_it_has_not_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Mute(TextCraft):
        solve = Environment.solve
        valid_actions = Environment.valid_actions  # type: ignore[assignment]

    monkeypatch.setattr(sys.modules[__name__], "Mute", Mute, raising=False)
    monkeypatch.setitem(registry._BUILT_IN, "mute", f"{__name__}:Mute")
    result = run("check", "mute", "--episodes", "3")
    assert result.exit_code == 0
    assert result.stdout.count(" ok ") == 2
    assert result.stdout.count(" not tried ") == 8
    assert "rewards: Implement valid_actions() or solve()" in result.stderr
    assert "mute: no check failed; not tried: rewards, determinism, snapshots," in result.stderr
    data = json.loads(run("check", "mute", "--episodes", "3", "--json").stdout)
    assert data["ok"] is True and len(data["not_tried"]) == 8
    for finding in data["findings"]:
        assert (finding["ok"] is None) == (finding["check"] in data["not_tried"])
        assert finding["cases"] > 0 or finding["outcome"] == "not tried"
    assert "textcraft: sound" in run("check", "textcraft", "--episodes", "3", "--quick").stderr


def test_check_fails_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._BUILT_IN, "leaky", f"{__name__}:Leaky")
    result = run("check", "leaky", "--json")
    assert result.exit_code == 1
    data = json.loads(result.stdout)
    assert data["ok"] is False
    assert [finding["check"] for finding in data["findings"] if finding["ok"] is False] == [
        "splits"
    ]
    assert run("check", "leaky").exit_code == 1


@pytest.mark.usefixtures("forgotten")
def test_limits_are_those_of_the_environments_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limits(name: str) -> Any:
        data = json.loads(run("check", name, "--episodes", "2", "--quick", "--json").stdout)
        return data["findings"][-1]

    assert "the recipe textcraft: search.depth 14" in limits("textcraft")["detail"]
    monkeypatch.chdir(tmp_path)
    run("new", "river_game")
    path, recipe = "river_game/src/river_game/env.py", tmp_path / "river_game" / "recipe.yaml"
    assert "recipe.yaml: search.depth 10, eval.max_steps 10" in limits(path)["detail"]
    recipe.write_text(recipe.read_text("utf-8").replace("depth: 10", "depth: 2"), "utf-8")
    short = limits(path)
    assert short["outcome"] == "remark" and "raise search.depth (2);" in short["detail"]
    assert "--set search.depth=" in short["hint"]
    # A file of that name need not be a recipe, nor one of this environment.
    for text in ("flour: 500 g\n", "env: textcraft\n"):
        recipe.write_text(text, "utf-8")
        assert "the default recipe: search.depth 20" in limits(path)["detail"]


def test_options(tmp_path: Path) -> None:
    shown = run("show", "textcraft", "--task", "ladder", "-o", "distractors=0").stdout
    assert "banner" not in shown
    with pytest.raises(UsageError, match="key=value"):
        run("check", "textcraft", "-o", "distractors")
    with pytest.raises(UsageError, match="no recipe directory"):
        run("check", "textcraft", "--recipes-dir", str(tmp_path))


def test_a_game_is_won() -> None:
    result = game(
        "get 1 oak logs\ncraft 4 oak planks using 1 oak logs\n"
        "craft 4 stick using 2 oak planks\ncraft 4 stick using 2 oak planks\n"
        "craft 3 ladder using 7 stick\nnever read\n",
        "--task",
        "ladder",
    )
    assert result.stdout.endswith("Crafted 3 minecraft:ladder\n")
    assert "Done in 5 steps, reward 1." in result.stderr
    assert "oracle's way takes 5 steps" in result.stderr


def test_hints_follow_the_state() -> None:
    result = game("?\nget 1 oak logs\n?\n:undo\n?\n??\n:undo\n", "--task", "ladder")
    assert result.stderr.count("Try: get 1 oak logs   (5 to go)") == 2
    assert "Try: craft 4 oak planks using 1 oak logs   (4 to go)" in result.stderr
    assert "One step back. Inventory: You are not carrying anything." in result.stderr
    assert "Nothing to undo." in result.stderr
    assert "\ncraft 3 ladder using 7 stick\n" in result.stderr


@pytest.mark.parametrize(
    "text", ["", "get 1 oak logs", ":quit\nget 1 oak logs\n", "\n:huh\n:task\n"]
)
def test_a_game_may_be_left(text: str) -> None:
    result = game(text, "--task", "ladder")
    assert "Left after" in result.stderr


def test_what_is_typed_cannot_reach_the_terminal_raw() -> None:
    result = game("dance \x1b[2J\u202e\n", "--task", "ladder")
    assert "Could not execute dance \\x1b[2J\\u202e" in result.stdout
    assert "\x1b" not in result.stdout


def test_a_random_task_can_be_drawn_again() -> None:
    one = game("", "--seed", "3", "--level", "2", "--split", "dev").stdout
    assert one == game("", "--seed", "3", "--level", "2", "--split", "dev").stdout
    with pytest.raises(UsageError, match="no task of level 9"):
        game("", "--level", "9")


def test_one_broken_plugin_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._BUILT_IN, "listless", f"{__name__}:Listless")
    rows = {row["name"]: row for row in json.loads(run("--json").stdout)}
    assert "LookupError: no list" in rows["listless"]["error"]
    assert rows["textcraft"]["error"] == "" and rows["textcraft"]["train"] == 342


def test_other_forms_of_names_are_told() -> None:
    told = run("list").stderr
    assert "gymnasium:ID" in told and "agentgym+http://" in told and "path/to/file.py" in told


@pytest.mark.usefixtures("forgotten")
def test_an_environment_in_a_file_is_planned_by_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentr_lite.cli import cli

    monkeypatch.chdir(tmp_path)
    assert run("new", "river_game").exit_code == 0
    path = "river_game/src/river_game/env.py"
    for arguments in ([path], [path, "--recipe", "river_game/recipe.yaml"]):
        planned = CliRunner().invoke(cli, ["run", *arguments, "--plan", "--json"])
        plan = json.loads(planned.stdout)["plan"]
        assert [env["name"] for env in plan["env"]] == [str(tmp_path.resolve() / path)]
    assert plan["search"]["tasks"] == 8
