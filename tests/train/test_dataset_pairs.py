"""Preferences in the training set: by objective, held out by task, limited, recorded."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from agentr_lite.core.errors import RecipeError
from agentr_lite.recipe.loading import recipe_from_dict
from agentr_lite.store import Store, splices
from agentr_lite.store.preferences import list_preferences
from agentr_lite.train.batches import TrainExample
from agentr_lite.train.dataset import build_dataset
from agentr_lite.train.preferences import PreferenceExample
from tests.support.preference_cases import pair_recipe, planted_run

Run = tuple[Store, str]


@pytest.fixture
def planted(tmp_path: Path) -> Generator[Run]:
    """Four trees with two pairs of episodes, two of steps and one of a revision each."""
    store, run_id = planted_run(tmp_path / "runs.db", pair_recipe())
    with store:
        yield store, run_id


def goal(example: TrainExample | PreferenceExample) -> str:
    return example.messages[1]["content"]


@pytest.mark.parametrize(
    ("objective", "single", "pairs"), [("sft", 8, 0), ("dpo", 0, 20), ("sft+dpo", 8, 20)]
)
def test_the_objective_says_what_goes_in(
    planted: Run, objective: str, single: int, pairs: int
) -> None:
    dataset = build_dataset(*planted, 1, pair_recipe(objective=objective), {})
    assert (len(dataset.train), len(dataset.pairs)) == (single, pairs)
    assert dataset.counts["revision"] + dataset.counts["good"] == single
    if objective == "sft":
        assert "preference" not in dataset.counts
    else:
        kinds = {key: dataset.counts[key] for key in dataset.counts if key.endswith("_pairs")}
        assert kinds == {"episode_pairs": 8, "step_pairs": 8, "revision_pairs": 4}
        assert dataset.counts["preference"] == pairs
    items = splices.list_dataset_items(planted[0], dataset.id)
    stored = [item.preference_id for item in items if item.kind == "preference"]
    assert len(items) == single + pairs and len(set(stored) - {None}) == pairs


def test_the_set_of_supervised_training_does_not_depend_on_the_pairs(
    planted: Run, tmp_path: Path
) -> None:
    store, run_id = planted_run(tmp_path / "without.db", pair_recipe(()))
    recipe = pair_recipe(objective="sft", validation=0.3)
    with store:
        without = build_dataset(store, run_id, 1, recipe, {})
    beside = build_dataset(*planted, 1, recipe, {})
    assert (without.sha256, without.train, without.valid) == (
        beside.sha256, beside.train, beside.valid,
    )  # fmt: skip
    assert without.counts == beside.counts


@pytest.mark.parametrize("kinds", [("step",), ("episode", "revision")])
def test_only_the_kinds_that_the_recipe_names_are_learnt(
    planted: Run, kinds: tuple[str, ...]
) -> None:
    dataset = build_dataset(*planted, 1, pair_recipe(kinds), {})
    counted = {kind for kind in ("episode", "step", "revision") if dataset.counts[f"{kind}_pairs"]}
    assert counted == set(kinds)


@pytest.mark.parametrize("seed", range(8))
def test_a_task_is_held_out_of_examples_and_pairs_or_of_none(planted: Run, seed: int) -> None:
    recipe = replace(pair_recipe(objective="sft+dpo", validation=0.3), seed=seed)
    dataset = build_dataset(*planted, 1, recipe, {})
    learnt = {goal(example) for example in [*dataset.train, *dataset.pairs]}
    held = {goal(example) for example in [*dataset.valid, *dataset.valid_pairs]}
    assert learnt and held and not learnt & held
    assert dataset.valid and dataset.valid_pairs
    items = splices.list_dataset_items(planted[0], dataset.id)
    splits = [item.split for item in items if item.kind == "preference"]
    assert splits.count("valid") == len(dataset.valid_pairs)


def test_the_same_rows_give_the_same_set_and_other_pairs_another(planted: Run) -> None:
    store, run_id = planted
    first = build_dataset(store, run_id, 1, pair_recipe(), {})
    again = build_dataset(store, run_id, 1, pair_recipe(), {})
    assert (first.id, first.sha256, first.pairs) == (again.id, again.sha256, again.pairs)
    other_seed = build_dataset(store, run_id, 1, replace(pair_recipe(), seed=9), {})
    assert other_seed.sha256 != first.sha256
    store.execute("DELETE FROM preferences WHERE kind = 'step'")
    assert build_dataset(store, run_id, 1, pair_recipe(), {}).sha256 != first.sha256


def test_the_limit_is_shared_among_the_tasks(planted: Run) -> None:
    dataset = build_dataset(*planted, 1, pair_recipe(max_examples=4), {})
    assert {goal(pair) for pair in dataset.pairs} == {goal(pair) for pair in _every(planted)}
    assert (len(dataset.pairs), dataset.counts["over_limit"]) == (4, 16)


def _every(planted: Run) -> list[PreferenceExample]:
    return build_dataset(*planted, 1, pair_recipe(), {}).pairs


def test_earlier_rounds_count_if_they_are_accumulated(planted: Run) -> None:
    assert len(build_dataset(*planted, 2, pair_recipe(), {}).pairs) == 20
    assert build_dataset(*planted, 2, pair_recipe(accumulate=False), {}).pairs == []


def test_equal_conversations_are_learnt_once(planted: Run) -> None:
    store, run_id = planted
    rows = list_preferences(store, run_id, kinds=["step"])
    store.execute(
        "INSERT INTO preferences (run_id, round, tree_id, kind, parting_idx, chosen_idx,"
        " rejected_idx, chosen_value, rejected_value) SELECT run_id, round, tree_id, 'episode',"
        " parting_idx, chosen_idx, rejected_idx, chosen_value, rejected_value FROM preferences"
        " WHERE id = ?",
        (rows[0].id,),
    )
    dataset = build_dataset(store, run_id, 1, pair_recipe(), {})
    assert (dataset.counts["preference"], dataset.counts["duplicates"]) == (20, 1)


def test_an_objective_without_pairs_is_refused_before_the_run() -> None:
    for objective in ("dpo", "sft+dpo"):
        with pytest.raises(RecipeError, match=r"splice\.preferences is empty") as refused:
            recipe_from_dict({"train": {"objective": objective}})
        assert "splice.preferences=[step]" in refused.value.hint
    with pytest.raises(RecipeError, match="step occurs twice"):
        recipe_from_dict({"splice": {"preferences": ["step", "step"]}})
    with pytest.raises(RecipeError, match="'turn' is not one of episode, step, revision"):
        recipe_from_dict({"splice": {"preferences": ["turn"]}})
    assert recipe_from_dict({"splice": {"preferences": "step"}}).splice.preferences == ("step",)
