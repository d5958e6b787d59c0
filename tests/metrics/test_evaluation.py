"""Figures of an evaluation: what is left out, what is paired, and their JSON form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from agentr_lite.core.steps import Step
from agentr_lite.metrics.environments import figures_by_env
from agentr_lite.metrics.evaluation import EvalFigures, compare, figures_of, summarise
from agentr_lite.metrics.measures import Played, any_graded
from agentr_lite.store.records import EpisodeStep, EvalItemRow, TaskRow


def row(
    task: int, reward: float, *, sample: int = 0, error: str | None = None, level: int = 1
) -> EvalItemRow:
    episode = [EpisodeStep(Step("t", "up", "o", reward=reward))]
    return EvalItemRow(
        TaskRow(task, "stairs", f"task{task}", "test", "goal", level),
        sample,
        reward,
        reward >= 1,
        1,
        0,
        0,
        0,
        episode,
        error,
    )


def test_summary_by_hand() -> None:
    items = [row(0, 1.0), row(1, 0.5, level=2), row(2, 1.0), row(3, 0.0, error="environment 'x'")]
    found = summarise(items)
    assert (found.episodes, found.faulty, found.successes) == (4, 1, 2)
    assert found.success.value == pytest.approx(2 / 3)
    assert found.success.n == 3
    assert found.reward.value == pytest.approx(2.5 / 3)
    assert found.by_level[2].success.value == 0.0
    assert found.valid_actions == 1.0
    assert found.revision_length is None


def test_samples_of_one_task_are_one_observation() -> None:
    items = [row(t, float(t % 2), sample=s) for t in range(10) for s in range(8)]
    assert summarise(items).success.n == 10
    assert compare(items, items, seed=1).success.n == 10  # type: ignore[index]


def test_comparison_pairs_by_task_and_leaves_broken_rows_out() -> None:
    base = [row(0, 0.0), row(1, 1.0), row(2, 0.0), row(3, 0.0, error="environment 'x'")]
    now = [row(3, 1.0), row(2, 1.0), row(1, 1.0), row(0, 1.0), row(9, 0.0)]
    found = compare(now, base, seed=1)
    assert found is not None
    assert (found.pairs, found.gained, found.lost) == (3, 2, 0)
    assert found.success.value == pytest.approx(2 / 3)
    assert found.mcnemar_p == 0.5


def test_nothing_in_common_is_no_comparison() -> None:
    assert compare([row(0, 1.0)], [row(1, 1.0)], seed=1) is None


def test_summary_of_nothing_has_no_figures() -> None:
    found = summarise([])
    assert found.success is None
    assert found.steps is None


def test_the_stored_form_is_that_of_earlier_databases() -> None:
    now = [row(0, 1.0), row(1, 0.5, level=2)]
    stored = figures_of(now, [row(0, 0.0), row(1, 0.5, level=2)], seed=1).to_json()
    assert stored["success"] == {
        "value": 0.5,
        "low": pytest.approx(0.0945, abs=1e-4),
        "high": pytest.approx(0.9055, abs=1e-4),
        "n": 2,
    }
    assert stored["by_level"]["2"]["reward"]["value"] == 0.5
    assert stored["repeated_runs"] == {"1": 0, "2": 0, "3": 0, "4": 0}
    assert sorted(stored["versus_base"]) == [
        *("gained", "lost", "mcnemar_p", "pairs", "reward", "success")
    ]
    assert not {"by_env", "settings"} & set(stored)
    assert EvalFigures.from_json(json.loads(json.dumps(stored))).to_json() == stored


def test_the_stored_form_over_several_environments() -> None:
    other = [replace(item, task=replace(item.task, env="hall")) for item in (row(5, 1.0),)]
    figures = figures_by_env([row(0, 0.0), *other], None, ["stairs", "hall"], seed=1)
    stored = figures.to_json()
    assert list(stored["by_env"]) == ["stairs", "hall"]
    assert (stored["success"]["value"], stored["by_level"]) == (0.5, {})
    assert EvalFigures.from_json(stored) == figures


def test_an_unfinished_evaluation_has_no_figures() -> None:
    figures = EvalFigures.from_json({"settings": {"tasks": 3}})
    assert (figures.success, figures.graded, figures.episodes) == (None, False, 0)


@pytest.mark.parametrize(("rewards", "graded"), [((0, 1, 1), False), ((0, 0.25, 1), True)])
def test_an_environment_is_graded_where_a_reward_is_partial(
    rewards: Sequence[float], graded: bool
) -> None:
    items = [row(task, reward) for task, reward in enumerate(rewards)]
    assert summarise(items).graded is graded
    assert (
        any_graded([{("greedy", 0): [Played.of(item, item.task.id) for item in items]}]) is graded
    )
