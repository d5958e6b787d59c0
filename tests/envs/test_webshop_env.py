"""WebShop as an environment: episodes, snapshots, the oracle, the command line."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agentr_lite.agent.step import take_step
from agentr_lite.cli import cli
from agentr_lite.cli.play import play
from agentr_lite.core.errors import UsageError
from agentr_lite.core.tasks import SPLITS, Task
from agentr_lite.envs.checker import check_environment
from agentr_lite.envs.registry import make_env
from agentr_lite.envs.webshop import WebShop
from agentr_lite.recipe.loading import load_recipe
from tests.support.webshop_case import write_files


@pytest.fixture
def env() -> WebShop:
    return WebShop()


def task_with_options(env: WebShop) -> Task:
    return next(task for task in env.tasks("dev") if len(task.payload["options"]) == 2)


def test_the_oracle_earns_everything_on_every_goal(env: WebShop) -> None:
    lengths = []
    for split in SPLITS:
        for task in env.tasks(split):
            env.reset(task)
            actions = env.solve(task)
            results = [env.step(action) for action in actions]
            lengths.append(len(actions))
            assert results[-1].reward == 1.0 and results[-1].terminated, task.name
            assert not any(result.info["invalid"] for result in results)
            assert not any(result.terminated or result.reward for result in results[:-1])
    assert max(lengths) <= 6


def test_it_keeps_the_protocol(env: WebShop) -> None:
    findings = check_environment(env, other=WebShop, episodes=12, solve_all=False)
    assert [finding for finding in findings if finding.failed] == []


def test_an_invalid_action_shows_the_page_again(env: WebShop) -> None:
    first, info = env.reset(env.tasks("train")[0])
    assert info == {} and first.startswith("WebShop [SEP] Instruction: [SEP] ")
    for action in ("click[buy now]", "look around", ""):
        result = env.step(action)
        assert result.observation == first and result.info == {"invalid": True}
        assert (result.reward, result.terminated, result.truncated) == (0.0, False, False)


def test_the_options_chosen_count_though_they_are_not_shown(env: WebShop) -> None:
    task = task_with_options(env)
    *way, one, two, buy = env.solve(task)
    rewards = []
    for clicks in ([], [one], [one, two]):
        env.reset(task)
        result = [env.step(action) for action in (*way, *clicks, buy)][-1]
        rewards.append(result.reward)
        assert result.info["score"]["options"] == len(clicks)
        assert f"[SEP] {result.reward} [SEP] Reward Details" in result.observation
    wanted = task.level + 1
    assert rewards == pytest.approx([(wanted - 2) / wanted, (wanted - 1) / wanted, 1.0])


def test_over_is_over(env: WebShop) -> None:
    task = env.tasks("train")[0]
    env.reset(task)
    *_, last = [env.step(action) for action in env.solve(task)]
    after = env.step("search[something else]")
    assert after.info["invalid"] and after.terminated and after.reward == last.reward
    assert after.observation == last.observation
    assert env.plan() == [] and env.valid_actions() == []


def test_a_plan_leads_on_from_anywhere(env: WebShop) -> None:
    task = task_with_options(env)
    other = next(one for one in env.tasks("train") if one.payload["asin"] != task.payload["asin"])
    way = env.solve(task)
    wrong = [value for value in _values(env, task) if f"click[{value}]" not in way]
    starts = [
        [],
        [f"search[{other.goal}]", "click[next >]"],
        [way[0], "click[next >]", "click[next >]"],
        env.solve(other)[:2],
        [*way[:2], f"click[{wrong[0]}]", "click[description]"],
        [*way[:3], "click[features]"],
        [*way[:2], "click[back to search]"],
    ]
    for start in starts:
        env.reset(task)
        for action in start:
            assert not env.step(action).info["invalid"], action
        results = [env.step(action) for action in env.plan()]
        assert results[-1].reward == 1.0, start
        assert not any(result.info["invalid"] for result in results)


def _values(env: WebShop, task: Task) -> list[str]:
    product = env.catalogue.by_asin[str(task.payload["asin"])]
    return [value for values in product.options.values() for value in values]


def test_a_snapshot_holds_the_task_and_outlives_its_instance(env: WebShop) -> None:
    task = task_with_options(env)
    way = env.solve(task)
    env.reset(task)
    for action in way[:3]:
        env.step(action)
    held = env.snapshot()
    state = env.describe_state()
    env.reset(env.tasks("test")[0])
    for instance in (env, WebShop()):
        instance.restore(pickle.loads(pickle.dumps(held)))
        assert instance.describe_state() == state
        assert instance.plan() == way[3:]
    assert env.snapshot() == held


def test_valid_actions_are_understood(env: WebShop) -> None:
    task = task_with_options(env)
    env.reset(task)
    for action in env.solve(task):
        start = env.snapshot()
        offered = env.valid_actions()
        for other in offered:
            env.restore(start)
            assert not env.step(other).info["invalid"], other
        env.restore(start)
        assert action.startswith("search[") or action.lower() in offered
        env.step(action)


def test_what_people_see_of_the_state(env: WebShop) -> None:
    task = task_with_options(env)
    env.reset(task)
    seen = [env.describe_state()]
    for action in [*env.solve(task)[:3], "click[features]"]:
        env.step(action)
        seen.append(env.describe_state())
    asin = task.payload["asin"]
    assert seen[0] == "search page" and seen[1].startswith("results for '")
    assert seen[2] == f"product {asin}, nothing chosen"
    assert seen[3].startswith(f"product {asin}, ") and seen[4].startswith(f"features {asin}, ")


def test_an_action_is_read_from_a_model_s_turn(env: WebShop) -> None:
    env.reset(env.tasks("train")[0])
    step = take_step(env, "Thought: I search.\nAction: search[yoga mat]")
    assert not step.invalid and "Total results:" in step.observation


def test_a_task_of_your_own(env: WebShop) -> None:
    task = env.tasks("train")[0]
    payload = json.loads(json.dumps(dict(task.payload)))
    mine = replace(task, name="mine", payload={**payload, "instruction": "Bring me that"})
    assert env.reset(mine)[0] == "WebShop [SEP] Instruction: [SEP] Bring me that [SEP] Search"
    assert env.solve(mine) == env.solve(task)
    again = replace(mine, payload={**payload, "instruction": "Bring me this"})
    assert "Bring me this" in env.reset(again)[0]


def test_short_pages_show_the_same_results_on_more_pages() -> None:
    long, short = WebShop(), WebShop(page_size=5)
    task = long.tasks("train")[0]
    for env in (long, short):
        env.reset(task)
    query = "search[water bottles]"
    whole = long.step(query).observation.split(" [SEP] ")
    first = short.step(query).observation.split(" [SEP] ")
    second = short.step("click[Next >]").observation.split(" [SEP] ")
    numbers = [[text for text in page if text.startswith("B0")] for page in (whole, first, second)]
    assert [len(page) for page in numbers] == [10, 5, 5]
    assert numbers[0] == numbers[1] + numbers[2]
    assert "Page 2 (Total results: 50)" in second
    for task in short.tasks("dev")[:20]:
        short.reset(task)
        assert [short.step(action).reward for action in short.solve(task)][-1] == 1.0


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"goals": "robot"}, "synthetic or human"),
        ({"products": -1}, "whole number"),
        ({"products": True}, "whole number"),
        ({"page_size": 0}, "whole number from 1"),
        ({"page_size": 51}, "whole number from 1"),
        ({"goals": "human"}, "original data"),
        ({"products": 5}, "original data"),
        ({"data_dir": "/nowhere"}, "no directory"),
    ],
)
def test_wrong_options(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        WebShop(**settings)


def test_an_unknown_split_and_a_step_before_reset(env: WebShop) -> None:
    with pytest.raises(UsageError, match="no split 'valid'"):
        env.tasks("valid")
    for call in (env.snapshot, env.plan, env.valid_actions, lambda: env.step("search[x]")):
        with pytest.raises(UsageError, match="reset"):
            call()


def test_instructions(env: WebShop) -> None:
    full = env.instructions()
    for word in ("Thought:", "Action:", "search[", "click[", "Buy Now", "[SEP]", "Features"):
        assert word in full
    assert len(env.instructions(brief=True)) < len(full) / 8


def test_the_recipe_is_for_this_environment() -> None:
    recipe = load_recipe("webshop")
    assert recipe.environment.name == "webshop" and recipe.agent.brief
    assert recipe.environment.options == {"page_size": 5}
    assert isinstance(make_env(recipe.environment.name, recipe.environment.options), WebShop)


def test_the_flag_for_the_original_data(tmp_path: Path) -> None:
    runner = CliRunner()
    write_files(tmp_path)
    shown = runner.invoke(
        cli, ["envs", "show", "webshop", "--webshop-data", str(tmp_path), "--tasks", "--json"]
    )
    assert [task["name"] for task in json.loads(shown.stdout)] != []
    assert all(task["name"].startswith("goal-") for task in json.loads(shown.stdout))
    flags = ["--webshop-data", str(tmp_path), "-o", "goals=human"]
    plan = json.loads(runner.invoke(cli, ["run", "webshop", "--plan", "--json", *flags]).stdout)
    [options] = [environment["options"] for environment in plan["plan"]["env"]]
    assert options == {"page_size": 5, "goals": "human", "data_dir": str(tmp_path)}


def test_a_game_is_won(env: WebShop) -> None:
    task = task_with_options(env)
    lines = "\n".join(["?", *env.solve(task)])
    result = CliRunner().invoke(play, ["webshop", "--task", task.name], input=lines)
    assert result.exit_code == 0
    assert "Try: search[" in result.stderr and "reward 1." in result.stderr
    assert result.stdout.rstrip().endswith("[SEP] 1.0 [SEP] Reward Details [SEP] None")
