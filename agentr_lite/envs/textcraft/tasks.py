"""Tasks: goals by depth, shown commands, and splits.

Everything follows from names and digests; nothing depends on the internals of a random generator,
the order of a directory or Python's string hash. So the same book gives the same tasks everywhere.
The bundled book's splits are frozen in ``data/tasks.json``;
``python -m agentr_lite.envs.textcraft`` prints the same content, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any

from agentr_lite.core.tasks import SPLITS, Task
from agentr_lite.envs.textcraft.book import bundled_table
from agentr_lite.envs.textcraft.rules import Recipe, RecipeTable, shown_name
from agentr_lite.envs.textcraft.solver import remaining
from agentr_lite.envs.textcraft.world import World

MAX_DISTRACTORS = 10
MANIFEST_VERSION = 1
MAX_PLAN = 20
"""Goals of the bundled book that need more actions are in no split: AgentGym allows 20 rounds."""

TEST_SHARE, DEV_SHARE = 0.3, 0.1

PUBLISHED_GOALS = 544
"""Number of goals in the data of Minecraft 1.16.5; the published ids are valid only there."""
PUBLISHED_DEPTHS = {1: 125, 2: 291, 3: 117, 4: 11}
PUBLISHED_TEST_IDS = (*range(31), *range(140, 181), *range(420, 445), *range(533, 536))
"""Source: Agent-R's 100 TextCraft test ids (31/41/25/3 by depth)."""
PUBLISHED_TRAIN_RANGE = range(31, 538)
"""The published splits do not use the ids after it, 538 to 543."""
PUBLISHED_TRAIN_SIZE = 374


def goals(table: RecipeTable) -> list[str]:
    """Craftable items by depth, in the table's order within a depth."""
    craftable = [name for name in table.by_output if table.depth(name) >= 1]
    return sorted(craftable, key=table.depth)


def shown_commands(
    table: RecipeTable,
    goal: str,
    *,
    distractors: int = MAX_DISTRACTORS,
    max_commands: int = 0,
) -> tuple[Recipe, ...]:
    """The shown recipes: all recipes of the goal's tree, and some that share an ingredient.

    Args:
        table: the world's recipes.
        goal: the item to craft.
        distractors: most recipes that do not help.
        max_commands: most recipes; distractors are left out, but never recipes of the tree.
            0 = no limit.
    """
    tree = table.tree(goal)
    used = {name for recipe in tree for _, name in recipe.inputs}
    related = dict.fromkeys(recipe for name in used for recipe in table.users(name))
    for recipe in tree:
        related.pop(recipe, None)
    limit = distractors if not max_commands else min(distractors, max_commands - len(tree))
    chosen = _shuffled(related, f"distractor/{goal}")[: max(limit, 0)]
    return tuple(_shuffled([*tree, *chosen], f"order/{goal}"))


def world_of_goal(
    table: RecipeTable, goal: str, *, distractors: int = MAX_DISTRACTORS, max_commands: int = 0
) -> World:
    """The world of one of the table's goals."""
    shown = shown_commands(table, goal, distractors=distractors, max_commands=max_commands)
    return World(table, goal, shown)


def _shuffled(recipes: Iterable[Recipe], salt: str) -> list[Recipe]:
    return sorted(recipes, key=lambda recipe: _digest(f"{salt}/{recipe.text}"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def stratified_split(table: RecipeTable, names: Sequence[str]) -> dict[str, list[str]]:
    """Disjoint splits; each has goals of every depth, as far as there are enough.

    Within a depth, goals are ordered by a digest of their name; the first 30 % (at least one) are
    test, the next 10 % dev, the rest train.
    """
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for depth in sorted({table.depth(name) for name in names}):
        level = [name for name in names if table.depth(name) == depth]
        level.sort(key=lambda name: _digest(f"split/{name}"))
        test = max(1, round(TEST_SHARE * len(level)))
        dev = max(1, round(DEV_SHARE * len(level))) if len(level) > 2 else 0
        splits["test"] += level[:test]
        splits["dev"] += level[test : test + dev]
        splits["train"] += level[test + dev :]
    return splits


def published_split(names: Sequence[str]) -> dict[str, list[str]]:
    """The published benchmark's splits over the 544 goals of the Minecraft 1.16.5 data.

    Test: the published ids. Train: 374 of the 438 other ids in 31-537, evenly spread, because the
    ids used by the authors were not published. Dev: the other 64, and the six after the range.
    """
    test = set(PUBLISHED_TEST_IDS)
    candidates = [index for index in PUBLISHED_TRAIN_RANGE if index not in test]
    train = {
        candidates[k * len(candidates) // PUBLISHED_TRAIN_SIZE] for k in range(PUBLISHED_TRAIN_SIZE)
    }
    return {
        "train": [names[index] for index in sorted(train)],
        "dev": [names[index] for index in candidates if index not in train]
        + list(names[PUBLISHED_TRAIN_RANGE.stop :]),
        "test": [names[index] for index in PUBLISHED_TEST_IDS],
    }


def is_published_data(table: RecipeTable, names: Sequence[str]) -> bool:
    """Whether the goals are those of the Minecraft 1.16.5 data, by number and depths."""
    counts: dict[int, int] = {}
    for name in names:
        counts[table.depth(name)] = counts.get(table.depth(name), 0) + 1
    return len(names) == PUBLISHED_GOALS and counts == PUBLISHED_DEPTHS


def tasks_of(table: RecipeTable, splits: Mapping[str, Sequence[str]]) -> dict[str, list[Task]]:
    """Tasks of named goals."""
    return {
        split: [
            Task(
                name,
                split,
                f"craft {shown_name(name)}",
                level=table.depth(name),
                payload={"goal": name},
            )
            for name in names
        ]
        for split, names in splits.items()
    }


def build_manifest() -> dict[str, Any]:
    """Compute the bundled book's splits."""
    table = bundled_table()
    playable = [
        name for name in goals(table) if remaining(world_of_goal(table, name), {}) <= MAX_PLAN
    ]
    return {
        "version": MANIFEST_VERSION,
        "recipes_sha256": _digest("\n".join(recipe.text for recipe in table.recipes)),
        "splits": stratified_split(table, playable),
    }


def manifest_text(manifest: Mapping[str, Any]) -> str:
    """The content of ``data/tasks.json`` for a manifest."""
    return json.dumps(manifest, indent=1) + "\n"


@lru_cache(maxsize=1)
def bundled_splits() -> dict[str, list[str]]:
    """The frozen splits of the bundled book."""
    text = resources.files(__package__).joinpath("data/tasks.json").read_text("utf-8")
    splits: dict[str, list[str]] = json.loads(text)["splits"]
    return splits
