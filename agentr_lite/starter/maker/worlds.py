"""Procedural crafting worlds: random recipe tables with the recipe book's words.

They teach the model to read the commands instead of remembering the book. They never use the name
of a held-out goal.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from agentr_lite.envs.textcraft.rules import Recipe

_YIELDS = (1, 1, 1, 1, 2, 2, 3, 4, 4, 6, 8, 16)
_AMOUNTS = (1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 6, 6, 7, 8, 8, 9)
_WIDTHS = (1, 1, 1, 2, 2, 2, 2, 3, 3, 4)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The parts of procedural names."""

    names: tuple[str, ...]
    """Real item names without the held-out goals."""
    words: tuple[str, ...]
    """Single words of those names."""
    tags: dict[str, tuple[str, ...]]
    """Real tags and their members."""

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        tags: dict[str, tuple[str, ...]],
        held_out: frozenset[str],
        *,
        every_word: bool = True,
    ) -> Vocabulary:
        """The vocabulary of a book without its held-out goals.

        Args:
            names: all item names of the book.
            tags: its real tags and their members.
            held_out: names that must not be used.
            every_word: also use words that only held-out names have, because a model cannot copy a
                word that it has never seen.
        """
        members = {m for group in tags.values() for m in group}
        kept = sorted(n for n in set(names) if n not in held_out and n not in members | set(tags))
        known = sorted({w for n in (names if every_word else kept) for w in n.split("_")})
        return cls(tuple(kept), tuple(known), tags)


@dataclass(frozen=True, slots=True)
class World:
    """One procedural task: its commands in the order in which they are shown, and its goal."""

    commands: tuple[Recipe, ...]
    goal: str
    depth: int


class WorldMaker:
    """Draws worlds from one random stream."""

    def __init__(self, vocabulary: Vocabulary, held_out: frozenset[str], rng: random.Random):
        self.vocabulary = vocabulary
        self.held_out = held_out
        self.rng = rng

    def world(self, depth: int, distractors: int) -> World:
        """A solvable world whose goal has the crafting depth ``depth`` (>= 1)."""
        self._used: set[str] = set()
        recipes: list[Recipe] = []
        goal = self._grow(depth, recipes)
        inputs = [name for recipe in recipes for _, name in recipe.inputs]
        for _ in range(distractors):
            recipes.append(self._distractor(inputs))
        self.rng.shuffle(recipes)
        return World(tuple(recipes), goal, depth)

    def _fresh(self) -> str:
        rng, pool = self.rng, self.vocabulary
        while True:
            if rng.random() < 0.5:
                name = rng.choice(pool.names)
            else:
                count = rng.choice((1, 2, 2, 2, 3))
                name = "_".join(rng.sample(pool.words, count))
            if name not in self._used and name not in self.held_out and name not in pool.tags:
                if any(name.endswith("_" + tag) for tag in pool.tags):
                    continue
                self._used.add(name)
                return name

    def _grow(self, depth: int, recipes: list[Recipe]) -> str:
        rng = self.rng
        output = self._fresh()
        width = rng.choice(_WIDTHS)
        # One input has the remaining depth; others may be crafted, too, but rarely deeply.
        deepest = rng.randrange(width)
        inputs: list[tuple[int, str]] = []
        for index in range(width):
            amount = rng.choice(_AMOUNTS)
            if index == deepest and depth > 1:
                if depth == 2 and rng.random() < 0.25:
                    name = self._tagged(recipes)
                else:
                    name = self._grow(depth - 1, recipes)
            elif depth > 1 and rng.random() < 0.2:
                name = self._grow(1, recipes)
            else:
                name = self._fresh()
            if name not in [n for _, n in inputs]:
                inputs.append((amount, name))
        recipes.append(Recipe(output, rng.choice(_YIELDS), tuple(inputs)))
        return output

    def _tagged(self, recipes: list[Recipe]) -> str:
        """A tag, with recipes for one or more of its members."""
        rng = self.rng
        tag = rng.choice(sorted(self.vocabulary.tags))
        if tag not in self._used:
            self._used.add(tag)
            members = [m for m in self.vocabulary.tags[tag] if m not in self.held_out]
            for member in rng.sample(members, min(len(members), rng.choice((1, 1, 2, 4)))):
                source = member.removesuffix("_" + tag) + "_logs" if tag == "planks" else "string"
                if source in self._used or rng.random() < 0.3:
                    # A source that is made in this world, too, could close a cycle.
                    source = self._fresh()
                self._used.add(source)
                amount = rng.choice((1, 1, 2, 4))
                recipes.append(Recipe(member, rng.choice((1, 4, 4)), ((amount, source),)))
        return tag

    def _distractor(self, shared: list[str]) -> Recipe:
        """A useless recipe that shares an ingredient with the goal's tree."""
        rng = self.rng
        output = self._fresh()
        inputs = [(rng.choice(_AMOUNTS), rng.choice(shared))]
        for _ in range(rng.choice((0, 0, 1, 1, 2))):
            inputs.append((rng.choice(_AMOUNTS), self._fresh()))
        rng.shuffle(inputs)
        return Recipe(output, rng.choice(_YIELDS), tuple(inputs))
