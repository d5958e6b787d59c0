"""Recipes of a user's Minecraft data pack.

All forms that the game has used are read: shaped and shapeless crafting; ingredients as
``{"item": id}``, ``{"tag": id}``, ``"id"``, ``"#tag"`` or a list of alternatives (the first one is
used); results as ``"id"``, ``{"item": id, "count": n}`` or ``{"id": id, "count": n}``; directories
named ``recipes`` or, since 1.21, ``recipe``; unpacked, or inside a .zip or .jar. With the data of
1.16.5, the result has the published benchmark's 544 goals.

Source: the loading rules of TextCraft as published (which recipes are left out, which tags stay
tags). Files are read in sorted order; upstream uses the directory's order.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NamedTuple

from agentr_lite.core.errors import UsageError
from agentr_lite.core.json_values import load_json
from agentr_lite.core.text_files import check_ends
from agentr_lite.envs.textcraft.rules import NAMESPACE, Recipe, RecipeTable

_HINT = (
    "Give a data pack (unpacked, .zip or .jar), its data/minecraft directory, or the recipes/"
    " (since 1.21: recipe/) directory itself."
)
_DIRECTORIES = ("recipes", "recipe")


class _Ingredient(NamedTuple):
    name: str
    is_tag: bool


def load_datapack(location: str) -> RecipeTable:
    """The recipe table of a data pack.

    Args:
        location: the pack, a .zip or .jar of it, its ``data/<namespace>`` directory, or the recipe
            directory in it.

    Raises:
        UsageError: there is no data pack or no crafting recipe in it, or a file cannot be read.
    """
    loader = _Loader()
    for name, file in _recipe_files(_root(location), location):
        try:
            loader.add(load_json(file.read_bytes().decode("utf-8-sig")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            # The file comes from outside, so every error in it is reported with its name.
            raise UsageError(
                f"cannot read recipe {location}: {name}: {type(error).__name__}: {error}",
                hint="It must be a complete recipe in the data pack format.",
            ) from error
    table = loader.table()
    if not table.recipes:
        raise UsageError(f"no crafting recipes in {location}", hint=_HINT)
    return table


def _root(location: str) -> Traversable:
    path = Path(location).expanduser()
    if path.is_dir():
        return path
    if not path.exists():
        raise UsageError(f"no data pack at {location}", hint=_HINT)
    try:
        check_ends(path)
        # zipfile.Path has all methods of the protocol that are used here.
        return zipfile.Path(zipfile.ZipFile(path))
    except (OSError, zipfile.BadZipFile) as error:
        raise UsageError(f"{location} is neither a directory nor a zip file", hint=_HINT) from error


def _recipe_files(root: Traversable, location: str) -> list[tuple[str, Traversable]]:
    """The recipe files as (path within the directory, file), sorted."""
    directories = list(_recipe_directories(root))
    if not directories:
        raise UsageError(f"no recipe directory in {location}", hint=_HINT)
    return [file for directory in directories for file in sorted(_json_files(directory, ""))]


def _recipe_directories(root: Traversable) -> Iterator[Traversable]:
    children = _children(root)
    named = {child.name: child for child in children if child.is_dir()}
    for name in _DIRECTORIES:
        if name in named:
            yield named[name]
            return
    if "data" in named:
        for namespace in _children(named["data"]):
            if namespace.is_dir():
                yield from _recipe_directories(namespace)
    elif any(child.name.endswith(".json") for child in children):
        yield root


def _children(directory: Traversable) -> list[Traversable]:
    return sorted(directory.iterdir(), key=lambda child: child.name)


def _json_files(directory: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for child in _children(directory):
        if child.is_dir():
            yield from _json_files(child, f"{prefix}{child.name}/")
        elif child.name.endswith(".json"):
            yield prefix + child.name, child


class _Loader:
    """Collects recipes file by file; whether one is used depends on earlier files."""

    def __init__(self) -> None:
        self._items: dict[str, None] = {}
        self._tags: dict[str, None] = {}
        self._group_of: dict[str, str] = {}
        self._recipes: list[tuple[list[tuple[int, _Ingredient]], str, int]] = []
        self._needs: dict[str, set[str]] = {}

    def add(self, data: Mapping[str, Any]) -> None:
        """Add one file; anything but a crafting recipe is skipped."""
        inputs = _inputs(data)
        if inputs is None:
            return
        output, count = _result(data["result"])
        for _, ingredient in inputs:
            (self._tags if ingredient.is_tag else self._items)[ingredient.name] = None
        self._items[output] = None
        if len(inputs) == 1 and inputs[0][1].name.endswith("_block"):
            # Unpacking a storage block would allow crafting every ingot from its own product.
            return
        group = data.get("group")
        if group and group != output:
            self._tags[group] = None
            self._group_of[output] = group
        names = [ingredient.name for _, ingredient in inputs]
        needs = self._needs.setdefault(output, set())
        if any(output in self._needs.get(name, ()) for name in names):
            # It would form a cycle with an earlier recipe.
            return
        for name in names:
            needs.add(name)
            needs.update(self._needs.get(name, ()))
        self._recipes.append((inputs, output, count))

    def table(self) -> RecipeTable:
        """The table of all added files."""
        made = {output for _, output, _ in self._recipes}
        members: dict[str, list[str]] = {tag: [] for tag in self._tags}
        for item, group in self._group_of.items():
            members[group].append(item)
        recipes = []
        for inputs, output, count in self._recipes:
            for _, ingredient in inputs:
                # A tag without a craftable item becomes an item.
                if ingredient.is_tag and made.isdisjoint(members.get(ingredient.name, ())):
                    members.pop(ingredient.name, None)
                    self._items[ingredient.name] = None
            pairs = tuple((n, ingredient.name) for n, ingredient in inputs)
            recipes.append(Recipe(output, count, pairs))
        return RecipeTable(recipes, tags=members, items=self._items)


def _inputs(data: Mapping[str, Any]) -> list[tuple[int, _Ingredient]] | None:
    """Counted ingredients in the file's order, or None if it is no crafting recipe."""
    kind = data["type"].removeprefix(NAMESPACE)
    if kind == "crafting_shaped":
        pattern = "".join(data["pattern"])
        return [
            (pattern.count(key), _ingredient(value))
            for key, value in data["key"].items()
            if key in pattern
        ]
    if kind == "crafting_shapeless":
        counts: dict[str, tuple[int, _Ingredient]] = {}
        for value in data["ingredients"]:
            ingredient = _ingredient(value)
            before = counts.get(ingredient.name, (0, ingredient))[0]
            counts[ingredient.name] = (before + 1, ingredient)
        return list(counts.values())
    return None


def _ingredient(value: Any) -> _Ingredient:
    if isinstance(value, list):
        if not value:
            raise ValueError("an ingredient without alternatives")
        value = value[0]
    if isinstance(value, str):
        return _Ingredient(_name(value.removeprefix("#")), value.startswith("#"))
    for key in ("item", "id", "tag"):
        if key in value:
            return _Ingredient(_name(value[key].removeprefix("#")), key == "tag")
    raise ValueError(f"an ingredient of unknown shape: {value!r}")


def _result(value: Any) -> tuple[str, int]:
    if isinstance(value, str):
        return _name(value), 1
    count = value.get("count") or 1
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"a result of {count!r} pieces")
    return _name(value["item"] if "item" in value else value["id"]), count


def _name(item_id: str) -> str:
    """Our name for an id: without the game's own namespace."""
    return item_id.removeprefix(NAMESPACE)
