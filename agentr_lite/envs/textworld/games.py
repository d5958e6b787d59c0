"""The kinds of games, the settings of each level, and the seeds of each split.

The choice of levels is ours.

Source: microsoft/TextWorld, ``textworld/challenges`` and ``GameOptions``, for the kinds of games
and the meaning of their settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentr_lite.core.tasks import Task

COOKING = "cooking"
COINS = "coins"
TREASURE = "treasure"
QUEST = "quest"

LEVELS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    # Skills that the recipe needs; `go` is the number of rooms.
    COOKING: (
        {"recipe": 1, "take": 1},
        {"recipe": 1, "take": 1, "open": True},
        {"recipe": 1, "take": 1, "open": True, "cook": True},
        {"recipe": 1, "take": 1, "open": True, "cook": True, "cut": True},
        {"recipe": 2, "take": 2, "open": True, "cook": True, "cut": True, "go": 6},
    ),
    # TextWorld's own levels: a coin collector of 1-100 has no dead ends, a treasure hunter of
    # 1-10 no doors.
    COINS: ({"level": 2}, {"level": 4}, {"level": 6}, {"level": 8}, {"level": 10}),
    TREASURE: ({"level": 2}, {"level": 5}, {"level": 10}, {"level": 15}, {"level": 20}),
    # Numbers of rooms, of things, and of actions in the quest.
    QUEST: (
        {"rooms": 2, "objects": 4, "length": 2},
        {"rooms": 3, "objects": 6, "length": 3},
        {"rooms": 4, "objects": 8, "length": 4},
        {"rooms": 6, "objects": 12, "length": 5},
        {"rooms": 9, "objects": 16, "length": 7},
    ),
}
"""Game -> the settings of level 1, 2, ..."""

_FIRST_SEED = {"train": 0, "dev": 1_000_000, "test": 2_000_000}
# A cooking game uses the ingredients of its split, so test recipes are new.
_COOKING_SPLIT = {"train": "train", "dev": "valid", "test": "test"}
_GOALS = {
    COOKING: "cook and eat the meal of the cookbook",
    COINS: "find the coin",
    TREASURE: "find the treasure",
    QUEST: "do what the first message asks",
}


def make_tasks(game: str, levels: Sequence[int], split: str, count: int) -> list[Task]:
    """The tasks of a split; levels take turns.

    Args:
        game: a key of ``LEVELS``.
        levels: from 1, as many as ``LEVELS`` has.
        split: ``train``, ``dev`` or ``test``; no seed is in two splits.
        count: number of tasks; a longer list starts with the same tasks.
    """
    tasks = []
    for index in range(count):
        level = levels[index % len(levels)]
        seed = _FIRST_SEED[split] + index
        settings = dict(LEVELS[game][level - 1])
        if game == COOKING:
            # With a seed of 0, every game would have the same recipe.
            settings |= {"split": _COOKING_SPLIT[split], "recipe_seed": seed + 1}
        payload = {"game": game, "seed": seed, "settings": settings}
        tasks.append(Task(f"{game}-{level}-{seed}", split, _GOALS[game], level, payload))
    return tasks
