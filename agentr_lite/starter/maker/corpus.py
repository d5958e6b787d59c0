"""Demonstrations of all three environments as chat messages: what the starter is trained on.

Episodes run in the environments' own rules, so observations are those that the model will meet.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from agentr_lite.starter.maker.crafting import Crafting
from agentr_lite.starter.maker.drills import drill
from agentr_lite.starter.maker.episodes import Demonstration, Episode, demonstration
from agentr_lite.starter.maker.exploring import Exploring
from agentr_lite.starter.maker.shopping import Shopping


class Source(Protocol):
    """Where one environment's episodes come from."""

    name: str

    def episodes(self, rng: random.Random, ease: float = 0.0) -> Iterator[Episode]:
        """Episodes for ever from one random stream."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """What share of the demonstrations is what."""

    shares: dict[str, float] = field(
        default_factory=lambda: {"textcraft": 0.4, "webshop": 0.4, "sciworld": 0.2}
    )
    """Of the episodes, by environment."""
    judged: float = 0.2
    """Episodes that end with the critic's question after one of their steps."""
    drills: float = 0.08
    """Copying drills among all demonstrations."""
    early_drills: float = 0.4
    """The same at the very beginning."""


class Corpus:
    """An endless stream of demonstrations.

    Args:
        sources: by environment.
        words: of the copying drills.
        mixture: their shares.
    """

    def __init__(
        self, sources: Sequence[Source], words: Sequence[str], mixture: Mixture | None = None
    ) -> None:
        self.sources = list(sources)
        self.words = sorted(words)
        self.mixture = mixture or Mixture()

    def stream(self, seed: int, *, ease: float = 0.0) -> Iterator[Demonstration]:
        """Demonstrations for ever.

        Args:
            seed: of this stream.
            ease: 1 = easy tasks and many drills, 0 = the full mixture.
        """
        rng = random.Random(seed)
        mixture = self.mixture
        drills = mixture.drills + (mixture.early_drills - mixture.drills) * ease
        running = {
            source.name: source.episodes(random.Random(f"{seed}/{source.name}"), ease)
            for source in self.sources
        }
        names = list(running)
        weights = [mixture.shares[name] for name in names]
        while True:
            if rng.random() < drills:
                yield drill(self.words, rng)
                continue
            episode = next(running[rng.choices(names, weights)[0]])
            yield demonstration(episode, rng, judged=rng.random() < mixture.judged)


def build_corpus(recordings: Path, mixture: Mixture | None = None) -> Corpus:
    """The corpus of all three environments: training tasks are played, dev and test tasks never.

    Args:
        recordings: plays of ScienceWorld's training tasks.
        mixture: shares; default: the starter's.
    """
    sources: list[Source] = [Crafting.bundled(), Shopping(), Exploring(recordings)]
    return Corpus(sources, sorted(corpus_words(sources)), mixture)


def corpus_words(sources: Sequence[Source], episodes: int = 1500) -> set[str]:
    """The words of a sample of each source's episodes, as they are written."""
    words: set[str] = set()
    for source in sources:
        running = source.episodes(random.Random(f"words/{source.name}"))
        for _ in range(episodes):
            episode = next(running)
            words.update(_words(episode.opening))
            for step in episode.steps:
                words.update(_words(step.text))
                words.update(_words(step.observation))
    return words


_WORD = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]+(?![A-Za-z0-9])")


def _words(text: str) -> list[str]:
    return _WORD.findall(text)
