"""What a round gives to learn from: the counts, and why it is nothing where it is nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agentr_lite.core.errors import NothingToLearn
from agentr_lite.metrics.learning import (
    LearningCounts,
    diagnose,
    learning_counts,
    partial_notes,
    round_diagnosis,
    search_outlook,
)
from agentr_lite.runs.dead_end import stop_at_dead_end
from agentr_lite.store import Store, runs, trees
from tests.support.preference_cases import pair_recipe, planted_run
from tests.support.stages import train_stage

PLAYED = LearningCounts(trees=48, answers=1000, ended=48)


@pytest.mark.parametrize(
    ("counts", "cause", "finding", "advice"),
    [
        (
            replace(PLAYED, without_action=900, ended=0),
            "no action",
            "900 of 1000 answers held no action",
            "agent.grammar",
        ),
        (
            replace(PLAYED, without_action=100, illegal=700),
            "illegal actions",
            "700 of 1000 actions were not understood or not possible",
            "agent.grammar",
        ),
        (
            replace(PLAYED, illegal=100),
            "no reward",
            "no episode in 48 trees earned any reward",
            "easier",
        ),
        (
            replace(PLAYED, rewarded=48, always_rewarded=48, tied=48, best_reward=1.0),
            "all rewarded",
            "every episode of all 48 trees was rewarded",
            "harder",
        ),
        (
            replace(PLAYED, rewarded=20, always_rewarded=20, tied=48, best_reward=1.0),
            "ties",
            "rewards tie in all 48 trees",
            "splice.contested=false",
        ),
        (
            replace(PLAYED, rewarded=9, tied=39, best_reward=0.25, bad=300),
            "no pair",
            "no episode earned enough to count as good (the best reward was 0.25)",
            "splice.alpha",
        ),
        (
            replace(PLAYED, rewarded=9, tied=39, best_reward=1.0, good=9, bad=90, pairs=12,
                    rejected={"no way back": 10, "duplicate": 2}),
            "no cut",
            "none of 12 pairs became a revision (no way back: 10, duplicate: 2)",
            "recovery_attempts",
        ),
        (
            replace(PLAYED, rewarded=9, best_reward=1.0, good=9, bad=90, pairs=12, revisions=12),
            "left out",
            "there are 12 revisions and 9 good trajectories, but the recipe trains on none of them",
            "splice.data",
        ),
        (
            replace(PLAYED, broken=48, ended=0),
            "environment",
            "the environment broke in all 48 trees",
            "envs check",
        ),
    ],
)  # fmt: skip
def test_each_way_to_learn_nothing_has_its_reason_and_its_advice(
    counts: LearningCounts, cause: str, finding: str, advice: str
) -> None:
    diagnosis = diagnose(counts)
    assert (diagnosis.cause, diagnosis.finding) == (cause, finding)
    assert any(advice in each for each in diagnosis.advice)
    assert all(each.endswith((".", "…")) for each in diagnosis.advice)
    assert diagnosis.to_json()["advice"] == list(diagnosis.advice)


def test_partial_cases_are_notes() -> None:
    assert partial_notes(PLAYED) == []
    assert partial_notes(replace(PLAYED, rewarded=20, tied=38)) == [
        "rewards tie in 38 of 48 trees: they give no pair"
    ]
    assert partial_notes(replace(PLAYED, broken=3, illegal=600)) == [
        "the environment broke in 3 of 48 trees",
        "600 of 1000 answers are actions that are not legal",
    ]


def test_before_splicing_only_what_is_certain_is_called_nothing() -> None:
    assert search_outlook(replace(PLAYED, rewarded=1, tied=47), contested=True) is None
    assert search_outlook(replace(PLAYED, rewarded=9, tied=48), contested=False) is None
    tied = search_outlook(replace(PLAYED, rewarded=9, tied=48), contested=True)
    assert tied is not None and tied.cause == "ties"
    none = search_outlook(PLAYED, contested=False)
    assert none is not None and none.cause == "no reward"


def test_the_counts_are_those_of_the_trees(filled: Path) -> None:
    with Store.open(filled, create=False) as store:
        run = runs.get_run(store, "latest").id
        counts = learning_counts(store, run, 1)
        rows = trees.list_trees(store, run, round_index=1)
        nodes = [trees.load_tree(store, row.id) for row in rows]
        assert counts.trees == len(rows) == 5 and counts.broken == 0
        assert counts.answers == sum(node.merged for tree in nodes for node in tree)
        ends = [
            {node.reward for node in tree if node.terminated or node.truncated} for tree in nodes
        ]
        assert counts.ended == sum(map(bool, ends))
        assert counts.tied == sum(len(rewards) == 1 for rewards in ends)
        assert counts.rewarded == sum(max(rewards, default=0) > 0 for rewards in ends)
        assert counts.pairs == counts.revisions + sum(counts.rejected.values()) > 0
        assert round_diagnosis(store, run, 1) is None
        assert learning_counts(store, run, 9) == LearningCounts(0)


SPLICED = replace(PLAYED, rewarded=9, tied=39, best_reward=1.0, good=9, bad=90, revisions=12)


@pytest.mark.parametrize(
    ("counts", "cause", "finding", "advice"),
    [
        (
            SPLICED,
            "no preference",
            "9 good and 90 bad trajectories gave no pair of a better and a worse continuation",
            ["splice.preferences", "splice.preference_margin"],
        ),
        (
            replace(PLAYED, rewarded=20, always_rewarded=20, tied=48),
            "ties",
            "rewards tie in all 48 trees: no continuation is better than another",
            ["search.depth", "search.temperature"],
        ),
        (replace(SPLICED, tied=48, always_rewarded=48), "all rewarded", None, ["harder"]),
        (replace(PLAYED, illegal=100), "no reward", None, ["imitation.tasks"]),
    ],
)  # fmt: skip
def test_where_only_pairs_are_learnt_the_reasons_are_those_of_pairs(
    counts: LearningCounts, cause: str, finding: str | None, advice: list[str]
) -> None:
    diagnosis = diagnose(counts, pairs_only=True)
    assert diagnosis.cause == cause and finding in (None, diagnosis.finding)
    text = " ".join(diagnosis.advice)
    assert all(each in text for each in advice)
    # Good trajectories of other tasks are no pairs.
    assert "contested" not in text


def test_before_splicing_trees_whose_rewards_tie_give_no_pair() -> None:
    tied = replace(PLAYED, rewarded=9, tied=48)
    outlook = search_outlook(tied, contested=False, objective="dpo")
    assert outlook is not None and outlook.cause == "ties"
    assert search_outlook(tied, contested=False, objective="sft+dpo") is None
    assert search_outlook(replace(tied, tied=47), contested=True, objective="dpo") is None
    assert search_outlook(replace(tied, preferences=1), contested=True, objective="dpo") is None


def test_a_round_without_pairs_says_so(tmp_path: Path) -> None:
    # Revisions are there, and pairs of other kinds would be.
    recipe = pair_recipe(("step",), splice={"preference_margin": 1.0})
    store, run = planted_run(tmp_path / "runs.db", recipe)
    with store:
        assert learning_counts(store, run, 1).preferences == 0
        summary = train_stage(store, run, 1, recipe)
        assert "no pair of a better and a worse continuation" in summary["skipped"]
        diagnosis = round_diagnosis(store, run, 1)
        assert diagnosis is not None and diagnosis.cause == "no preference"
        with pytest.raises(NothingToLearn, match="4 good and 8 bad trajectories gave no pair"):
            stop_at_dead_end(store, run, 1)
