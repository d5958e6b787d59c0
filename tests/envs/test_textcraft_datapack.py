"""A user's Minecraft data pack, in every shape that the game has used."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.core.errors import UsageError
from agentr_lite.envs.textcraft import TextCraft, tasks
from agentr_lite.envs.textcraft.datapack import load_datapack
from agentr_lite.envs.textcraft.rules import RecipeTable


def shaped(result: Any, pattern: list[str], key: dict[str, Any], **more: Any) -> dict[str, Any]:
    kind = "minecraft:crafting_shaped"
    return {"type": kind, "pattern": pattern, "key": key, "result": result, **more}


def shapeless(result: Any, *ingredients: Any, **more: Any) -> dict[str, Any]:
    kind = "minecraft:crafting_shapeless"
    return {"type": kind, "ingredients": list(ingredients), "result": result, **more}


def item(name: str) -> dict[str, str]:
    return {"item": f"minecraft:{name}"}


def tag(name: str) -> dict[str, str]:
    return {"tag": f"minecraft:{name}"}


def result(name: str, count: int | None = None) -> dict[str, Any]:
    return item(name) | ({} if count is None else {"count": count})


def planks(wood: str) -> dict[str, Any]:
    return shapeless(result(f"{wood}_planks", 4), tag(f"{wood}_logs"), group="planks")


OLD: dict[str, Any] = {
    "oak_planks": planks("oak"),
    "birch_planks": planks("birch"),
    "stick": shaped(result("stick", 4), ["#", "#"], {"#": tag("planks")}, group="sticks"),
    "torch": shaped(
        result("torch", 4), ["X", "#"], {"#": item("stick"), "X": [item("coal"), item("charcoal")]}
    ),
    "oak_door": shaped(result("oak_door", 3), ["##", "##", "##"], {"#": item("oak_planks")}),
    "iron_ingot_from_iron_block": shapeless(
        result("iron_ingot", 9), item("iron_block"), group="iron_ingot"
    ),
    "iron_ingot_from_nuggets": shaped(
        result("iron_ingot"), ["###", "###", "###"], {"#": item("iron_nugget")}, group="iron_ingot"
    ),
    "iron_nugget": shapeless(result("iron_nugget", 9), item("iron_ingot")),
    "lantern": shaped(
        result("lantern"), ["XXX", "X#X", "XXX"], {"#": item("torch"), "X": item("iron_nugget")}
    ),
    "soup": shapeless("minecraft:soup", item("beet"), item("beet"), item("bowl"), item("beet")),
    "barrel": shaped(result("barrel"), ["PSP"], {"P": tag("planks"), "S": tag("wooden_slabs")}),
    "smelting": {"type": "minecraft:smelting", "ingredient": item("ore"), "result": "iron_ingot"},
}

NEW: dict[str, Any] = {
    "oak_planks": {
        "type": "minecraft:crafting_shapeless",
        "category": "building",
        "group": "planks",
        "ingredients": ["#minecraft:oak_logs"],
        "result": {"id": "minecraft:oak_planks", "count": 4},
    },
    "stick": {
        "type": "crafting_shaped",
        "pattern": ["#", "#"],
        "key": {"#": "#minecraft:planks"},
        "result": {"id": "minecraft:stick", "count": 4, "components": {}},
    },
    "torch": {
        "type": "minecraft:crafting_shaped",
        "pattern": ["X", "#"],
        "key": {"#": "minecraft:stick", "X": ["minecraft:coal", "minecraft:charcoal"]},
        "result": {"id": "minecraft:torch", "count": 4},
    },
    "gear": {
        "type": "minecraft:crafting_shapeless",
        "ingredients": ["mod:tin", {"tag": "minecraft:planks"}],
        "result": {"id": "mod:gear"},
    },
    "dyed": {"type": "minecraft:crafting_transmute", "input": "x", "material": "y", "result": "z"},
}


def write(directory: Path, recipes: dict[str, Any]) -> str:
    directory.mkdir(parents=True, exist_ok=True)
    for name, recipe in recipes.items():
        (directory / f"{name}.json").write_text(json.dumps(recipe), "utf-8")
    return str(directory)


def texts(table: RecipeTable) -> dict[str, list[str]]:
    return {name: [r.text for r in recipes] for name, recipes in table.by_output.items()}


def test_old_shapes(tmp_path: Path) -> None:
    table = load_datapack(write(tmp_path, OLD))
    assert texts(table) == {
        "barrel": ["craft 1 barrel using 2 planks, 1 wooden slabs"],
        "birch_planks": ["craft 4 birch planks using 1 birch logs"],
        # Unpacking a block and what would run in a circle is left out.
        "iron_ingot": ["craft 1 iron ingot using 9 iron nugget"],
        "lantern": ["craft 1 lantern using 1 torch, 8 iron nugget"],
        "oak_door": ["craft 3 oak door using 6 oak planks"],
        "oak_planks": ["craft 4 oak planks using 1 oak logs"],
        "soup": ["craft 1 soup using 3 beet, 1 bowl"],
        "stick": ["craft 4 stick using 2 planks"],
        "torch": ["craft 4 torch using 1 stick, 1 coal"],
    }
    assert table.tags["planks"] == ("birch_planks", "oak_planks")
    # A tag without craftable members is a literal item; of alternatives only the first counts.
    assert {"oak_logs", "wooden_slabs", "iron_nugget", "iron_block", "coal"} <= table.gettable
    assert table.gettable.isdisjoint({"charcoal", "ore", "planks", "sticks"})


def test_new_shapes(tmp_path: Path) -> None:
    table = load_datapack(write(tmp_path, NEW))
    assert texts(table) == {
        "mod:gear": ["craft 1 mod:gear using 1 mod:tin, 1 planks"],
        "oak_planks": ["craft 4 oak planks using 1 oak logs"],
        "stick": ["craft 4 stick using 2 planks"],
        "torch": ["craft 4 torch using 1 stick, 1 coal"],
    }


@pytest.mark.parametrize(
    "place",
    [
        "",
        "recipes",
        "recipe",
        "data/minecraft/recipes",
        "data/minecraft/recipe",
        "minecraft/recipe",
    ],
)
def test_the_recipe_directory_is_found(tmp_path: Path, place: str) -> None:
    write(tmp_path / place, OLD)
    given = tmp_path / "minecraft" if place.startswith("minecraft") else tmp_path
    assert len(load_datapack(str(given)).recipes) == 9


@pytest.mark.parametrize("name", ["pack.zip", "client.jar"])
def test_a_packed_pack(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("pack.mcmeta", "{}")
        for recipe, data in OLD.items():
            archive.writestr(f"data/minecraft/recipes/{recipe}.json", json.dumps(data))
    packed = load_datapack(str(tmp_path / name))
    assert packed.recipes == load_datapack(write(tmp_path / "plain", OLD)).recipes


def test_the_directory_order_does_not_matter(tmp_path: Path) -> None:
    backwards = dict(reversed(OLD.items()))
    one = load_datapack(write(tmp_path / "one", OLD))
    other = load_datapack(write(tmp_path / "other", backwards))
    assert one.recipes == other.recipes
    assert tasks.goals(one) == tasks.goals(other)


def test_goals_are_sorted_by_depth_and_then_by_file_name(tmp_path: Path) -> None:
    table = load_datapack(write(tmp_path, OLD))
    assert [(table.depth(name), name) for name in tasks.goals(table)] == [
        (1, "birch_planks"),
        (1, "iron_ingot"),
        (1, "oak_planks"),
        (1, "soup"),
        (2, "barrel"),
        (2, "oak_door"),
        (2, "stick"),
        (3, "torch"),
        (4, "lantern"),
    ]


def test_it_can_be_played(tmp_path: Path) -> None:
    env = TextCraft(recipes_dir=write(tmp_path, OLD))
    played = [task for split in ("train", "dev", "test") for task in env.tasks(split)]
    assert sorted(task.name for task in played) == sorted(env.world(played[0]).table.by_output)
    for task in played:
        env.reset(task)
        *_, last = [env.step(action) for action in env.solve(task)]
        assert last.terminated and last.reward == 1.0


def test_its_longest_name_fits_the_grammar(tmp_path: Path) -> None:
    name = "jar_of_the_very_incomprehensible_orange_marmalade"
    grammar = TextCraft(
        recipes_dir=write(tmp_path, {name: shapeless(result(name), item("orange"))})
    ).grammar()
    # Seven words, the longest of 16 letters.
    assert '" " word (" " word){0,6}' in grammar and "{1,16}" in grammar


def test_544_goals_of_the_known_depths_get_the_published_split(tmp_path: Path) -> None:
    recipes: dict[str, Any] = {}
    below = "raw"
    for depth, count in tasks.PUBLISHED_DEPTHS.items():
        for index in range(count):
            recipes[f"d{depth}_{index:03}"] = shapeless(result(f"d{depth}_{index:03}"), item(below))
        below = f"d{depth}_000"
    env = TextCraft(recipes_dir=write(tmp_path, recipes))
    test = env.tasks("test")
    assert [len(env.tasks(split)) for split in ("train", "dev", "test")] == [374, 70, 100]
    assert [sum(task.level == level for task in test) for level in (1, 2, 3, 4)] == [31, 41, 25, 3]
    assert test[0].name == "d1_000" and test[-1].name == "d4_002"


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"type": "minecraft:crafting_shaped"}',
        '{"type": "minecraft:crafting_shapeless", "ingredients": [[]], "result": "a"}',
        '{"type": "minecraft:crafting_shapeless", "ingredients": [{"x": 1}], "result": "a"}',
        '{"type": "minecraft:crafting_shapeless", "ingredients": ["b"], "result": {"count": 1}}',
        '{"type": "crafting_shapeless", "ingredients": ["b"], "result": {"id": "a", "count": -1}}',
        '{"type": "crafting_shapeless", "ingredients": 5, "result": "a"}',
        "\x00",
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    write(tmp_path, OLD)
    (tmp_path / "broken.json").write_text(content, "utf-8")
    with pytest.raises(UsageError, match=r"broken\.json"):
        load_datapack(str(tmp_path))


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "stick.json").write_text(json.dumps(OLD["stick"]), "utf-8-sig")
    assert len(load_datapack(str(tmp_path)).recipes) == 1


def test_wrong_places(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no data pack at"):
        load_datapack(str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="no recipe directory"):
        load_datapack(str(tmp_path))
    (tmp_path / "file.zip").write_text("not a zip")
    with pytest.raises(UsageError, match="zip"):
        load_datapack(str(tmp_path / "file.zip"))
    with pytest.raises(UsageError, match="no crafting recipes"):
        load_datapack(write(tmp_path / "smelt", {"smelting": OLD["smelting"]}))
