"""TextCraft's wire format: every observation to the letter."""

from __future__ import annotations

import pytest

from agentr_lite.envs.textcraft.book import parse_book
from agentr_lite.envs.textcraft.rules import (
    Inventory,
    Recipe,
    RecipeSyntaxError,
    RecipeTable,
    apply,
    inventory_text,
    parse_recipe,
)

BOOK = """
each wood oak birch
tag planks {wood}_planks
{wood}_planks*4 = {wood}_logs
stick*4 = 2 planks
{wood}_sign*3 = 6 {wood}_planks + stick
torch*4 = coal + stick
odd = 2 planks + oak_planks
"""


@pytest.fixture(scope="module")
def table() -> RecipeTable:
    return parse_book(BOOK)


def play(table: RecipeTable, *actions: str, start: Inventory | None = None) -> list[str]:
    """The observations of ``actions``, one after the other."""
    inventory: Inventory = start or {}
    observations = []
    for action in actions:
        outcome = apply(table, inventory, action)
        if not outcome.ok:
            assert outcome.inventory is inventory
        inventory = outcome.inventory
        observations.append(outcome.observation)
    return observations


def last(table: RecipeTable, *actions: str, start: Inventory | None = None) -> str:
    return play(table, *actions, start=start)[-1]


def test_an_episode(table: RecipeTable) -> None:
    assert play(
        table,
        "inventory",
        "get 2 oak logs",
        "craft 4 oak planks using 1 oak logs",
        "inventory",
        "craft 4 stick using 2 oak planks",
        "get 1 coal",
        "craft 4 torch using 1 coal, 1 stick",
        "inventory",
    ) == [
        "Inventory: You are not carrying anything.",
        "Got 2 oak logs",
        "Crafted 4 minecraft:oak_planks",
        "Inventory: [oak logs] (1) [oak planks] (4) ",
        "Crafted 4 minecraft:stick",
        "Got 1 coal",
        "Crafted 4 minecraft:torch",
        "Inventory: [oak logs] (1) [oak planks] (2) [stick] (3) [torch] (4) ",
    ]


@pytest.mark.parametrize(
    ("action", "observation"),
    [
        ("get 1 stick", "Could not find stick"),
        ("get 3 planks", "Could not find planks"),
        ("get 1 unobtainium", "Could not find unobtainium"),
        ("get 1 oak log", "Could not find oak log"),
        ("get 1 minecraft:coal", "Could not find minecraft:coal"),
        ("get 1 oak_logs", "Got 1 oak_logs"),
        ("get 007 coal", "Got 7 coal"),
        ("get 1 coal ", "Could not find coal "),
        ("get 1 coal\nget 2 coal", "Got 1 coal"),
        ("Get 1 coal", "Could not execute Get 1 coal"),
        (" get 1 coal", "Could not execute  get 1 coal"),
        ("get coal", "Could not execute get coal"),
        ("get -1 coal", "Could not execute get -1 coal"),
        ("get ١ coal", "Could not execute get ١ coal"),
        ("", "Could not execute "),
        ("craft stick", "Could not execute craft stick"),
        ("inventory please", "Inventory: You are not carrying anything."),
        ("inventoryx", "Inventory: You are not carrying anything."),
        ("Inventory", "Could not execute Inventory"),
        ("craft 4 stick using oak planks", "Wrong item format: oak planks"),
        ("craft 4 stick using 2 oak planks, ", "Wrong item format: "),
        (
            "craft 4 stick using 2 oak planks",
            "Could not find enough items to craft minecraft:stick",
        ),
        ("craft stick using 2 oak planks", "Could not find enough items to craft minecraft:stick"),
        (
            "craft 1 dragon using 1 scale",
            "Could not find enough items to craft minecraft:dragon",
        ),
        (
            "craft 1 planks using 1 oak logs",
            "Could not find enough items to craft None",
        ),
        (
            "craft 1 a using b using 1 coal",
            "Could not find enough items to craft minecraft:a_using_b",
        ),
    ],
)
def test_single_actions(table: RecipeTable, action: str, observation: str) -> None:
    assert last(table, action) == observation


NO_RECIPE = "Could not find a valid recipe for ItemTagWithCount("


@pytest.mark.parametrize(
    ("held", "action", "observation"),
    [
        # The count asked for is ignored; more in the inventory is fine.
        ({"oak_logs": 3}, "craft 99 oak planks using 1 oak logs", "Crafted 4 minecraft:oak_planks"),
        ({"oak_logs": 3}, "craft oak planks using 1 oak logs", "Crafted 4 minecraft:oak_planks"),
        # Input counts must match exactly.
        (
            {"oak_planks": 9},
            "craft 4 stick using 3 oak planks",
            f"{NO_RECIPE}item_tag=ItemTag(tag=None, item_id='minecraft:stick'), count=4)",
        ),
        (
            {"oak_planks": 9},
            "craft stick using 1 oak planks, 1 oak planks",
            f"{NO_RECIPE}item_tag=ItemTag(tag=None, item_id='minecraft:stick'), count=1)",
        ),
        (
            {"coal": 1},
            "craft 2 planks using 1 coal",
            f"{NO_RECIPE}item_tag=ItemTag(tag='minecraft:planks', item_id=None), count=2)",
        ),
        # Any member of a tag serves, one kind at a time.
        ({"birch_planks": 2}, "craft 4 stick using 2 birch planks", "Crafted 4 minecraft:stick"),
        (
            {"birch_planks": 2},
            "craft 4 stick using 2 planks",
            "Could not find enough items to craft minecraft:stick",
        ),
        # A literal item is only itself.
        (
            {"birch_planks": 6, "stick": 1},
            "craft 3 oak sign using 6 birch planks, 1 stick",
            f"{NO_RECIPE}item_tag=ItemTag(tag=None, item_id='minecraft:oak_sign'), count=3)",
        ),
        # The order of inputs does not matter, nor does space around them.
        (
            {"coal": 1, "stick": 1},
            "craft 4 torch using 1 stick ,1 coal",
            "Crafted 4 minecraft:torch",
        ),
        # A held item cannot serve twice.
        (
            {"oak_planks": 2},
            "craft 1 odd using 2 oak planks, 1 oak planks",
            "Could not find enough items to craft minecraft:odd",
        ),
        (
            {"oak_planks": 3},
            "craft 1 odd using 2 oak planks, 1 oak planks",
            "Crafted 1 minecraft:odd",
        ),
        (
            {"coal": 0},
            "craft 4 torch using 0 coal, 1 stick",
            "Could not find enough items to craft minecraft:torch",
        ),
    ],
)
def test_crafting(table: RecipeTable, held: Inventory, action: str, observation: str) -> None:
    assert last(table, action, start=held) == observation


def test_get_zero_makes_a_zero_entry(table: RecipeTable) -> None:
    assert play(table, "get 0 coal", "inventory") == ["Got 0 coal", "Inventory: [coal] (0) "]


def test_what_is_used_up_leaves_the_inventory(table: RecipeTable) -> None:
    outcome = apply(table, {"oak_logs": 1}, "craft 4 oak planks using 1 oak logs")
    assert outcome.inventory == {"oak_planks": 4}
    assert outcome.crafted == "oak_planks"


def test_absurd_counts_are_only_mistakes(table: RecipeTable) -> None:
    huge = "9" * 5000
    assert last(table, f"get {huge} coal") == f"Could not execute get {huge} coal"
    assert last(table, f"craft 1 stick using {huge} coal") == f"Wrong item format: {huge} coal"


def test_other_namespaces_can_be_named() -> None:
    table = RecipeTable([Recipe("mod:gear", 2, ((1, "mod:tin"),))])
    assert play(table, "get 1 mod:tin", "craft 2 mod:gear using 1 mod:tin") == [
        "Got 1 mod:tin",
        "Crafted 2 mod:gear",
    ]


def test_a_recipe_reads_back() -> None:
    recipe = Recipe("oak_sign", 3, ((6, "oak_planks"), (1, "stick")))
    assert recipe.text == "craft 3 oak sign using 6 oak planks, 1 stick"
    assert parse_recipe(recipe.text) == recipe


@pytest.mark.parametrize(
    "text",
    ["", "craft oak sign using 1 stick", "craft 1 a using b", "craft 0 a using 1 b", "get 1 a"],
)
def test_what_is_no_recipe_is_refused(text: str) -> None:
    with pytest.raises(RecipeSyntaxError):
        parse_recipe(text)


@pytest.mark.parametrize(
    "line", ["stick", "stick = ", "stick*0 = 2 planks", "stick = two planks x", "{no}_x = 1 y"]
)
def test_a_wrong_line_of_a_book_is_named(line: str) -> None:
    with pytest.raises(RecipeSyntaxError, match="line 2"):
        parse_book(f"# a book\n{line}\n")


def test_depths(table: RecipeTable) -> None:
    depths = {name: table.depth(name) for name in ("coal", "planks", "stick", "torch", "oak_sign")}
    assert depths == {"coal": 0, "planks": 1, "stick": 2, "torch": 3, "oak_sign": 3}
    assert table.depth("nothing") == -1


def test_circles_do_not_hang() -> None:
    table = RecipeTable(
        [
            Recipe("block", 1, ((9, "ingot"),)),
            Recipe("ingot", 9, ((1, "block"),)),
            Recipe("pick", 1, ((3, "ingot"),)),
        ]
    )
    assert [table.depth(name) for name in ("block", "ingot", "pick")] == [-1, -1, -1]
    assert len(table.tree("pick")) == 3


def test_inventory_text_keeps_its_trailing_space() -> None:
    assert inventory_text({"oak_log": 1, "coal": 0}) == "Inventory: [oak log] (1) [coal] (0) "
