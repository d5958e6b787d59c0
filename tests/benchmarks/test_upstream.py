"""The benchmark's upstream way grows the same trees as ours, at upstream's price."""

from __future__ import annotations

import re

import pytest

from agentr_lite.recipe.groups import SearchSettings
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from benchmarks.upstream import report, run_ours, run_upstream
from tests.support.corridor import ACTIONS, Corridor
from tests.support.policy_actor import PolicyActor, wanderer


@pytest.mark.parametrize(
    ("simulations", "width", "depth"), [(1, 1, 5), (4, 3, 6), (8, 4, 12), (40, 2, 4)]
)
def test_the_same_trees_at_another_price(simulations: int, width: int, depth: int) -> None:
    search = SearchSettings(simulations=simulations, width=width, depth=depth)
    recipe = Recipe(env=(EnvironmentSettings("corridor"),), seed=3, search=search)
    tasks = Corridor().tasks("train")[:4]

    def actor() -> PolicyActor:
        return PolicyActor(wanderer(*ACTIONS, "reflect"))

    ours, mine = run_ours(tasks, Corridor(), actor(), recipe)
    theirs, other = run_upstream(tasks, Corridor(), actor(), recipe, forgetful=True)
    assert mine == other
    assert sum(len(tree) for tree in mine) > len(tasks) * 2
    # Every candidate is a call with the whole conversation; ours asks for all of a node's at once.
    assert theirs.calls == width * ours.calls
    assert theirs.batches == theirs.calls
    assert ours.batches <= ours.calls
    assert theirs.prompt_tokens == width * ours.prompt_tokens
    assert theirs.output_tokens == ours.output_tokens
    # Every child starts over.
    nodes = sum(len(tree) for tree in mine)
    assert theirs.resets == nodes
    assert ours.resets == len(tasks)
    assert theirs.steps > ours.steps
    assert ours.steps == ours.restores
    assert theirs.kept_bytes > ours.kept_bytes


def test_the_report_says_whether_the_trees_are_equal() -> None:
    recipe = Recipe(
        env=(EnvironmentSettings("corridor"),),
        search=SearchSettings(simulations=2, width=2, depth=4),
    )
    tasks = Corridor().tasks("train")[:2]
    policy = wanderer(*ACTIONS)
    results = {
        "ours": run_ours(tasks, Corridor(), PolicyActor(policy), recipe),
        "theirs": run_upstream(tasks, Corridor(), PolicyActor(policy), recipe, forgetful=True),
        "another": run_upstream(
            tasks, Corridor(), PolicyActor(wanderer("leave")), recipe, forgetful=True
        ),
    }
    text = report(results, recipe, 2)
    assert re.search(r"trees equal to ours +2 of 2 +2 of 2 +0 of 2", text)
    assert "(2.0 x)" in text
