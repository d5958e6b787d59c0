"""Turns become demonstrations only if they earn enough when they are taken again from reset."""

from __future__ import annotations

import itertools
from typing import Any, Literal

import pytest

from agentr_lite.agent import boundary
from agentr_lite.agent.turns import parse_action
from agentr_lite.core.steps import turn_text
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import PLAIN_THOUGHT
from agentr_lite.envs.wrappers import ReplayEnvironment
from agentr_lite.imitate.collect import has_expert, own_demonstration, verify_turns
from tests.support.corridor import Corridor
from tests.support.stairs import Stairs


class Guide(Corridor):
    """A corridor whose guide explains what it does."""

    def demonstrate(self, task: Task) -> list[str]:
        return [turn_text(f"I {action}.", action) for action in self.solve(task)]


def test_the_oracle_demonstrates_with_plain_thoughts() -> None:
    env = Corridor()
    [task, *_] = env.tasks("train")
    turns = env.demonstrate(task)
    assert turns[0] == f"Thought: {PLAIN_THOUGHT}\nAction: forward"
    assert [parse_action(turn) for turn in turns] == env.solve(task)
    assert ReplayEnvironment(env).demonstrate(task) == turns
    assert not has_expert(env) and has_expert(Guide()) and has_expert(ReplayEnvironment(Guide()))


@pytest.mark.parametrize("source", ["solve", "expert"])
def test_an_environments_own_demonstrations_are_true(source: str) -> None:
    env = Guide()
    for task in env.tasks("train"):
        shown = own_demonstration(env, task, source=source).demonstration
        assert shown is not None and shown.reward == 1.0 and shown.source == source
        assert shown.steps[-1].terminated and shown.opening == env.reset(task)[0]
        assert (shown.steps[0].text == turn_text(PLAIN_THOUGHT, "forward")) == (
            source == "solve" and shown.steps[0].action == "forward"
        )


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([3], "returned a int as a turn"),
        (None, "raised TypeError"),
        (itertools.repeat("Action: back"), "returned more than 1,000 actions"),
        (["Action: \ud800"], "not valid Unicode"),
    ],
)
@pytest.mark.parametrize("source", ["solve", "expert"])
def test_what_is_no_list_of_texts_is_the_environments_fault(
    turns: Any, reason: str, source: Literal["solve", "expert"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boundary, "MAX_ACTIONS", 1000)

    class Wrong(Corridor):
        def demonstrate(self, task: Task) -> Any:
            return turns

        solve = demonstrate

    env = Wrong()
    verified = own_demonstration(env, env.tasks("train")[0], source=source)
    assert verified.demonstration is None
    assert reason.replace("a turn", "an action" if source == "solve" else "a turn") in (
        verified.reason
    )


def test_an_environment_without_an_oracle_says_so() -> None:
    verified = own_demonstration(Stairs(), Task("t", "train", "climb", 2), source="solve")
    assert verified.demonstration is None and verified.reason == "stairs has no oracle"


@pytest.mark.parametrize(
    ("actions", "reason"),
    [
        ([], "it has no turns of the agent"),
        (["forward"], "it earns 0, less than 1"),
        (["forward", "leave"], "it earns 0.25, less than 1"),
        (["fly", "leave"], "it earns 0, less than 1; turn 1 (fly) is not possible"),
    ],
)
def test_turns_that_earn_too_little_are_not_kept(actions: list[str], reason: str) -> None:
    env = Corridor()
    turns = [turn_text("so", action) for action in actions]
    verified = verify_turns(env, env.tasks("train")[0], turns, source="person")
    assert verified.demonstration is None and verified.reason == reason


def test_a_turn_without_an_action_is_named() -> None:
    env = Corridor()
    verified = verify_turns(env, env.tasks("train")[0], ["I win."], source="person")
    assert verified.reason == "it earns 0, less than 1; turn 1 has no action"


def test_alpha_decides_and_turns_after_the_end_are_left_out() -> None:
    env = Corridor()
    turns = [turn_text("so", action) for action in ("forward", "leave", "forward")]
    shown = verify_turns(env, env.tasks("train")[0], turns, source="person", alpha=0.25)
    assert shown.demonstration is not None
    assert [step.action for step in shown.demonstration.steps] == ["forward", "leave"]
    assert shown.demonstration.reward == 0.25


@pytest.mark.parametrize("split", ["dev", "test"])
def test_held_out_tasks_are_never_demonstrated(split: str) -> None:
    env = Corridor()
    task = env.tasks(split)[0]
    for verified in (
        verify_turns(env, task, env.demonstrate(task), source="person"),
        own_demonstration(env, task, source="expert"),
        own_demonstration(env, task, source="solve"),
    ):
        assert verified.demonstration is None
        assert verified.reason == f"'{task.name}' is a {split} task, not a training task"


def test_a_broken_environment_is_a_reason() -> None:
    turns = [turn_text("so", "break")]
    verified = verify_turns(Stairs(), Task("t", "train", "climb", 2), turns, source="person")
    assert verified.demonstration is None and "ZeroDivisionError" in verified.reason
