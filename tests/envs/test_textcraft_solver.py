"""The oracle: plans that work, are as short as can be, and get shorter step by step."""

from __future__ import annotations

import random

import pytest

from agentr_lite.envs.textcraft import (
    Recipe,
    TextCraft,
    World,
    judge,
    parse_recipe,
    plan,
    remaining,
    solve,
)
from agentr_lite.envs.textcraft.book import bundled_table
from agentr_lite.envs.textcraft.rules import Inventory, apply
from agentr_lite.envs.textcraft.solver import UnsolvableError, possible_crafts
from agentr_lite.envs.textcraft.tasks import world_of_goal


def world(goal: str, *commands: str, tags: dict[str, list[str]] | None = None) -> World:
    return World.of_recipes(goal, [parse_recipe(command) for command in commands], tags=tags)


def follow(world: World, inventory: Inventory) -> int:
    """Carry out the plan step by step; each must work and take the plan one action further."""
    steps = 0
    while plan(world, inventory):
        before = remaining(world, inventory)
        outcome = apply(world.table, inventory, plan(world, inventory)[0].text)
        assert outcome.ok, outcome.observation
        assert judge(world, inventory, outcome.inventory, ok=True) == "good"
        inventory = outcome.inventory
        assert remaining(world, inventory) < before
        steps += 1
    assert inventory.get(world.goal, 0) > 0
    return steps


def test_a_plan_rounds_up_and_merges_gets() -> None:
    table = bundled_table()
    assert solve(world_of_goal(table, "ladder")) == [
        "get 1 oak logs",
        "craft 4 oak planks using 1 oak logs",
        "craft 4 stick using 2 oak planks",
        "craft 4 stick using 2 oak planks",
        "craft 3 ladder using 7 stick",
    ]


def test_what_is_held_is_used() -> None:
    ladder = world_of_goal(bundled_table(), "ladder")
    assert remaining(ladder, {"stick": 7}) == 1
    assert remaining(ladder, {"stick": 3}) == 4
    assert remaining(ladder, {"stick": 3, "birch_planks": 2}) == 2
    assert remaining(ladder, {"jungle_logs": 1}) == 4
    assert remaining(ladder, {"ladder": 3}) == 0
    assert plan(ladder, {}, "stick")[-1].text == "craft 4 stick using 2 oak planks"


def test_one_kind_serves_a_tag_at_a_time() -> None:
    chest = world_of_goal(bundled_table(), "chest")
    # Four planks of each of two kinds are not eight of one.
    assert [action.text for action in plan(chest, {"oak_planks": 4, "birch_planks": 4})] == [
        "get 1 oak logs",
        "craft 4 oak planks using 1 oak logs",
        "craft 1 chest using 8 oak planks",
    ]


def test_a_needed_kind_serves_the_tag_too() -> None:
    goal = world(
        "sign",
        "craft 1 sign using 2 birch planks, 1 stick",
        "craft 4 stick using 2 planks",
        "craft 4 oak planks using 1 oak logs",
        "craft 4 birch planks using 1 birch logs",
        tags={"planks": ["oak_planks", "birch_planks"]},
    )
    assert solve(goal) == [
        "get 1 birch logs",
        "craft 4 birch planks using 1 birch logs",
        "craft 4 stick using 2 birch planks",
        "craft 1 sign using 2 birch planks, 1 stick",
    ]


def test_the_cheaper_recipe_wins_and_held_things_change_that() -> None:
    torch = world_of_goal(bundled_table(), "white_dye")
    assert solve(torch) == [
        "get 1 lily of the valley",
        "craft 1 white dye using 1 lily of the valley",
    ]
    assert [action.text for action in plan(torch, {"bone_meal": 1})] == [
        "craft 1 white dye using 1 bone meal"
    ]


def test_only_shown_recipes_are_known() -> None:
    hidden = World.of_recipes(
        "b",
        [Recipe("b", 1, ((1, "a"),))],
        recipes=[Recipe("a", 1, ((1, "x"),))],
    )
    with pytest.raises(UnsolvableError, match="do not lead to b"):
        solve(hidden)


def test_circles_are_no_way() -> None:
    circle = world("a", "craft 1 a using 1 b", "craft 1 b using 1 a")
    with pytest.raises(UnsolvableError):
        solve(circle)
    assert solve(
        world("a", "craft 1 a using 1 b", "craft 1 b using 1 a", "craft 1 b using 3 c")
    ) == [
        "get 3 c",
        "craft 1 b using 3 c",
        "craft 1 a using 1 b",
    ]


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_every_task_step_by_step(split: str) -> None:
    env = TextCraft()
    for task in env.tasks(split):
        assert follow(env.world(task), {}) == len(env.solve(task))


def test_from_any_inventory() -> None:
    env = TextCraft()
    draw = random.Random(7)
    for task in env.tasks("test"):
        here = env.world(task)
        inventory: Inventory = {}
        for _ in range(12):
            # Wander: whatever an agent may do, a plan is left and works.
            actions = possible_crafts(here, inventory)
            actions += [
                f"get {draw.randint(1, 5)} {name}" for name in sorted(here.table.gettable)[:9]
            ]
            inventory = apply(here.table, inventory, draw.choice(actions)).inventory
        follow(here, inventory)


def test_judging_steps() -> None:
    here = world_of_goal(bundled_table(), "ladder")

    def verdict(inventory: Inventory, action: str) -> str:
        outcome = apply(here.table, inventory, action)
        return judge(here, inventory, outcome.inventory, ok=outcome.ok)

    assert verdict({}, "get 1 oak logs") == "good"
    assert verdict({}, "get 1 spruce logs") == "good"
    assert verdict({}, "inventory") == "neutral"
    assert verdict({}, "get 1 stick") == "bad"
    assert verdict({}, "get 1 coal") == "bad"
    assert verdict({"oak_logs": 1}, "get 1 oak logs") == "bad"
    assert verdict({"stick": 7, "coal": 1}, "craft 4 torch using 1 coal, 1 stick") == "bad"
    # Part of what one get would have brought.
    sandstone = world_of_goal(bundled_table(), "sandstone")
    half = apply(sandstone.table, {}, "get 2 sand").inventory
    assert judge(sandstone, {}, half, ok=True) == "neutral"
    assert judge(sandstone, half, {"sand": 4}, ok=True) == "good"


def random_world(seed: int) -> World:
    """A few made-up items, some with two recipes, and a tag."""
    draw = random.Random(seed)
    names = ["r1", "r2", "r3", "m1", "m2"]
    recipes = [
        Recipe("m1", draw.randint(1, 3), ((draw.randint(1, 2), "r1"),)),
        Recipe("m2", draw.randint(1, 3), ((draw.randint(1, 2), "r2"),)),
    ]
    for index in range(4):
        for _ in range(draw.choice((1, 1, 2))):
            inputs = draw.sample([*names, "kind"], draw.randint(1, 2))
            counted = tuple((draw.randint(1, 3), name) for name in inputs)
            recipes.append(Recipe(f"i{index}", draw.randint(1, 3), counted))
        names.append(f"i{index}")
    return World.of_recipes("i3", recipes, tags={"kind": ["m1", "m2"]})


def a_shorter_way(world: World, held: Inventory, limit: int) -> bool:
    """Whether fewer than ``limit`` actions reach the goal, by trying every sequence of crafts.

    Raw items may be owed meanwhile: each kind that is short costs one get.
    """
    raw = world.table.gettable
    seen: set[tuple[tuple[str, int], ...]] = set()
    frontier: list[dict[str, int]] = [dict(held)]
    for crafts in range(limit):
        following = []
        for state in frontier:
            gets = sum(count < 0 for count in state.values())
            if crafts + gets >= limit:
                continue
            if state.get(world.goal, 0) > 0:
                return True
            for recipe in world.commands:
                after = craft_on_credit(world, state, recipe, raw)
                for one in after:
                    key = tuple(sorted((name, n) for name, n in one.items() if n))
                    if key not in seen:
                        seen.add(key)
                        following.append(one)
        frontier = following
    return False


def craft_on_credit(
    world: World, state: dict[str, int], recipe: Recipe, raw: frozenset[str]
) -> list[dict[str, int]]:
    results = [dict(state)]
    for count, name in recipe.inputs:
        kinds = world.table.tags.get(name, (name,))
        results = [
            {**one, kind: one.get(kind, 0) - count}
            for one in results
            for kind in kinds
            if kind in raw or one.get(kind, 0) >= count
        ]
    return [{**one, recipe.output: one.get(recipe.output, 0) + recipe.count} for one in results]


@pytest.mark.parametrize("seed", range(150))
def test_no_shorter_way_exists(seed: int) -> None:
    here = random_world(seed)
    draw = random.Random(seed)
    inventories: list[Inventory] = [{}]
    inventories += [
        {name: draw.randint(1, 3) for name in draw.sample(["r1", "m1", "m2", "i0", "i1"], 2)}
        for _ in range(3)
    ]
    for held in inventories:
        length = remaining(here, held)
        assert follow(here, held) == length
        if length <= 8:
            assert not a_shorter_way(here, held, length), (held, plan(here, held))
