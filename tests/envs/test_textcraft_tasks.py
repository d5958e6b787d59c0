"""The bundled book, its goals and its frozen splits."""

from __future__ import annotations

import hashlib
from importlib import resources

import pytest

from agentr_lite.envs.textcraft import TextCraft
from agentr_lite.envs.textcraft.book import bundled_table
from agentr_lite.envs.textcraft.rules import Recipe, RecipeTable
from agentr_lite.envs.textcraft.tasks import (
    MAX_PLAN,
    PUBLISHED_GOALS,
    PUBLISHED_TEST_IDS,
    build_manifest,
    bundled_splits,
    goals,
    manifest_text,
    published_split,
    shown_commands,
    stratified_split,
    world_of_goal,
)


def test_the_book_is_large_and_deep() -> None:
    table = bundled_table()
    names = goals(table)
    assert len(names) >= 350
    depths = [table.depth(name) for name in names]
    assert depths == sorted(depths)
    assert min(depths.count(depth) for depth in (2, 3, 4)) >= 50
    assert max(depths) >= 4
    assert all(table.depth(name) > 0 for name in table.by_output), "everything can be made"


def test_only_planks_and_wool_are_tags() -> None:
    table = bundled_table()
    assert set(table.tags) == {"planks", "wool"}
    for members in table.tags.values():
        assert all(member in table.by_output for member in members)
    assert {"oak_logs", "wooden_slabs", "logs"} <= table.gettable


def test_the_manifest_can_be_made_again() -> None:
    frozen = resources.files("agentr_lite.envs.textcraft").joinpath("data/tasks.json")
    assert manifest_text(build_manifest()) == frozen.read_text("utf-8")


def test_the_splits() -> None:
    table = bundled_table()
    splits = bundled_splits()
    names = [name for split in splits.values() for name in split]
    assert len(set(names)) == len(names), "the splits are disjoint"
    assert len(splits["train"]) >= 200
    assert len(splits["dev"]) >= 30
    assert len(splits["test"]) >= 150
    for split in splits.values():
        assert {table.depth(name) for name in split} == {1, 2, 3, 4, 5}


def test_every_task_can_be_won_within_the_usual_rounds() -> None:
    env = TextCraft()
    for split in ("train", "dev", "test"):
        for task in env.tasks(split):
            assert len(env.solve(task)) <= MAX_PLAN


def test_the_commands_shown() -> None:
    table = bundled_table()
    for name in goals(table):
        shown = shown_commands(table, name)
        tree = set(table.tree(name))
        assert len(set(shown)) == len(shown)
        assert tree <= set(shown)
        others = [recipe for recipe in shown if recipe not in tree]
        assert len(others) <= 10
        used = {item for recipe in tree for _, item in recipe.inputs}
        assert all(any(item in used for _, item in recipe.inputs) for recipe in others)


def test_fewer_commands_on_request_but_never_less_than_the_tree() -> None:
    table = bundled_table()
    tree = set(table.tree("ladder"))
    for limit in (1, len(tree) + 2):
        shown = shown_commands(table, "ladder", max_commands=limit)
        assert len(shown) == max(limit, len(tree))
        assert tree <= set(shown)
    assert set(shown_commands(table, "ladder", distractors=0)) == tree


def test_tasks_stay_as_they_were_published() -> None:
    """A change here changes what every stored result was measured on."""
    table = bundled_table()
    texts = [world_of_goal(table, name).text for name in bundled_splits()["test"]]
    digest = hashlib.sha256("\n\n".join(texts).encode()).hexdigest()
    assert digest == "99c91e82350059adf882563c36534636e6db252a7595fa453006fa123769ab10"


def test_a_small_table_still_gets_a_split() -> None:
    table = RecipeTable([Recipe("a", 1, ((1, "x"),)), Recipe("b", 1, ((1, "a"),))])
    splits = stratified_split(table, goals(table))
    assert splits == {"train": [], "dev": [], "test": ["a", "b"]}


def test_the_published_ids() -> None:
    names = [f"goal{index}" for index in range(PUBLISHED_GOALS)]
    splits = published_split(names)
    assert splits["test"] == [names[index] for index in PUBLISHED_TEST_IDS]
    assert {split: len(members) for split, members in splits.items()} == {
        "train": 374,
        "dev": 70,
        "test": 100,
    }
    everything = [name for members in splits.values() for name in members]
    assert len(set(everything)) == len(everything)
    assert set(splits["train"]) <= set(names[31:538])


@pytest.mark.parametrize("goal", ["magenta_bed", "crossbow", "lectern", "painting"])
def test_facts_of_the_book_reach_the_prompt(goal: str) -> None:
    text = world_of_goal(bundled_table(), goal).text
    assert text.startswith("Crafting commands:\ncraft ")
    assert text.endswith(f"\n\nGoal: craft {goal.replace('_', ' ')}.")
