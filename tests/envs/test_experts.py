"""The environments' demonstrations: they earn everything, and most of them say why."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agentr_lite.agent.step import take_step
from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import PLAIN_THOUGHT, Environment
from agentr_lite.envs.sciworld import SciWorld
from agentr_lite.envs.textcraft import TextCraft
from agentr_lite.envs.textcraft.world import custom_task
from agentr_lite.envs.textworld import TextWorld
from agentr_lite.envs.webshop import WebShop


def earned(env: Environment, task: Task, turns: list[str]) -> float:
    env.reset(task)
    reward = 0.0
    for number, turn in enumerate(turns, 1):
        step = take_step(env, turn)
        assert step.kind == "act" and not step.invalid, (task.name, turn, step.observation)
        assert step.ended == (number == len(turns)), (task.name, turn)
        reward = step.reward
    return reward


def is_plain(turns: list[str]) -> bool:
    return PLAIN_THOUGHT in turns[0]


def test_textcraft_says_what_it_is_making() -> None:
    env = TextCraft()
    for task in env.tasks("train"):
        turns = env.demonstrate(task)
        assert earned(env, task, turns) == 1.0, task.name
        assert not is_plain(turns), task.name
        assert turns[0].startswith("Thought: Make 1 ")


def test_textcraft_falls_back_on_the_oracle() -> None:
    env = TextCraft()
    task = custom_task(
        "disc",
        "disc",
        ["craft 1 disc using 1 gems", "craft 1 red gem using 1 clay"],
        tags={"gems": ["red_gem"]},
    )
    turns = env.demonstrate(task)
    assert earned(env, task, turns) == 1.0 and is_plain(turns)


@pytest.mark.parametrize("page_size", [5, 10])
def test_webshop_says_why_it_takes_a_product(page_size: int) -> None:
    env = WebShop(page_size=page_size)
    for task in env.tasks("train")[:120]:
        turns = env.demonstrate(task)
        assert earned(env, task, turns) == 1.0, task.name
        assert not is_plain(turns)
        taken = next(turn for turn in turns if "Action: click[B0" in turn)
        assert "fits." in taken or " I take B0" in taken
        assert "Action: click[Buy Now]" in turns[-1]


@pytest.fixture(scope="module")
def sciworld() -> Iterator[Environment]:
    try:
        env = SciWorld(step_limit=0, jvms=1)
    except EnvironmentFault as fault:
        pytest.skip(fault.message)
    with closing(env):
        yield env


def test_sciworld_says_the_way_where_it_knows_the_kind(sciworld: Environment) -> None:
    tasks = random.Random(3).sample(
        [t for t in sciworld.tasks("train") if t.name.startswith(("find-plant", "lifespan"))], 4
    )
    for task in tasks:
        turns = sciworld.demonstrate(task)
        assert earned(sciworld, task, turns) == 1.0, task.name
        assert not is_plain(turns), task.name


def test_sciworld_falls_back_on_the_simulators_solution(sciworld: Environment) -> None:
    task = next(t for t in sciworld.tasks("train") if t.name.startswith("power-component"))
    assert is_plain(sciworld.demonstrate(task))


def test_textworld_shows_its_walkthrough(tmp_path: Path) -> None:
    pytest.importorskip("textworld")
    with closing(TextWorld(game="coins", levels=[1], train=1, games_dir=str(tmp_path))) as env:
        [task] = env.tasks("train")
        turns = env.demonstrate(task)
        assert earned(env, task, turns) == 1.0 and is_plain(turns)
