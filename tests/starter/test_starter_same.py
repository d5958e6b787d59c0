"""The bundled model was trained on these demonstrations: they stay the same, to the byte."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable
from itertools import islice

from agentr_lite.starter.maker.crafting import Crafting
from agentr_lite.starter.maker.episodes import Episode
from agentr_lite.starter.maker.shopping import Shopping


def digest(episodes: Iterable[Episode]) -> str:
    content = hashlib.sha256()
    for episode in episodes:
        steps = [[s.text, s.observation, s.kind, s.invalid, s.reward] for s in episode.steps]
        whole = [episode.instructions, episode.opening, steps, episode.verdicts, episode.reward]
        content.update(json.dumps(whole).encode())
    return content.hexdigest()[:16]


def test_crafting() -> None:
    crafting = Crafting.bundled()
    assert digest(islice(crafting.episodes(random.Random(0)), 300)) == "ecfe39a6d81bb597"
    assert digest(islice(crafting.episodes(random.Random(1), 0.5), 300)) == "0aed648406fcc3f2"


def test_shopping() -> None:
    shopping = Shopping()
    assert digest(islice(shopping.episodes(random.Random(0)), 300)) == "d8a5e34b35b13701"
    assert digest(islice(shopping.episodes(random.Random(1)), 300)) == "36e70ff43cd55cf1"
