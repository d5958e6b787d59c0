"""The checker passes what is sound and names what is not."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from agentr_lite.core.tasks import Task
from agentr_lite.envs import limits
from agentr_lite.envs.base import Environment, StepResult
from agentr_lite.envs.checker import UNTRIED, Finding, check_environment
from agentr_lite.envs.textcraft import TextCraft
from agentr_lite.envs.wrappers import ReplayEnvironment

CHECKS = [
    *("splits", "instructions", "rewards", "determinism", "snapshots", "oracle"),
    *("seeds", "actions", "repeats"),
]


class Door(Environment):
    """Two steps to win: ``open``, ``go``. Subclasses each break one promise."""

    name: ClassVar[str] = "door"
    opened = False

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(f"{split}{index}", split, "go through") for index in range(3)]

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        self.opened = False
        return "A door.", {}

    def step(self, action: str) -> StepResult:
        won = action == "go" and self.opened
        self.opened = self.opened or action == "open"
        return StepResult(f"The door is {self.opened}.", float(won), won, False, {})

    def instructions(self, *, brief: bool = False) -> str:
        return "Say open, then go."

    def snapshot(self) -> bool:
        return self.opened

    def restore(self, snapshot: bool) -> None:
        self.opened = snapshot

    def solve(self, task: Task) -> list[str]:
        return ["open", "go"]


class NoOracle(Door):
    def solve(self, task: Task) -> list[str]:
        raise NotImplementedError

    def valid_actions(self) -> list[str]:
        return ["open", "go"]


class WrongOracle(Door):
    def solve(self, task: Task) -> list[str]:
        return ["go", "open"] if task.name == "dev1" else super().solve(task)


class Generous(Door):
    def step(self, action: str) -> StepResult:
        result = super().step(action)
        return result._replace(reward=100 * result.reward)


class Touchy(Door):
    def step(self, action: str) -> StepResult:
        if action not in ("open", "go"):
            raise KeyError(action)
        return super().step(action)


class Fickle(Door):
    def step(self, action: str) -> StepResult:
        result = super().step(action)
        return result._replace(observation=f"{result.observation} {random.random()}")


class Forgetful(Door):
    def restore(self, snapshot: bool) -> None:
        pass


class Shared(Door):
    """Its snapshot means nothing to another instance."""

    def snapshot(self) -> Any:
        return (id(self), self.opened)

    def restore(self, snapshot: Any) -> None:
        self.opened = snapshot[1] and snapshot[0] == id(self)


class Leaky(Door):
    def tasks(self, split: str) -> Sequence[Task]:
        return [Task("the door", split, "go through")]


class Silent(Door):
    def instructions(self, *, brief: bool = False) -> str:
        return "" if brief else "Say open, then go."


class Tongueless(Door):
    def grammar(self) -> str:
        return 'deed ::= "open" | "go"'


class Unsaved(Door):
    def snapshot(self) -> Any:
        raise NotImplementedError


def failed(findings: list[Finding]) -> dict[str, str]:
    assert [finding.check for finding in findings] == CHECKS
    return {finding.check: finding.detail for finding in findings if finding.failed}


def untried(findings: list[Finding]) -> list[str]:
    assert all(finding.ok is None for finding in findings if finding.outcome == "not tried")
    assert all(finding.outcome != "ok" for finding in findings if not finding.cases)
    return [finding.check for finding in findings if finding.outcome == "not tried"]


def test_textcraft_is_sound() -> None:
    findings = check_environment(TextCraft(), other=TextCraft, episodes=20)
    assert failed(findings) == {}
    assert all(finding.cases > 0 for finding in findings)


@pytest.mark.parametrize("kind", [Door, NoOracle])
def test_sound_environments(kind: type[Door]) -> None:
    assert failed(check_environment(kind(), other=kind)) == {}
    assert failed(check_environment(ReplayEnvironment(kind()))) == {}


@pytest.mark.parametrize(
    ("kind", "check", "detail"),
    [
        (WrongOracle, "oracle", "dev1: ends with reward 0"),
        (Generous, "rewards", "train0: 'go': reward 100.0 is outside [0, 1]"),
        (Touchy, "rewards", "raised KeyError: ''"),
        (Fickle, "determinism", "train0: two episodes differ at step 1"),
        (Forgetful, "snapshots", "train0: step 1 differs after restore"),
        (Shared, "snapshots", "in another instance"),
        (Leaky, "splits", "task 'the door' is in train and in dev"),
        (Silent, "instructions", "instructions(brief=True) is empty"),
        (Tongueless, "instructions", "there is no rule 'action'"),
        (Unsaved, "snapshots", "raised NotImplementedError"),
    ],
)
def test_a_broken_promise_is_named(kind: type[Door], check: str, detail: str) -> None:
    found = failed(check_environment(kind(), other=kind))
    assert detail in found[check]


def test_long_lists_of_faults_are_cut_and_counted() -> None:
    found = failed(check_environment(Generous()))
    assert found["rewards"].endswith("; … 6 more")


class Mute(NoOracle):
    """Nothing is known of what it understands, and it refuses what the checker makes up."""

    def valid_actions(self) -> Any:
        return None

    def step(self, action: str) -> StepResult:
        return super().step(action)._replace(info={"invalid": action not in ("open", "go")})


class Guarded(NoOracle):
    """Offers what its state allows; the promise breaks behind the door."""

    def valid_actions(self) -> list[str]:
        return ["go"] if self.opened else ["open"]

    def step(self, action: str) -> StepResult:
        result = super().step(action)
        return result._replace(reward=2.0) if result.terminated else result


class Misled(Mute):
    """What it offers it refuses."""

    def valid_actions(self) -> list[str]:
        return ["push", "knock"]


REAL = ["rewards", "determinism", "snapshots", "oracle", "seeds", "actions", "repeats"]


@pytest.mark.parametrize(
    ("kind", "checks"),
    [
        (Mute, REAL),
        (Misled, [check for check in REAL if check != "actions"]),
        (NoOracle, ["oracle"]),
        (Door, []),
    ],
)
def test_what_was_not_tried_is_not_called_ok(kind: type[Door], checks: list[str]) -> None:
    findings = check_environment(kind(), other=kind)
    assert untried(findings) == checks
    for finding in findings:
        if finding.outcome == "not tried":
            assert finding.hint.startswith("Implement ")
    assert [f.check for f in findings if f.detail == UNTRIED] == [
        check for check in checks if check in ("rewards", "determinism", "snapshots", "seeds")
    ]


def test_valid_actions_are_followed_from_state_to_state() -> None:
    assert "'go': reward 2.0 is outside [0, 1]" in failed(check_environment(Guarded()))["rewards"]


class Endless(Door):
    """A generator does its work, and may never end, when it is read."""

    def tasks(self, split: str) -> Any:
        return (Task(f"{split}{index}", split, "go through") for index in itertools.count())


class EndlessOracle(Door):
    def solve(self, task: Task) -> Any:
        return itertools.repeat("open")

    def valid_actions(self) -> Any:
        return itertools.repeat("open")


@pytest.mark.parametrize(
    ("env", "check", "call"),
    [(Endless(), "splits", "tasks('train')"), (EndlessOracle(), "oracle", "solve('train0')")],
)
def test_a_list_without_an_end_is_given_up(
    env: Environment, check: str, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_ITEMS", 1000)
    findings = {finding.check: finding for finding in check_environment(env, episodes=1)}
    assert not findings[check].ok
    assert f"{call} returned more than 1,000 items" in findings[check].detail
