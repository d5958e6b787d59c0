"""The checks of the game itself: each small environment has exactly one fault."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment, StepResult
from agentr_lite.envs.checker import Finding, check_environment
from agentr_lite.envs.wrappers import ReplayEnvironment

LIMITS = {"search.depth": 3, "eval.max_steps": 20}


class Path(Environment):
    """Four steps to the end; the reward is the share of the way. It has chance in it: a sky."""

    name: ClassVar[str] = "path"
    length: ClassVar[int] = 4
    at = 0
    sky = 0

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(f"{split}{index}", split, "walk") for index in range(4)]

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        self.at, self.sky = 0, random.Random(seed).randrange(10**6)
        return f"A path under sky {self.sky}.", {}

    def step(self, action: str) -> StepResult:
        known = action in ("walk", "run")
        if known and self.at < self.length:
            self.at += 1
        return self.result(known)

    def result(self, known: bool = True) -> StepResult:
        over = self.at == self.length
        reward = self.at / self.length
        return StepResult(f"You are at {self.at}.", reward, over, False, {"invalid": not known})

    def instructions(self, *, brief: bool = False) -> str:
        return "Say walk."

    def snapshot(self) -> tuple[int, int]:
        return self.at, self.sky

    def restore(self, snapshot: tuple[int, int]) -> None:
        self.at, self.sky = snapshot

    def describe_state(self) -> str:
        return f"at {self.at}"

    def valid_actions(self) -> list[str]:
        return ["walk", "run"]

    def solve(self, task: Task) -> list[str]:
        return ["walk"] * self.length


def found(env: Environment, check: str) -> Finding:
    findings = check_environment(env, limits=LIMITS, limits_of="the recipe")
    (finding,) = [finding for finding in findings if finding.check == check]
    others = [f for f in findings if f.check not in (check, "limits", "repeats") and not f.ok]
    assert others == []
    return finding


class Seedless(Path):
    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        return super().reset(task)


class Untrue(Path):
    """Only seed 0 gives the same episode again."""

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        return super().reset(task, seed=seed and random.randrange(10**6))


def test_seeds() -> None:
    assert found(Path(), "seeds").outcome == "ok"
    ignored = found(Seedless(), "seeds")
    assert ignored.outcome == "remark" and "reset() ignores its seed" in ignored.detail
    assert "random.Random(seed)" in ignored.hint
    untrue = found(Untrue(), "determinism")
    assert untrue.failed and "train0: two episodes with seed 1 differ at step 0" in untrue.detail


class Idle(Path):
    """One of its valid actions does nothing."""

    def valid_actions(self) -> list[str]:
        return [*super().valid_actions(), "wait"]

    def step(self, action: str) -> StepResult:
        return self.result() if action == "wait" else super().step(action)


class IdleOracle(Idle):
    """Its oracle waits first; nothing is listed."""

    def solve(self, task: Task) -> list[str]:
        return ["wait", "wait", *super().solve(task)]

    def valid_actions(self) -> Any:
        return None


class Refusing(Path):
    """It lists what it refuses, once a step has been taken."""

    def valid_actions(self) -> list[str]:
        return ["walk", "fly"] if self.at else ["walk"]


class Unsaved(Refusing):
    """Without snapshots, the states are reached by playing."""

    snapshot = Environment.snapshot  # type: ignore[assignment]
    restore = Environment.restore


def test_actions_without_effect() -> None:
    assert found(Path(), "actions").outcome == "ok"
    idle = found(Idle(), "actions")
    assert idle.outcome == "remark" and "change neither observation nor state" in idle.detail
    assert "'wait' in train0, step 2" in idle.detail and "%" in idle.detail
    own = found(IdleOracle(), "actions")
    assert own.outcome == "remark" and "'wait' in train0, step 2" in own.detail


@pytest.mark.parametrize("env", [Refusing(), ReplayEnvironment(Unsaved())])
def test_valid_actions_that_are_refused(env: Environment) -> None:
    refused = found(env, "actions")
    assert refused.failed
    assert "train0, step 2: valid_actions() lists 'fly', which step() flags" in refused.detail


class Approximate(Refusing):
    lists_exactly = False


@pytest.mark.parametrize("env", [Approximate(), ReplayEnvironment(Approximate())])
def test_a_list_that_is_known_to_be_inexact(env: Environment) -> None:
    refused = found(env, "actions")
    assert refused.outcome == "remark"
    assert "are refused, as expected: train0, step 2: valid_actions() lists 'fly'" in refused.detail


def test_states_are_reached_without_snapshots() -> None:
    findings = {f.check: f for f in check_environment(Unsaved())}
    assert findings["snapshots"].failed and findings["actions"].failed
    assert "step 2: valid_actions() lists 'fly'" in findings["actions"].detail


class PaidTwice(Path):
    """A coin that can be taken again and again; the state does not show it."""

    coins = 0

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        self.coins = 0
        return super().reset(task, seed=seed)

    def step(self, action: str) -> StepResult:
        if action == "take coin":
            self.coins = min(self.coins + 1, 3)
            return StepResult("You take the coin.", self.coins / 4, False, False, {})
        return super().step(action)._replace(reward=float(self.at == 4) or self.coins / 4)

    def snapshot(self) -> Any:
        return super().snapshot(), self.coins

    def restore(self, snapshot: Any) -> None:
        super().restore(snapshot[0])
        self.coins = snapshot[1]

    def solve(self, task: Task) -> list[str]:
        return ["take coin", *super().solve(task)]


class PaidUnseen(PaidTwice):
    """The same, and no state is described: it might be progress."""

    def describe_state(self) -> str:
        return ""


class Generous(Path):
    """After its end, an episode that was lost pays."""

    lost = False

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        self.lost = False
        return super().reset(task, seed=seed)

    def step(self, action: str) -> StepResult:
        was_lost, self.lost = self.lost, self.lost or action == "jump"
        if was_lost:
            return StepResult("It is over.", 0.5, True, False, {})
        return StepResult("Lost.", 0.0, True, False, {}) if self.lost else super().step(action)

    def snapshot(self) -> Any:
        return super().snapshot(), self.lost

    def restore(self, snapshot: Any) -> None:
        super().restore(snapshot[0])
        self.lost = snapshot[1]

    def valid_actions(self) -> list[str]:
        return ["jump"]

    def solve(self, task: Task) -> list[str]:
        raise NotImplementedError


class Again(Path):
    """Every step after the end pays the whole reward again, in another state."""

    def step(self, action: str) -> StepResult:
        self.at += action == "walk"
        over = self.at >= self.length
        return StepResult(f"{self.at}", float(over), over, False, {"invalid": action != "walk"})

    def valid_actions(self) -> list[str]:
        return ["walk"]


class Raising(Path):
    def step(self, action: str) -> StepResult:
        if self.at == self.length:
            raise RuntimeError("it is over")
        return super().step(action)


class PerStep(Path):
    """Pays a quarter for each step."""

    def step(self, action: str) -> StepResult:
        before = self.at
        return super().step(action)._replace(reward=(self.at - before) / self.length)


def test_rewards_given_twice() -> None:
    twice = found(PaidTwice(), "repeats")
    assert twice.failed and twice.cases > 0
    assert "'take coin' again raises the reward again, from 0.25 to 0.5" in twice.detail
    unseen = found(PaidUnseen(), "repeats")
    assert unseen.outcome == "remark" and "'take coin' again raises" in unseen.detail
    # To walk on is progress; the state shows it.
    assert found(Path(), "repeats").outcome == "remark"


def test_steps_after_the_end() -> None:
    findings = {f.check: f for f in check_environment(Generous())}
    late = findings["repeats"]
    assert late.failed and "'jump' after the end raises the reward from 0 to 0.5" in late.detail
    again = found(Again(), "repeats")
    assert again.outcome == "remark" and "'walk' after the end earns 1 again" in again.detail
    raising = found(Raising(), "repeats")
    assert raising.outcome == "remark"
    assert "step 4: a step after the end raises RuntimeError" in raising.detail


def test_one_reward_per_step() -> None:
    findings = {f.check: f for f in check_environment(PerStep())}
    oracle = findings["oracle"]
    assert oracle.failed
    assert "ends with reward 0.25, though the rewards of its steps sum to 1" in oracle.detail
    assert "the episode's reward is that of its last step" in oracle.hint


def test_solutions_longer_than_an_episode() -> None:
    limits = found(Path(), "limits")
    assert limits.outcome == "remark"
    assert "the longest solution takes 4 steps ('train0'): raise search.depth (3)" in limits.detail
    assert "--set search.depth=4" in limits.hint and "eval.max_steps" not in limits.detail
    enough = {"search.depth": 4, "eval.max_steps": 4}
    assert check_environment(Path(), limits=enough)[-1].outcome == "ok"
    without = check_environment(Generous(), limits=enough)[-1]
    assert without.outcome == "not tried" and "solve()" in without.hint
