"""The starter's training data: demonstrations of all three environments as chat messages.

The episodes follow the environments' own rules, so the model will see the same observations.
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
    """A source of one environment's episodes."""

    name: str

    def episodes(self, rng: random.Random, ease: float = 0.0) -> Iterator[Episode]:
        """Endless episodes from one random stream."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """The shares of the kinds of demonstrations."""

    shares: dict[str, float] = field(
        default_factory=lambda: {"textcraft": 0.4, "webshop": 0.4, "sciworld": 0.2}
    )
    """Environment to its share of the episodes."""
    judged: float = 0.2
    """Share of the episodes that end with the critic's question after one of their steps."""
    drills: float = 0.08
    """Share of copying drills among all demonstrations."""
    early_drills: float = 0.4
    """Share of copying drills at the beginning of training."""


class Corpus:
    """An endless stream of demonstrations.

    Args:
        sources: one per environment.
        words: words for the copying drills.
        mixture: the shares of the kinds of demonstrations.
    """

    def __init__(
        self, sources: Sequence[Source], words: Sequence[str], mixture: Mixture | None = None
    ) -> None:
        self.sources = list(sources)
        self.words = sorted(words)
        self.mixture = mixture or Mixture()

    def stream(self, seed: int, *, ease: float = 0.0) -> Iterator[Demonstration]:
        """Endless demonstrations.

        Args:
            seed: seed of this stream.
            ease: in [0, 1]; 1 = easy tasks and many drills, 0 = the full mixture.
        """
        rng = random.Random(seed)
        mixture = self.mixture
        drills = mixture.drills + (mixture.early_drills - mixture.drills) * ease
        streams = {
            source.name: source.episodes(random.Random(f"{seed}/{source.name}"), ease)
            for source in self.sources
        }
        names = list(streams)
        weights = [mixture.shares[name] for name in names]
        while True:
            if rng.random() < drills:
                yield drill(self.words, rng)
                continue
            episode = next(streams[rng.choices(names, weights)[0]])
            yield demonstration(episode, rng, judged=rng.random() < mixture.judged)


def build_corpus(recordings: Path, mixture: Mixture | None = None) -> Corpus:
    """The corpus of all three environments; it has only training tasks, never dev or test tasks.

    Args:
        recordings: recorded episodes of ScienceWorld's training tasks.
        mixture: default: the starter's.
    """
    sources: list[Source] = [Crafting.bundled(), Shopping(), Exploring(recordings)]
    return Corpus(sources, sorted(corpus_words(sources)), mixture)


def corpus_words(sources: Sequence[Source], episodes: int = 1500) -> set[str]:
    """The words in a sample of each source's episodes, in their original case."""
    words: set[str] = set()
    for source in sources:
        stream = source.episodes(random.Random(f"words/{source.name}"))
        for _ in range(episodes):
            episode = next(stream)
            words.update(_words(episode.opening))
            for step in episode.steps:
                words.update(_words(step.text))
                words.update(_words(step.observation))
    return words


_WORD = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]+(?![A-Za-z0-9])")


def _words(text: str) -> list[str]:
    return _WORD.findall(text)
