"""TextCraft's rules: action grammar, inventory and crafting.

Everything here is a pure function of a recipe table, an inventory and an action's text. So the
environment, the solver and the judge of single steps always agree.

Source: TextCraft's interface (ADaPT, arXiv 2311.05772, and AgentGym, arXiv 2406.04151). The
observations equal its texts exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from agentr_lite.core.errors import UsageError

NAMESPACE = "minecraft:"
"""The prefix of names in observations that print an item's id."""

Inventory = Mapping[str, int]
"""Held amounts by name, in the order of acquisition. It is never changed in place."""

# At most 18 digits: a larger count is a mistake, and an unlimited one would take much time.
_CRAFT = re.compile(r"craft (.*) using (.*)")
_GET = re.compile(r"get ([0-9]{1,18}) (.*)")
_INVENTORY = "inventory"
_COUNTED = re.compile(r"([0-9]{1,18}) (.*)")
_COMMAND = re.compile(r"craft ([0-9]{1,18}) (.+) using (.+)")


class RecipeSyntaxError(UsageError):
    """A recipe line or command that cannot be read."""

    kind = "recipe-syntax"


def item_name(shown: str) -> str:
    """The internal name of an item that people write as words: ``oak logs`` -> ``oak_logs``."""
    return shown.replace(" ", "_")


def shown_name(name: str) -> str:
    """The inverse of ``item_name``, as the environment prints it."""
    return name.replace("_", " ")


@dataclass(frozen=True, slots=True)
class Recipe:
    """One recipe with exact counts. Names have underscores and no ``minecraft:``."""

    output: str
    count: int
    """The number of items that one crafting makes, >= 1."""
    inputs: tuple[tuple[int, str], ...]
    """``(count, name)`` in the shown order; a name may be a tag of the table (``planks``)."""

    @property
    def text(self) -> str:
        """The command in the shown form: ``craft 4 oak planks using 1 oak logs``."""
        inputs = ", ".join(f"{count} {shown_name(name)}" for count, name in self.inputs)
        return f"craft {self.count} {shown_name(self.output)} using {inputs}"


def parse_recipe(command: str) -> Recipe:
    """Parse a shown command; the inverse of ``Recipe.text``.

    Raises:
        RecipeSyntaxError: the form is not ``craft 4 oak planks using 1 oak logs``.
    """
    parsed = _COMMAND.fullmatch(command.strip())
    inputs = []
    for part in parsed.group(3).split(",") if parsed else ():
        counted = _COUNTED.fullmatch(part.strip())
        if counted is None or int(counted.group(1)) == 0:
            parsed = None
            break
        inputs.append((int(counted.group(1)), item_name(counted.group(2))))
    if parsed is None or int(parsed.group(1)) == 0:
        raise RecipeSyntaxError(
            f"not a crafting command: {command!r}",
            hint="The form is: craft 4 oak planks using 1 oak logs",
        )
    return Recipe(item_name(parsed.group(2)), int(parsed.group(1)), tuple(inputs))


class RecipeTable:
    """All recipes of a world, and what follows from them.

    Args:
        recipes: in a fixed order; several may make the same item.
        tags: real tags, name -> members; where a recipe needs a tag, any one member is enough.
        items: additional names that exist (and can be got, unless a recipe makes them).
    """

    def __init__(
        self,
        recipes: Iterable[Recipe],
        *,
        tags: Mapping[str, Sequence[str]] | None = None,
        items: Iterable[str] = (),
    ) -> None:
        self.recipes: tuple[Recipe, ...] = tuple(dict.fromkeys(recipes))
        self.tags: dict[str, tuple[str, ...]] = {
            tag: tuple(members) for tag, members in (tags or {}).items()
        }
        self.tag_of: dict[str, str] = {
            member: tag for tag, members in self.tags.items() for member in members
        }
        by_output: dict[str, list[Recipe]] = {}
        by_input: dict[str, list[Recipe]] = {}
        names: dict[str, None] = dict.fromkeys(items)
        for recipe in self.recipes:
            by_output.setdefault(recipe.output, []).append(recipe)
            names[recipe.output] = None
            for _, name in recipe.inputs:
                names[name] = None
                by_input.setdefault(name, []).append(recipe)
        self.by_output: dict[str, tuple[Recipe, ...]] = {
            name: tuple(made) for name, made in by_output.items()
        }
        self._by_input = by_input
        members = dict.fromkeys(self.tag_of)
        self.gettable: frozenset[str] = frozenset(
            name
            for name in (*names, *members)
            if name not in self.by_output and name not in self.tags
        )
        self._foreign = frozenset(name for name in (*self.gettable, *self.by_output) if ":" in name)
        self._depths: dict[str, int] | None = None

    def item_id(self, name: str) -> str:
        """The id that observations print: with ``minecraft:``, or with its own namespace."""
        return name if name in self._foreign else NAMESPACE + name

    def makers(self, name: str) -> tuple[Recipe, ...]:
        """The recipes that make an item, or any member of a tag."""
        if name in self.tags:
            return tuple(r for member in self.tags[name] for r in self.by_output.get(member, ()))
        return self.by_output.get(name, ())

    def users(self, name: str) -> Sequence[Recipe]:
        """The recipes with an item or tag as an input."""
        return self._by_input.get(name, ())

    def depth(self, name: str) -> int:
        """Crafting levels below an item: 0 if it can be got, -1 if it is not obtainable.

        A recipe's depth is that of its deepest input plus one. An item's depth is the least depth
        of its recipes; a tag's depth is the least depth of its craftable members.
        """
        if self._depths is None:
            self._depths = self._compute_depths()
        return self._depths.get(name, 0 if name in self.gettable else -1)

    def _compute_depths(self) -> dict[str, int]:
        # Relaxation instead of recursion, because a user's recipes may form cycles.
        depths = dict.fromkeys(self.gettable, 0)
        unknown = len(self.recipes) + 1
        changed = True
        while changed:
            changed = False
            for recipe in self.recipes:
                inputs = [depths.get(name, unknown) for _, name in recipe.inputs]
                depth = 1 + max(inputs, default=0)
                if depth < depths.get(recipe.output, unknown):
                    depths[recipe.output] = depth
                    changed = True
            for tag, members in self.tags.items():
                made = [m for m in members if m in self.by_output] or members
                depth = min((depths.get(member, unknown) for member in made), default=unknown)
                if depth < depths.get(tag, unknown):
                    depths[tag] = depth
                    changed = True
        return depths

    def tree(self, goal: str) -> tuple[Recipe, ...]:
        """Every recipe that may take part in making ``goal``, depth first, without repeats."""
        recipes: dict[Recipe, None] = {}
        seen: set[str] = set()
        pending = [goal]
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            for recipe in self.makers(name):
                recipes[recipe] = None
                pending.extend(item for _, item in reversed(recipe.inputs))
        return tuple(recipes)


class Outcome(NamedTuple):
    """The effect of one action."""

    observation: str
    inventory: Inventory
    """The inventory afterwards; the same object if nothing changed."""
    ok: bool
    """False if the action was not understood or was impossible."""
    crafted: str | None = None
    """The item made, if any."""


def apply(table: RecipeTable, inventory: Inventory, action: str) -> Outcome:
    """Carry out one action; a bad action changes nothing, and its observation says so.

    The three patterns are tried in this order, case-sensitive and without an anchor at the end, as
    upstream does.
    """
    craft = _CRAFT.match(action)
    if craft is not None:
        return _craft(table, inventory, craft.group(1), craft.group(2))
    get = _GET.match(action)
    if get is not None:
        return _get(table, inventory, int(get.group(1)), get.group(2))
    if action.startswith(_INVENTORY):
        return Outcome(inventory_text(inventory), inventory, True)
    return Outcome(f"Could not execute {action}", inventory, False)


def inventory_text(inventory: Inventory) -> str:
    """The reply to ``inventory``; the trailing space is part of the interface."""
    if not inventory:
        return "Inventory: You are not carrying anything."
    held = "".join(f"[{shown_name(name)}] ({count}) " for name, count in inventory.items())
    return "Inventory: " + held


def _get(table: RecipeTable, inventory: Inventory, count: int, shown: str) -> Outcome:
    name = item_name(shown)
    if name not in table.gettable:
        return Outcome(f"Could not find {shown}", inventory, False)
    return Outcome(f"Got {count} {shown}", _added(inventory, name, count), True)


def _craft(table: RecipeTable, inventory: Inventory, wanted: str, using: str) -> Outcome:
    counted = _COUNTED.match(wanted)
    # The requested count is repeated in one message and otherwise ignored.
    count = int(counted.group(1)) if counted else 1
    output = item_name(counted.group(2) if counted else wanted)
    given: list[tuple[int, str]] = []
    for part in using.split(","):
        part = part.strip()
        counted = _COUNTED.match(part)
        if counted is None:
            return Outcome(f"Wrong item format: {part}", inventory, False)
        given.append((int(counted.group(1)), item_name(counted.group(2))))
    if not _holds(table, inventory, given):
        return _missing(table, inventory, output)
    recipe = match_recipe(table, output, given)
    if recipe is None:
        full = table.item_id(output)
        tag, item_id = (full, None) if output in table.tags else (None, full)
        wanted = f"item_tag=ItemTag(tag={tag!r}, item_id={item_id!r}), count={count}"
        return Outcome(
            f"Could not find a valid recipe for ItemTagWithCount({wanted})", inventory, False
        )
    left = dict(inventory)
    for n, name in given:
        left[name] = left.get(name, 0) - n
        if left[name] < 0:
            # One held item is offered for two inputs.
            return _missing(table, inventory, output)
        if left[name] == 0:
            del left[name]
    left[recipe.output] = left.get(recipe.output, 0) + recipe.count
    text = f"Crafted {recipe.count} {table.item_id(recipe.output)}"
    return Outcome(text, left, True, recipe.output)


def _holds(table: RecipeTable, inventory: Inventory, given: Iterable[tuple[int, str]]) -> bool:
    return all(name not in table.tags and inventory.get(name, -1) >= n for n, name in given)


def _missing(table: RecipeTable, inventory: Inventory, output: str) -> Outcome:
    item_id = None if output in table.tags else table.item_id(output)
    return Outcome(f"Could not find enough items to craft {item_id}", inventory, False)


def match_recipe(
    table: RecipeTable, output: str, given: Sequence[tuple[int, str]]
) -> Recipe | None:
    """The first recipe for ``output`` whose inputs are exactly ``given``, in any order."""
    for recipe in table.by_output.get(output, ()):
        if len(recipe.inputs) == len(given) and _matches(table, recipe, given):
            return recipe
    return None


def _matches(table: RecipeTable, recipe: Recipe, given: Sequence[tuple[int, str]]) -> bool:
    rest = list(given)
    for count, name in recipe.inputs:
        is_tag = name in table.tags
        # The first input with the right name must have the right count; no other is tried.
        for given_input in rest:
            item = given_input[1]
            if (table.tag_of.get(item) if is_tag else item) == name:
                break
        else:
            return False
        if given_input[0] != count:
            return False
        rest.remove(given_input)
    return True


def _added(inventory: Inventory, name: str, count: int) -> Inventory:
    changed = dict(inventory)
    changed[name] = changed.get(name, 0) + count
    return changed
