"""What is counted in one episode."""

from __future__ import annotations

from typing import Any

import pytest

from agentr_lite.core.steps import Step
from agentr_lite.metrics.episodes import repeated_actions, repeated_runs, revision_lengths
from tests.support.stairs import act


def step(
    action: str, observation: str = "same", *, invalid: bool = False, kind: Any = "act"
) -> Step:
    return Step(act(action), action, observation, invalid=invalid, kind=kind)


@pytest.mark.parametrize(
    ("actions", "runs", "steps"),
    [
        ("aaaa", {1: 3}, 3),
        ("abab", {2: 1}, 2),
        ("ababab", {2: 2}, 4),
        ("abcabc", {3: 1}, 3),
        ("abcdabcd", {4: 1}, 4),
        ("aabaab", {1: 2, 3: 1}, 4),
        ("abcd", {}, 0),
        ("aba", {}, 0),
        ("", {}, 0),
    ],
)
def test_repetitions_by_length(actions: str, runs: dict[int, int], steps: int) -> None:
    episode = [step(action) for action in actions]
    assert {k: v for k, v in repeated_runs(episode).items() if v} == runs
    assert repeated_actions(episode) == steps


def test_the_same_action_with_another_answer_is_progress() -> None:
    assert repeated_actions([step("up", "Stair 1."), step("up", "Stair 2.")]) == 0


def test_revision_length_counts_visibly_bad_steps_before_the_reflection() -> None:
    reflect = step("reflect", "Go on.", kind="reflect")
    episode = [
        step("up", "Stair 1."),
        step("x", "What?", invalid=True),
        step("y", "What?", invalid=True),
        reflect,
        step("up", "Stair 2."),
        reflect,
        step("rest", "You rest."),
        step("rest", "You rest."),
        step("z", "What?", invalid=True),
        reflect,
    ]
    assert revision_lengths(episode) == [2, 0, 2]
