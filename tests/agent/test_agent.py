"""The agent loop: from text to steps, and whose fault a fault is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentr_lite.agent import turns as agent
from agentr_lite.agent.boundary import environment_boundary, guarded_step
from agentr_lite.agent.conversation import conversation, turns
from agentr_lite.agent.step import take_step
from agentr_lite.agent.turns import (
    NO_ACTION_REPLY,
    REFLECT_REPLY,
    REFLECTIONS,
    is_reflection,
    parse_action,
    reflection_turn,
)
from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.core.openings import Opening
from agentr_lite.envs.base import StepResult
from tests.support.corridor import Corridor


@pytest.fixture
def env() -> Corridor:
    env = Corridor()
    env.reset(env.tasks("train")[0])
    return env


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Thought: go.\nAction: forward", "forward"),
        ("Action:   forward  ", "forward"),
        ("  Action:\tforward\r\n", "forward"),
        ("Action: first\nAction: second", "first"),
        ("Action: get 2 oak planks\n\nmore", "get 2 oak planks"),
        ("Action:\nforward", "forward"),
        ("Action: ", None),
        ("I take the Action: forward", None),
        ("action: forward", None),
        ("", None),
        ("Thought: nothing", None),
    ],
)
def test_parse_action(text: str, action: str | None) -> None:
    assert parse_action(text) == action


@given(st.text())
def test_parse_action_copes_with_anything(text: str) -> None:
    action = parse_action(text)
    assert action is None or (action and "\n" not in action)


@pytest.mark.parametrize(
    ("action", "yes"),
    [("reflect", True), (" Reflect. ", True), ("reflect on it", False), ("", False), (None, False)],
)
def test_is_reflection(action: str | None, yes: bool) -> None:
    assert is_reflection(action) is yes


def test_an_action_reaches_the_environment(env: Corridor) -> None:
    step = take_step(env, "Thought: on.\nAction: forward")
    assert (step.kind, step.action, step.invalid) == ("act", "forward", False)
    assert step.text == "Thought: on.\nAction: forward"
    assert step.observation.startswith("You are at 1")
    assert env.steps_taken == 1


def test_what_the_environment_says_of_it_is_kept(env: Corridor) -> None:
    assert take_step(env, "Action: fly").invalid
    fall = take_step(env, "Action: jump")
    assert fall.terminated and fall.disaster and fall.reward == 0.0


def test_no_action_is_an_invalid_step_that_costs_no_environment_step(env: Corridor) -> None:
    step = take_step(env, "I wonder.")
    assert (step.kind, step.action, step.invalid) == ("none", None, True)
    assert step.observation == NO_ACTION_REPLY
    assert env.steps_taken == 0


@pytest.mark.parametrize("signal", REFLECTIONS)
def test_the_revision_turn_is_the_loops_own(env: Corridor, signal: str) -> None:
    turn = reflection_turn(signal)
    step = take_step(env, turn)
    assert (step.kind, step.observation, step.invalid) == ("reflect", REFLECT_REPLY, False)
    assert signal in step.text
    assert env.steps_taken == 0


def test_reflections_differ() -> None:
    assert len(set(REFLECTIONS)) == len(REFLECTIONS) == 10
    assert all(parse_action(reflection_turn(text)) == agent.REFLECT for text in REFLECTIONS)


class Broken(Corridor):
    """Returns or raises what it is told to."""

    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result

    def step(self, action: str) -> Any:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.mark.parametrize(
    "result",
    [
        StepResult("fine", 1.5, False, False, {}),
        StepResult("fine", -0.1, False, False, {}),
        StepResult("fine", float("nan"), False, False, {}),
        StepResult(b"bytes", 0.0, False, False, {}),  # type: ignore[arg-type]
        StepResult("fine", "much", False, False, {}),  # type: ignore[arg-type]
        ("too", "short"),
        None,
        KeyError("plank"),
    ],
)
def test_nonsense_is_the_environments_fault(result: Any) -> None:
    with pytest.raises(EnvironmentFault, match=r"environment 'corridor': step\('go'\)"):
        guarded_step(Broken(result), "go")


def test_a_plain_tuple_and_numpys_numbers_will_do() -> None:
    import numpy as np

    result = guarded_step(Broken(("on", np.float32(0.5), np.bool_(True), False, {"a": 1})), "go")
    assert result == StepResult("on", 0.5, True, False, {"a": 1})
    assert type(result.reward) is float


def test_the_boundary_lets_pass_what_is_not_the_environments() -> None:
    env = Corridor()
    with pytest.raises(KeyboardInterrupt), environment_boundary(env, "step()"):
        raise KeyboardInterrupt
    fault = EnvironmentFault("other", "was first")
    with pytest.raises(EnvironmentFault) as caught, environment_boundary(env, "step()"):
        raise fault
    assert caught.value is fault


def test_conversations(env: Corridor) -> None:
    steps = [take_step(env, f"Action: {word}") for word in ("forward", "back")]
    messages = conversation(Opening("Rules.", "Goal."), steps)
    assert [m["role"] for m in messages] == ["system", "user", *["assistant", "user"] * 2]
    assert messages[:2] == [
        {"role": "system", "content": "Rules."},
        {"role": "user", "content": "Goal."},
    ]
    assert messages[2:] == turns(steps)
    assert messages[2]["content"] == "Action: forward"
    assert conversation(Opening("Rules.", "Goal."))[-1]["role"] == "user"
