"""Several runs in one report: pooled figures, methods compared, the noise called noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from stairs import Policy, Scripted, Stairs, act

from agentr_lite.actors.base import Message
from agentr_lite.evaluate import eval_stage
from agentr_lite.recipe import EvalSettings, Recipe
from agentr_lite.report.results import (
    Study,
    gather_study,
    pooled_rate,
    study_sections,
    versus_arm,
    versus_base,
)
from agentr_lite.store import Store
from agentr_lite.store.runs import (
    create_run,
    set_run_status,
)

RECIPE = Recipe(env="stairs", rounds=1, eval=EvalSettings(max_steps=4, batch=8))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "study.db")


def solves(share: int, of: int = 10) -> Policy:
    """Solves ``share`` of every ``of`` tasks."""

    def policy(messages: Sequence[Message], seed: int) -> str:
        number = int(messages[1]["content"].partition(":")[0].removeprefix("task"))
        return act("up" if number % of < share else "rest")

    return policy


def finished(store: Store, base: Policy, after: Policy, **changes: Any) -> str:
    run = create_run(store, Recipe(**{**RECIPE.__dict__, **changes}))
    for number, policy in enumerate((base, after)):
        eval_stage(store, run, number, RECIPE, Stairs(per_split=60), Scripted(policy))
    set_run_status(store, run, "finished")
    return run


@pytest.fixture
def study(store: Store) -> Study:
    """Two arms, three seeds: 40 % before, 70 % and 50 % after."""
    runs = {
        (arm, seed): finished(store, solves(4), solves(after), seed=seed)
        for arm, after in (("verified", 7), ("good", 5))
        for seed in (1, 2, 3)
    }
    return gather_study(store, runs, labels={"verified": "Agent-R", "good": "good only"})


def test_pooled_figures(study: Study) -> None:
    rate = pooled_rate(study.of("verified"), "greedy", 1)
    assert rate is not None
    assert (rate["value"], rate["n"]) == (pytest.approx(0.7), 60)
    gain = versus_base(study.of("verified"), "greedy", 1)
    assert gain is not None
    assert gain["value"] == pytest.approx(0.3)
    assert gain["by_seed"] == pytest.approx([0.3, 0.3, 0.3])
    between = versus_arm(study, "verified", "good", "greedy", 1)
    assert between is not None
    assert between["value"] == pytest.approx(0.2)


def test_three_copies_of_the_tasks_are_no_more_certain_than_one(study: Study) -> None:
    one = versus_base(study.of("verified")[:1], "greedy", 1)
    three = versus_base(study.of("verified"), "greedy", 1)
    assert one is not None
    assert three is not None
    assert three["low"] == pytest.approx(one["low"])
    assert three["high"] == pytest.approx(one["high"])


def test_sections_name_the_arms_and_the_noise(study: Study) -> None:
    sections = {section.title: section for section in study_sections(study)}
    success = sections["Success on held-out tasks"]
    assert [str(row[0]) for row in success.rows] == [
        "base",
        "Agent-R, round 1",
        "good only, round 1",
    ]
    assert str(success.rows[1][5]) == "+30.0, +30.0, +30.0"
    assert str(success.notes[0]).startswith("Agent-R solves 30.0 points more than base")
    between = sections["Between the methods, last round"]
    assert str(between.notes[0]).startswith("Agent-R solves 20.0 points more than good only")
    assert len(sections["Seed by seed"].rows) == 6


def test_arms_without_a_difference_are_inside_the_noise(store: Store) -> None:
    runs = {(arm, 1): finished(store, solves(4), solves(6), seed=1) for arm in ("verified", "good")}
    section = next(
        s for s in study_sections(gather_study(store, runs)) if s.title.startswith("Between")
    )
    assert "inside the noise" in str(section.notes[0])
