"""ScienceWorld's episodes: recordings of training variations, in which some names are replaced."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from agentr_lite.envs.sciworld.games import chosen_kinds, split_tasks
from agentr_lite.envs.sciworld.prompt import BRIEF
from agentr_lite.starter.maker.episodes import Episode
from agentr_lite.starter.maker.recordings import KINDS, read_recordings

_COLORS = ("red", "green", "blue", "yellow", "orange", "purple")
_BOX = re.compile(rf"\b({'|'.join(_COLORS)})(?= box\b)")
_POT = re.compile(r"(?<=flower pot )\d+")
_EGGS = (
    "blue jay",
    "butterfly",
    "chameleon",
    "crocodile",
    "dove",
    "frog",
    "giant tortoise",
    "parrot",
    "turtle",
    "moth",
    "toad",
    "spider",
    "bee",
)
_PLANTS = ("apple", "avocado", "banana", "cherry", "lemon", "peach", "orange", "grapefruit")


class Exploring:
    """Endless episodes of ScienceWorld, from a file to which recordings may still be added.

    Args:
        recordings: see ``agentr_lite.starter.maker.recordings``.

    Raises:
        ValueError: a recorded task is not a training task.
        OSError: there are no recordings.
    """

    name = "sciworld"

    def __init__(self, recordings: Path) -> None:
        self.recordings = recordings
        splits = split_tasks(kinds=chosen_kinds(KINDS))
        self.allowed = frozenset(task.name for task in splits["train"])
        self.recorded: list[Episode] = []
        self._size = -1
        self.refresh()

    def refresh(self) -> None:
        """Read the file again if it has changed."""
        size = self.recordings.stat().st_size
        if size == self._size:
            return
        self._size = size
        rows = read_recordings(self.recordings, BRIEF)
        leaked = sorted({name for name, _ in rows} - self.allowed)
        if leaked:
            raise ValueError(f"recordings of held-out tasks: {', '.join(leaked[:5])}")
        self.recorded = [episode for _, episode in rows if episode.steps]

    def episodes(self, rng: random.Random, ease: float = 0.0) -> Iterator[Episode]:
        """Episodes from one random stream.

        Args:
            rng: the stream.
            ease: has no effect here.
        """
        self.refresh()
        while True:
            yield varied(rng.choice(self.recorded), rng)


def varied(episode: Episode, rng: random.Random) -> Episode:
    """The same episode with other colours of boxes, numbers of pots, kinds of eggs and trees.

    The thing that the task asks for keeps its kind (an animal stays an animal), so the verdicts
    stay true. Tasks about life spans keep their animals, on which the life spans depend.
    """
    colors = dict(zip(_COLORS, rng.sample(_COLORS, len(_COLORS)), strict=True))
    pots = dict(zip(range(10), rng.sample(range(10), 10), strict=True))
    eggs = dict(zip(_EGGS, rng.sample(_EGGS, len(_EGGS)), strict=True))
    plants = dict(zip(_PLANTS, rng.sample(_PLANTS, len(_PLANTS)), strict=True))
    keeps_animals = "life span" in episode.opening
    egg = re.compile(rf"\b({'|'.join(_EGGS)})(?= egg\b| to the inventory| to the \w+ box)")
    plant = re.compile(rf"\b({'|'.join(_PLANTS)})(?= tree\b)")

    def replaced(text: str) -> str:
        text = _BOX.sub(lambda m: colors[m.group()], text)
        text = _POT.sub(lambda m: str(pots.get(int(m.group()), int(m.group()))), text)
        text = plant.sub(lambda m: plants[m.group()], text)
        if not keeps_animals:
            text = egg.sub(lambda m: eggs[m.group()], text)
        return text

    steps = [
        replace(
            step,
            text=replaced(step.text),
            action=replaced(step.action) if step.action else step.action,
            observation=replaced(step.observation),
        )
        for step in episode.steps
    ]
    return replace(episode, opening=replaced(episode.opening), steps=steps)
