"""ScienceWorld on its real simulator."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from agentr_lite.core.errors import EnvironmentFault, UsageError
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import StepResult
from agentr_lite.envs.checker import check_environment
from agentr_lite.envs.registry import find_task, make_env
from agentr_lite.envs.sciworld import SciWorld
from agentr_lite.envs.sciworld.games import KINDS
from agentr_lite.envs.sciworld.java import JavaError, find_java
from agentr_lite.envs.sciworld.jvm import Jvm
from agentr_lite.envs.sciworld.world import GameKey, World

pytest.importorskip("scienceworld", reason="ScienceWorld is not installed: '.[sciworld]'")


def _no_java() -> str:
    try:
        find_java()
    except JavaError as error:
        return error.message
    return ""


pytestmark = pytest.mark.skipif(bool(_no_java()), reason=f"needs Java: {_no_java()}")

SHORT = "find-non-living-thing-299"
"""A game with a short solution."""


@pytest.fixture(scope="module")
def env() -> Iterator[SciWorld]:
    made = make_env("sciworld", {"games": "all"})
    assert isinstance(made, SciWorld)
    yield made
    made.close()


@pytest.fixture(scope="module")
def task(env: SciWorld) -> Task:
    return find_task(env, SHORT)


@pytest.fixture(scope="module")
def hallway(env: SciWorld) -> Task:
    """Begins where there are many doors."""
    return find_task(env, "boil-0")


@pytest.fixture
def other(env: SciWorld) -> Iterator[SciWorld]:
    made = make_env("sciworld", {"games": "all"})
    assert isinstance(made, SciWorld)
    yield made
    made.close()


def play(env: SciWorld, task: Task, actions: list[str]) -> list[StepResult]:
    env.reset(task)
    return [env.step(action) for action in actions]


def test_the_opening_is_the_description_and_a_look_around(env: SciWorld, task: Task) -> None:
    text, info = env.reset(task)
    first, _, rest = text.partition("\n")
    assert first.startswith("Your task is to find a(n) non-living thing.")
    assert rest.startswith("This room is called the ")
    assert "\n\tthe agent\n" in rest
    assert info["moves"] == 0
    # Seen a second time it is the same, to the order in which things are listed.
    assert env.reset(task)[0] == text


def test_what_is_not_understood_is_no_move(env: SciWorld, task: Task) -> None:
    env.reset(task)
    for action in (
        "xyzzy",
        "",
        "  ",
        "open the pod bay doors",
        "\ud800",
        "x" * 3000,
        "工作 £ \u202e",
    ):
        result = env.step(action)
        assert result.observation == "No known action matches that input."
        assert result.info["invalid"]
        assert result.info["moves"] == 0
        assert result[1:4] == (0.0, False, False)


def test_a_choice_is_asked_for_and_answered_by_its_number(env: SciWorld, hallway: Task) -> None:
    asked, answered, pointless = play(env, hallway, ["open door", "0", "0"])
    assert asked.observation.startswith("Ambiguous request: Please enter the number")
    assert "\n0:\topen door" in asked.observation
    assert asked.info["ambiguous"]
    assert not asked.info["invalid"]
    assert answered.observation == "The door is now open."
    assert pointless.observation == "No known action matches that input."


def test_a_choice_that_is_not_made_is_an_invalid_action_and_takes_time(
    env: SciWorld, hallway: Task
) -> None:
    _, refused, after = play(env, hallway, ["open door", "xyzzy", "look around"])
    assert refused.observation.startswith("Unknown action.")
    assert refused.info["invalid"]
    assert refused.info["moves"] == 1
    assert after.info["moves"] == 1


def test_waiting_takes_eleven_moves_and_looking_none(env: SciWorld, task: Task) -> None:
    waited, looked, inventory = play(env, task, ["wait", "look around", "inventory"])
    assert waited.observation == "You decide to wait for 10 iterations."
    assert [r.info["moves"] for r in (waited, looked, inventory)] == [11, 11, 11]


def test_the_oracle_earns_the_full_reward(env: SciWorld, task: Task) -> None:
    solution = env.solve(task)
    *_, last = play(env, task, solution)
    assert (last.reward, last.terminated, last.truncated) == (1.0, True, False)
    assert last.info["score"] == 100
    rewards = [step.reward for step in play(env, task, solution)]
    assert rewards == sorted(rewards)
    assert 0.0 < rewards[-2] < 1.0


def test_a_fatal_mistake_ends_the_game_with_nothing(env: SciWorld, hallway: Task) -> None:
    env.reset(hallway)
    env.step("look around")
    result = env.step("focus on agent")
    assert result.info["disaster"]
    assert result.info["score"] == -100
    assert (result.reward, result.terminated) == (0.0, True)


def test_the_episode_is_cut_at_the_limit_of_moves(task: Task) -> None:
    env = make_env("sciworld", {"games": "all", "step_limit": 21})
    env.reset(task)
    ends = [env.step("wait") for _ in range(2)]
    assert [end.info["moves"] for end in ends] == [11, 22]
    assert [(end.terminated, end.truncated) for end in ends] == [(False, False), (False, True)]
    env.close()


def test_states_come_back_here_and_elsewhere(env: SciWorld, other: SciWorld, task: Task) -> None:
    solution = env.solve(task)
    env.reset(task)
    seen = []
    for action in solution:
        held = pickle.dumps(env.snapshot())
        seen.append((held, action, env.step(action)))
    for instance in (env, other):
        for held, action, result in reversed(seen):
            instance.restore(pickle.loads(held))
            assert instance.step(action) == result


def test_invalid_actions_are_left_out_of_the_way(env: SciWorld, task: Task) -> None:
    play(env, task, ["xyzzy", "wait1", "nonsense", "wait1"])
    assert env.snapshot().place.actions == ("wait1", "wait1")


def test_a_state_of_another_making_is_refused(env: SciWorld, task: Task) -> None:
    play(env, task, ["wait1", "look around"])
    snapshot = env.snapshot()
    wrong = snapshot._replace(place=snapshot.place._replace(actions=("wait1", "inventory")))
    env.restore(wrong)
    with pytest.raises(EnvironmentFault, match="led to another state when they were repeated"):
        env.step("look around")


def test_games_played_in_turn_are_as_if_played_alone() -> None:
    # Two with wandering animals, which draw from a generator that all games of a process share.
    names = ("find-animal", "lifespan-longest-lived", "chemistry-mix-paint-secondary-color")
    keys = [GameKey(kind.name, kind.variations - 1, "") for kind in KINDS if kind.name in names]
    actions = ["open door to outside", "go to outside", *["wait1", "look around"] * 3]
    jvm = Jvm(128)
    try:
        alone, worlds, together = [], [World(jvm) for _ in keys], [[] for _ in keys]
        for key in keys:
            world = World(jvm)
            alone.append([world.load(key), *[world.step(action) for action in actions]])
        for seen, key, world in zip(together, keys, worlds, strict=True):
            seen.append(world.load(key))
        for action in actions:
            for seen, world in zip(together, worlds, strict=True):
                seen.append(world.step(action))
        assert together == alone
    finally:
        jvm.close()


def test_numbers_of_variations_are_the_packages() -> None:
    jvm = Jvm(128)
    try:
        simulator = jvm.new_simulator()
        for kind in KINDS:
            assert simulator.getTaskMaxVariations(kind.name) == kind.variations
        # Its splits, where they are not plain halves and quarters.
        simulator.load("grow-plant", 0, "", False)
        assert list(simulator.getVariationsTrain()) == list(range(62))
        assert list(simulator.getVariationsTest()) == list(range(93, 126))
    finally:
        jvm.close()


def test_valid_actions_are_understood(env: SciWorld, task: Task) -> None:
    env.reset(task)
    valid = env.valid_actions()
    assert "look around" in valid
    opening = [action for action in valid if action.startswith("open ")]
    assert "open door" in opening
    for action in opening:
        assert not env.step(action).info["invalid"]


def test_the_state_is_described_by_what_is_held(env: SciWorld, task: Task) -> None:
    env.reset(task)
    assert env.describe_state().startswith("In your inventory, you see:")
    assert "\n" not in env.describe_state()


def test_simplifications_change_the_game(task: Task) -> None:
    env = make_env("sciworld", {"games": "all", "simplifications": "openDoors, teleportAction"})
    text, _ = env.reset(task)
    assert "(that is open)" in text
    assert "(that is closed)" not in text
    env.close()


def test_the_checker_finds_nothing(env: SciWorld, task: Task) -> None:
    class Few(SciWorld):
        def tasks(self, split: str) -> list[Task]:
            return [task] if split == task.split else []

    few = Few(games="all")
    findings = check_environment(
        few, other=lambda: Few(games="all"), episodes=1, max_steps=4, solve_all=True
    )
    assert [finding for finding in findings if finding.failed] == []
    few.close()


def test_a_process_that_is_killed_is_replaced(task: Task) -> None:
    env = SciWorld(games="all", heap_mb=200)
    env.reset(task)
    assert env.step("wait1").info["moves"] == 2
    (pid,) = env._pool.pids
    os.kill(pid, signal.SIGKILL)
    assert env.step("wait1").info["moves"] == 4
    assert env._pool.pids != [pid]
    env.close()


def test_closing_ends_the_processes(task: Task) -> None:
    env, second = SciWorld(games="all", heap_mb=201), SciWorld(games="all", heap_mb=201)
    env.reset(task)
    second.reset(task)
    (pid,) = env._pool.pids
    env.close()
    # The other one still plays on it.
    assert not second.step("wait1").info["invalid"]
    second.close()
    assert is_gone(pid)


@pytest.mark.parametrize("end", ["exit", "kill"])
def test_no_process_outlives_the_program(end: str) -> None:
    program = (
        "import sys\n"
        "from agentr_lite.envs.sciworld.jvm import Jvm\n"
        "jvm = Jvm(128)\n"
        "print(jvm.pid, flush=True)\n"
        "sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        pid = int(process.stdout.readline())
        if end == "kill":
            process.kill()
        else:
            process.stdin.write("\n")
            process.stdin.close()
        process.wait(60)
        assert is_gone(pid)


def test_ctrl_c_at_the_terminal_does_not_reach_the_process() -> None:
    jvm = Jvm(128)
    try:
        assert os.getpgid(jvm.pid) != os.getpgrp()
    finally:
        jvm.close()


def test_a_heap_that_java_refuses_is_said_so(task: Task) -> None:
    env = SciWorld(games="all", heap_mb=1 << 40)
    with pytest.raises(EnvironmentFault, match=r"Java does not start with a heap .* it said: \w"):
        env.reset(task)
    env.close()


def test_threads_play_at_the_same_time(task: Task) -> None:
    results: list[Any] = []

    def run() -> None:
        with contextlib.closing(SciWorld(games="all", jvms=2, heap_mb=202)) as env:
            results.append(play(env, task, ["wait1", "look around", "wait1"]))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert results[0] == results[1] == results[2]


def test_a_foreign_task_is_refused(env: SciWorld) -> None:
    with pytest.raises(UsageError, match="'stick' is not a task of ScienceWorld"):
        env.reset(Task("stick", "train", "craft stick"))


def test_an_unknown_game_is_a_fault(env: SciWorld) -> None:
    lost = Task("x", "test", "x", payload={"task": "no-such-task", "variation": 0})
    with pytest.raises(EnvironmentFault, match="cannot load 'no-such-task-0'"):
        env.reset(lost)


def is_gone(pid: int) -> bool:
    """Whether a process ends within a minute."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        with contextlib.suppress(FileNotFoundError):
            # A zombie of a program that is gone waits for whoever reaps orphans here.
            state = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0]  # noqa: SIM115, PTH123
            if state == "Z":
                return True
        time.sleep(0.05)
    return False
