"""An environment that raises, hangs or returns nonsense costs its task, and is named."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentr_lite.agent.boundary import guarded_reset, guarded_step, guarded_tasks
from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment, StepResult
from agentr_lite.envs.limits import time_limit
from agentr_lite.recipe.groups import EvalSettings, SearchSettings
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store
from agentr_lite.store.evals import list_eval_items, list_evals
from tests.support.corridor import Corridor
from tests.support.policy_actor import PolicyActor, wanderer
from tests.support.stages import eval_stage, search_stage

WALKER = wanderer("forward", "take", "open", "leave", "back", "forward")
LIMIT_S = 0.25


def sleep() -> None:
    threading.Event().wait(60)


def spin() -> None:
    while True:
        try:
            sum(range(1000))
        except Exception:
            continue


class Bad(Corridor):
    """Its second task, and nothing else, goes wrong in the way that ``fault`` names."""

    name = "bad"

    def __init__(self, fault: str = "", call: str = "step") -> None:
        super().__init__()
        self.fault, self.call = fault, call
        self.wrong = False

    @property
    def time_limit_s(self) -> float:  # type: ignore[override]
        # Short only where it must be reached: a busy machine may hold up any call for a while.
        return LIMIT_S if self.fault in ("sleep", "spin") else 300.0

    def reset(self, task: Task, *, seed: int = 0) -> tuple[Any, dict[str, Any]]:
        self.wrong = task.name == self.tasks(task.split)[1].name
        result = super().reset(task, seed=seed)
        if self.wrong and self.call == "reset":
            return self.misbehave(result[0]), {}
        return result

    def restore(self, snapshot: Any) -> None:
        super().restore(snapshot[0])
        self.wrong = snapshot[1]
        if self.wrong and self.call == "restore":
            self.misbehave("")

    def snapshot(self) -> Any:
        return super().snapshot(), self.wrong

    def step(self, action: str) -> Any:
        result = super().step(action)
        if not self.wrong or self.call != "step":
            return result
        if self.fault.startswith("reward"):
            return result._replace(reward=REWARDS[self.fault])
        if self.fault == "three":
            return result[:3]
        return result._replace(observation=self.misbehave(result.observation))

    def misbehave(self, text: str) -> Any:
        match self.fault:
            case "raise":
                raise ZeroDivisionError("a bug")
            case "exit":
                sys.exit(0)
            case "sleep":
                sleep()
            case "spin":
                spin()
            case "none":
                return None
            case "bytes":
                return text.encode()
            case "surrogate":
                return f"{text}\udcff"
        raise AssertionError(self.fault)


REWARDS: dict[str, Any] = {
    "reward nan": float("nan"),
    "reward 2": 2,
    "reward -1": -1.0,
    "reward text": "much",
    "reward none": None,
}
STEP_FAULTS = [
    *((fault, r"step\('\w+'\)") for fault in REWARDS),
    ("three", r"step\('\w+'\) raised TypeError"),
    ("raise", "raised ZeroDivisionError: a bug"),
    ("exit", "raised SystemExit"),
    ("sleep", "took longer than 0.25 s"),
    ("spin", "took longer than 0.25 s"),
    ("none", "a NoneType as observation"),
    ("bytes", "a bytes as observation"),
    ("surrogate", "not valid Unicode"),
]


def run_of(path: Path, recipe: Recipe) -> tuple[Store, str]:
    store = Store.open(path / "runs.db")
    return store, create_run(store, recipe)


@pytest.mark.parametrize(
    ("fault", "call", "message"),
    [
        *((fault, "step", message) for fault, message in STEP_FAULTS),
        *((fault, "reset", m) for fault, m in STEP_FAULTS if fault not in (*REWARDS, "three")),
        *((fault, "restore", m) for fault, m in STEP_FAULTS if fault in ("raise", "sleep")),
    ],
)
def test_one_bad_task_in_search_and_evaluation(
    fault: str, call: str, message: str, tmp_path: Path
) -> None:
    recipe = Recipe(
        env=(EnvironmentSettings("bad"),),
        search=SearchSettings(tasks=0, simulations=1, width=2, depth=4, wave=4),
        eval=EvalSettings(split="train", tasks=0, max_steps=4, recovery=False),
    )
    store, run_id = run_of(tmp_path, recipe)
    env = Bad(fault, call)
    tasks = env.tasks("train")
    bad = tasks[1].name
    with store:
        found = search_stage(store, run_id, 1, recipe, env, PolicyActor(WALKER), tasks=tasks)
        assert (found["trees"], found["failed"]) == (len(tasks), 1)
        rows = store.rows("SELECT k.name, t.error FROM trees t JOIN tasks k ON k.id = t.task_id")
        errors = {row["name"]: row["error"] for row in rows}
        assert {name for name, error in errors.items() if error} == {bad}
        assert re.search(message, errors[bad])
        assert errors[bad].startswith("environment 'bad': ")

        summary = eval_stage(store, run_id, 0, recipe, env, PolicyActor(WALKER))
        (row,) = list_evals(store, run_id, round_index=0, mode="greedy")
        items = list_eval_items(store, row.id)
        faulty = {item.task.name: item.error for item in items if item.error}
        assert list(faulty) == [bad] and re.search(message, faulty[bad])
        assert summary["greedy"]["faulty"] == 1


def test_what_an_environment_prints_is_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    class Chatty(Corridor):
        def step(self, action: str) -> StepResult:
            print("debugging")
            return super().step(action)

    env = Chatty()
    guarded_reset(env, env.tasks("train")[0])
    guarded_step(env, "forward")
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == "debugging\n"


def test_numbers_of_other_kinds_are_numbers() -> None:
    class Numpy(Corridor):
        def step(self, action: str) -> Any:
            observation, _, over, cut, info = super().step(action)
            return observation, np.float32(0.5), np.bool_(over), np.bool_(cut), info

    env = Numpy()
    guarded_reset(env, env.tasks("train")[0])
    result = guarded_step(env, "forward")
    assert type(result.reward) is float and type(result.terminated) is bool


class Listing(Corridor):
    def __init__(self, listing: Sequence[Any]) -> None:
        super().__init__()
        self.listing = listing

    def tasks(self, split: str) -> Any:
        return self.listing


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        (["a"], "returned a str as a task"),
        ([Task("a", "train", ""), Task("a", "train", "")], "two tasks 'a'"),
        (None, "raised TypeError"),
    ],
)
def test_task_lists_that_are_none(listing: Any, message: str) -> None:
    with pytest.raises(EnvironmentFault, match=f"'corridor'.*{message}"):
        guarded_tasks(Listing(listing), "train")


def test_the_time_limit_leaves_nothing_behind() -> None:
    with time_limit(LIMIT_S, "x", "quick()"):
        pass
    threading.Event().wait(2 * LIMIT_S)  # would be hit now if the timer still ran
    with (
        pytest.raises(EnvironmentFault, match=r"'x': slow\(\) took longer") as caught,
        time_limit(LIMIT_S, "x", "slow()"),
    ):
        sleep()
    assert "time_limit_s" in caught.value.hint
    with pytest.raises(KeyError), time_limit(LIMIT_S, "x", "raises()"):
        raise KeyError
    with time_limit(0, "x", "unlimited()"):
        threading.Event().wait(LIMIT_S)


def test_a_limit_off_the_main_thread_is_no_limit() -> None:
    finished = []

    def work() -> None:
        with time_limit(0.001, "x", "slow()"):
            threading.Event().wait(0.02)
            finished.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert finished == [True]


def test_replayed_environments_keep_their_limit() -> None:
    from agentr_lite.envs.wrappers import ReplayEnvironment

    assert ReplayEnvironment(Bad("spin")).time_limit_s == LIMIT_S
    assert Environment.time_limit_s == 300
