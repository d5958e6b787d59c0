"""TextCraft as an environment: episodes, snapshots, custom tasks, options."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from agentr_lite.core.errors import UsageError
from agentr_lite.core.tasks import Task
from agentr_lite.envs.textcraft import Recipe, TextCraft, custom_task


@pytest.fixture
def env() -> TextCraft:
    return TextCraft()


def named(env: TextCraft, name: str) -> Task:
    return next(
        task for split in ("train", "dev", "test") for task in env.tasks(split) if task.name == name
    )


def test_an_episode_is_won_by_crafting_the_goal(env: TextCraft) -> None:
    observation, info = env.reset(named(env, "ladder"))
    assert observation.startswith("Crafting commands:\n") and info == {}
    assert env.describe_state() == "Inventory: You are not carrying anything."
    results = [env.step(action) for action in env.solve(named(env, "ladder"))]
    assert [result.reward for result in results] == [0.0, 0.0, 0.0, 0.0, 1.0]
    assert [result.terminated for result in results] == [False] * 4 + [True]
    assert not any(result.truncated or result.info["invalid"] for result in results)
    assert env.describe_state() == "Inventory: [stick] (1) [ladder] (3)"


@pytest.mark.parametrize(
    ("action", "invalid"),
    [
        ("get 1 oak logs", False),
        ("inventory", False),
        ("get 1 ladder", True),
        ("craft 3 ladder using 7 stick", True),
        ("craft 3 ladder using stick", True),
        ("look around", True),
        ("", True),
    ],
)
def test_failed_actions_are_marked(env: TextCraft, action: str, invalid: bool) -> None:
    env.reset(named(env, "ladder"))
    result = env.step(action)
    assert result.info["invalid"] is invalid
    assert (result.reward, result.terminated, result.truncated) == (0.0, False, False)


def test_the_seed_changes_nothing(env: TextCraft) -> None:
    task = env.tasks("train")[0]
    assert env.reset(task, seed=1) == env.reset(task, seed=2)


def test_a_snapshot_holds_the_task_and_outlives_its_instance(env: TextCraft) -> None:
    env.reset(named(env, "ladder"))
    env.step("get 2 oak logs")
    held = env.snapshot()
    env.step("craft 4 oak planks using 1 oak logs")
    env.reset(named(env, "torch"))
    for instance in (env, TextCraft()):
        instance.restore(pickle.loads(pickle.dumps(held)))
        assert instance.describe_state() == "Inventory: [oak logs] (2)"
        assert instance.plan()[-1] == "craft 3 ladder using 7 stick"
    assert env.snapshot() == held


def test_plan_goes_on_from_the_current_state(env: TextCraft) -> None:
    task = named(env, "ladder")
    env.reset(task)
    assert env.plan() == env.solve(task)
    env.step(env.plan()[0])
    assert env.plan() == env.solve(task)[1:]


def test_valid_actions_all_succeed(env: TextCraft) -> None:
    env.reset(named(env, "ladder"))
    env.step("get 2 oak logs")
    env.step("craft 4 oak planks using 1 oak logs")
    actions = env.valid_actions()
    assert "craft 4 stick using 2 oak planks" in actions
    start = env.snapshot()
    for action in actions:
        env.restore(start)
        assert not env.step(action).info["invalid"], action


def test_a_custom_task_needs_no_book(env: TextCraft) -> None:
    commands: list[Recipe | str] = [
        "craft 2 zib using 3 blorb",
        Recipe("wug", 1, ((2, "zib"), (1, "dax"))),
        "craft 1 dax using 1 zib",
    ]
    task = custom_task("made up 1", "wug", commands, tags={"any_zib": ["zib"]}, items=["fep"])
    assert task.level == 3
    task = Task(**json.loads(json.dumps({**vars_of(task), "payload": dict(task.payload)})))
    observation, _ = env.reset(task)
    assert observation == (
        "Crafting commands:\ncraft 2 zib using 3 blorb\ncraft 1 wug using 2 zib, 1 dax\n"
        "craft 1 dax using 1 zib\n\nGoal: craft wug."
    )
    assert env.step("get 1 fep").observation == "Got 1 fep"
    assert env.step("get 1 oak logs").observation == "Could not find oak logs"
    *_, last = [env.step(action) for action in env.solve(task)]
    assert last.terminated
    held = env.snapshot()
    env.reset(named(env, "ladder"))
    other = TextCraft()
    other.restore(held)
    assert other.describe_state() == env_state(env, held)


def env_state(env: TextCraft, snapshot: Any) -> str:
    env.restore(snapshot)
    return env.describe_state()


def vars_of(task: Task) -> dict[str, Any]:
    return {name: getattr(task, name) for name in ("name", "split", "goal", "level", "payload")}


def test_custom_tasks_of_one_name_are_told_apart(env: TextCraft) -> None:
    first = custom_task("same", "a", ["craft 1 a using 1 b"])
    second = custom_task("same", "c", ["craft 1 c using 1 d"])
    assert env.reset(first)[0].endswith("Goal: craft a.")
    assert env.reset(second)[0].endswith("Goal: craft c.")
    assert env.reset(first)[0].endswith("Goal: craft a.")


def test_hidden_recipes_hold(env: TextCraft) -> None:
    task = custom_task(
        "hidden", "a", ["craft 1 a using 1 b"], recipes=["craft 1 b using 1 c"], items=["e"]
    )
    env.reset(task)
    assert env.step("get 1 b").observation == "Could not find b"
    assert env.step("get 1 c").observation == "Got 1 c"
    assert env.step("craft 1 b using 1 c").observation == "Crafted 1 minecraft:b"


@pytest.mark.parametrize(
    "task",
    [
        Task("nothing makes it", "train", "?", payload={"goal": "unobtainium"}),
        Task("unobtainium", "train", "?"),
        Task("empty", "train", "?", payload={"goal": "a", "commands": []}),
        Task("text", "train", "?", payload={"goal": "a", "commands": "craft 1 a using 1 b"}),
        Task("no goal", "train", "?", payload={"commands": ["craft 1 a using 1 b"]}),
        Task("garbled", "train", "?", payload={"goal": "a", "commands": ["make a"]}),
    ],
)
def test_tasks_that_cannot_begin(env: TextCraft, task: Task) -> None:
    with pytest.raises(UsageError):
        env.reset(task)


@pytest.mark.parametrize(
    "options",
    [{"distractors": -1}, {"max_commands": "many"}, {"distractors": True}, {"recipes_dir": "/no"}],
)
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        TextCraft(**options)


def test_fewer_commands_on_request() -> None:
    small = TextCraft(max_commands=12, distractors=3)
    for task in small.tasks("dev"):
        world = small.world(task)
        assert len(world.commands) <= max(12, len(world.table.tree(world.goal)))


def test_an_unknown_split(env: TextCraft) -> None:
    with pytest.raises(UsageError, match="no split 'valid'"):
        env.tasks("valid")


def test_nothing_before_reset(env: TextCraft) -> None:
    for call in (env.snapshot, env.plan, env.valid_actions, lambda: env.step("inventory")):
        with pytest.raises(UsageError, match="reset"):
            call()


def test_instructions(env: TextCraft) -> None:
    assert len(env.instructions(brief=True).split()) <= 15
    full = env.instructions()
    for word in ("Thought:", "Action:", "get ", "craft ", "inventory", "planks", "wool"):
        assert word in full
