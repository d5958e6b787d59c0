"""The search behind the oracle: it chooses recipes, members of tags, and counts.

A plan sums up counts, with crafts rounded up. There are two kinds of choices: the recipe that makes
an item, and the member that is used for a tag. If there are few combinations of choices, all are
tried; otherwise the choices are improved one at a time. The search is deterministic.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from agentr_lite.core.errors import AgentrError
from agentr_lite.envs.textcraft.rules import Inventory, Recipe, shown_name
from agentr_lite.envs.textcraft.world import World

_EXHAUSTIVE = 256
"""If there are at most this many combinations of choices, all are tried."""

_CIRCLE = -1
"""The shape of an item that occurs again while its own shape is computed."""


class UnsolvableError(AgentrError):
    """The shown recipes do not lead to the goal."""

    kind = "unsolvable"


@dataclass(frozen=True, slots=True)
class Action:
    """One planned action."""

    kind: Literal["get", "craft"]
    name: str
    """The item that the action gets or makes."""
    count: int
    """How many the action gets or makes."""
    recipe: Recipe | None = None
    """The shown recipe that a craft uses; its inputs may name a tag."""
    inputs: tuple[tuple[int, str], ...] = ()
    """The inputs of a craft: the recipe's inputs, with tags replaced by the used members."""

    @property
    def text(self) -> str:
        """The action in the environment's form."""
        if self.kind == "get":
            return f"get {self.count} {shown_name(self.name)}"
        inputs = ", ".join(f"{n} {shown_name(name)}" for n, name in self.inputs)
        return f"craft {self.count} {shown_name(self.name)} using {inputs}"


@dataclass(frozen=True, slots=True)
class _Choice:
    """One combination: recipe index by item, member by tag; the cheapest if it is absent."""

    recipes: Mapping[str, int]
    members: Mapping[str, str]
    held_first: bool
    """Use held members of a tag before the chosen one."""


class Planner:
    """Makes plans in one world, from any inventory."""

    def __init__(self, world: World) -> None:
        self._gettable = world.table.gettable
        self._tags = world.table.tags
        self._makers: dict[str, list[Recipe]] = {}
        for recipe in world.commands:
            self._makers.setdefault(recipe.output, []).append(recipe)
        self._costs = self._least_costs(world.commands)
        # Cheapest first. The first choices never form a cycle, because every input costs less
        # than its product.
        self._recipe_options = {
            name: self._ranked(self._recipe_cost(recipe) for recipe in makers)
            for name, makers in self._makers.items()
        }
        self._member_options = {
            tag: [members[i] for i in self._ranked(self._costs.get(m, math.inf) for m in members)]
            for tag, members in self._tags.items()
        }
        self._shapes: dict[str, int] = {}
        self._shape_numbers: dict[tuple[object, ...], int] = {}
        self._closures: dict[tuple[str, bool], frozenset[str]] = {}

    def plan(self, inventory: Inventory, goal: str) -> list[Action]:
        """The shortest plan that the search finds; empty if ``goal`` is held.

        Raises:
            UnsolvableError: the shown recipes do not lead there.
        """
        if inventory.get(goal, 0) > 0:
            return []
        points = self._choice_points(goal, inventory)
        combinations = math.prod(len(options) for _, options in points)
        if combinations <= _EXHAUSTIVE:
            tried = (
                self._attempt(goal, inventory, self._choice(points, picks))
                for picks in itertools.product(*(range(len(options)) for _, options in points))
            )
            best = _best(tried)
        else:
            best = self._descend(goal, inventory, points)
        if best is None:
            raise UnsolvableError(
                f"the shown commands do not lead to {shown_name(goal)}",
                hint="They must include a recipe for every item that cannot be got.",
            )
        return best

    def _descend(
        self, goal: str, inventory: Inventory, points: list[tuple[str, list[int | str]]]
    ) -> list[Action] | None:
        """Improve one choice at a time until no single change helps."""
        picks = [0] * len(points)
        best = self._attempt(goal, inventory, self._choice(points, picks))
        improved = True
        while improved:
            improved = False
            for index, (_, options) in enumerate(points):
                for pick in range(len(options)):
                    changed = [*picks[:index], pick, *picks[index + 1 :]]
                    plan = self._attempt(goal, inventory, self._choice(points, changed))
                    if plan is not None and (best is None or _key(plan) < _key(best)):
                        best, picks, improved = plan, changed, True
        return best

    def _choice(self, points: list[tuple[str, list[int | str]]], picks: Iterable[int]) -> _Choice:
        recipes: dict[str, int] = {}
        members: dict[str, str] = {}
        held_first = False
        for (name, options), pick in zip(points, picks, strict=True):
            option = options[pick]
            if name == "":
                held_first = option == "held"
            elif isinstance(option, int):
                recipes[name] = option
            else:
                members[name] = option
        return _Choice(recipes, members, held_first)

    def _choice_points(self, goal: str, inventory: Inventory) -> list[tuple[str, list[int | str]]]:
        """The choices on the way to ``goal``, each with its cheapest option first."""
        points: list[tuple[str, list[int | str]]] = []
        direct = self._closure(goal, through_tags=False)
        tags = False
        for name in sorted(self._closure(goal)):
            if name in self._tags:
                ranked = self._member_options[name]
                # One of several members that are made in the same way is enough, unless
                # something on the way to another one is held or needed anyway.
                kinds = {self._shape(member): member for member in reversed(ranked)}
                useful = [
                    member
                    for member in ranked
                    if kinds[self._shape(member)] == member
                    or any(item in inventory or item in direct for item in self._closure(member))
                ]
                tags = tags or any(member in inventory for member in ranked)
                if len(useful) > 1:
                    points.append((name, list(useful)))
            elif len(self._recipe_options.get(name, ())) > 1:
                points.append((name, list(self._recipe_options[name])))
        if tags:
            points.append(("", ["held", "chosen"]))
        return points

    def _closure(self, goal: str, *, through_tags: bool = True) -> frozenset[str]:
        """Every name that may be needed for ``goal``, including itself."""
        key = (goal, through_tags)
        if key not in self._closures:
            seen: set[str] = set()
            pending = [goal]
            while pending:
                name = pending.pop()
                if name in seen:
                    continue
                seen.add(name)
                if name in self._tags:
                    if through_tags:
                        pending.extend(self._tags[name])
                    continue
                for recipe in self._makers.get(name, ()):
                    pending.extend(item for _, item in recipe.inputs)
            self._closures[key] = frozenset(seen)
        return self._closures[key]

    def _shape(self, name: str) -> int:
        """How an item is made, without names; members of a tag with equal shapes are alike."""
        if name not in self._shapes:
            self._shapes[name] = _CIRCLE
            parts: Sequence[object] = ()
            if name in self._tags:
                parts = sorted({self._shape(member) for member in self._tags[name]})
            elif name in self._makers:
                parts = [
                    (recipe.count, *((n, self._shape(item)) for n, item in recipe.inputs))
                    for recipe in self._makers[name]
                ]
            # Shapes are numbered, not nested: the size of a nested shape doubles with every level.
            self._shapes[name] = self._shape_numbers.setdefault(
                (name in self._tags, *parts), len(self._shape_numbers)
            )
        return self._shapes[name]

    def _attempt(self, goal: str, inventory: Inventory, choice: _Choice) -> list[Action] | None:
        """The plan for one combination of choices; None if the choices form a cycle."""
        order = self._order(goal, inventory, choice)
        if order is None:
            return None
        pool = dict(inventory)
        demand = {goal: 1}
        steps: dict[str, list[Action]] = {}
        # Products before their inputs, so that a demand is complete when it is used.
        for name in reversed(order):
            short = demand.get(name, 0) - pool.get(name, 0)
            if short <= 0:
                continue
            if name in self._gettable:
                steps[name] = [Action("get", name, short)]
                continue
            recipe = self._recipe(name, choice)
            if recipe is None:
                return None
            steps[name] = []
            for _ in range(-(-short // recipe.count)):
                inputs = tuple(
                    (n, self._served(n, item, choice, pool, demand)) for n, item in recipe.inputs
                )
                steps[name].append(Action("craft", name, recipe.count, recipe, inputs))
        return [action for name in order for action in steps.get(name, ())]

    def _served(
        self, count: int, name: str, choice: _Choice, pool: dict[str, int], demand: dict[str, int]
    ) -> str:
        """Add a demand for ``count`` of ``name``; returns the used item (one kind for a tag)."""
        if name in self._tags:
            chosen = self._member(name, choice)
            if choice.held_first:
                for member in self._tags[name]:
                    if member != chosen and pool.get(member, 0) >= count:
                        pool[member] -= count
                        return member
            name = chosen
        demand[name] = demand.get(name, 0) + count
        return name

    def _order(self, goal: str, inventory: Inventory, choice: _Choice) -> list[str] | None:
        """Everything that may be needed, inputs before outputs; None if there is a cycle."""
        order: list[str] = []
        state: dict[str, bool] = {}
        stack: list[tuple[str, Iterator[str]]] = [
            (goal, iter(self._children(goal, inventory, choice)))
        ]
        state[goal] = False
        while stack:
            name, children = stack[-1]
            for child in children:
                if child not in state:
                    state[child] = False
                    stack.append((child, iter(self._children(child, inventory, choice))))
                    break
                if not state[child]:
                    return None
            else:
                state[name] = True
                order.append(name)
                stack.pop()
        return order

    def _children(self, name: str, inventory: Inventory, choice: _Choice) -> list[str]:
        recipe = self._recipe(name, choice)
        if recipe is None:
            return []
        children: list[str] = []
        for _, item in recipe.inputs:
            if item not in self._tags:
                children.append(item)
                continue
            children.append(self._member(item, choice))
            if choice.held_first:
                children.extend(m for m in self._tags[item] if m in inventory)
        return children

    def _recipe(self, name: str, choice: _Choice) -> Recipe | None:
        options = self._recipe_options.get(name)
        if not options:
            return None
        return self._makers[name][choice.recipes.get(name, options[0])]

    def _member(self, tag: str, choice: _Choice) -> str:
        member = choice.members.get(tag)
        if member is None:
            options = self._member_options[tag]
            member = options[0] if options else self._tags[tag][0]
        return member

    def _least_costs(self, commands: Iterable[Recipe]) -> dict[str, int]:
        """An estimated number of actions for one piece of every obtainable item."""
        costs = dict.fromkeys(self._gettable, 1)
        self._costs = costs
        changed = True
        while changed:
            changed = False
            for recipe in commands:
                cost = self._recipe_cost(recipe)
                if cost < costs.get(recipe.output, math.inf):
                    costs[recipe.output] = int(cost)
                    changed = True
            for tag, members in self._tags.items():
                cost = min((costs.get(m, math.inf) for m in members), default=math.inf)
                if cost < costs.get(tag, math.inf):
                    costs[tag] = int(cost)
                    changed = True
        return costs

    def _recipe_cost(self, recipe: Recipe) -> float:
        return 1 + sum(self._costs.get(name, math.inf) for _, name in recipe.inputs)

    @staticmethod
    def _ranked(costs: Iterable[float]) -> list[int]:
        ranked = sorted((cost, index) for index, cost in enumerate(costs))
        return [index for cost, index in ranked if cost < math.inf]


def _key(actions: list[Action]) -> tuple[int, int]:
    return len(actions), raw_units(actions)


def _best(tried: Iterable[list[Action] | None]) -> list[Action] | None:
    """The shortest plan; of several, the first."""
    return min((plan for plan in tried if plan is not None), key=_key, default=None)


def raw_units(actions: Iterable[Action]) -> int:
    """The number of pieces of raw items that the plan gets."""
    return sum(action.count for action in actions if action.kind == "get")
