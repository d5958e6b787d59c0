"""Hostile texts of a model and an environment, through the loop and all that shows them."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path

from tests.soak.kind import Bench, Kind, Outcome
from tests.soak.program import Ended, Running
from tests.support import loop_case

READERS: tuple[tuple[str, ...], ...] = (
    ("runs",),
    ("runs", "show", "--json"),
    ("trees",),
    ("trees", "--json"),
    ("report",),
    ("report", "--json"),
    ("report", "--md"),
    ("report", "--html", "report.html"),
    *(("export", "--format", name, "-o", "-") for name in ("openai", "sharegpt", "agent-r")),
    ("demos", "--json"),
)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What a terminal may take for more than text."""
_TINY = [
    *("rounds=1", "search.tasks=3", "search.simulations=2", "search.width=2", "search.depth=4"),
    *("eval.tasks=3", "eval.max_steps=4", "eval.recovery_steps=2", "search.wave=2"),
]
_FEW = 2


@dataclass(frozen=True)
class Said:
    """Who says hostile texts.

    Attributes:
        seed: of the texts.
        cast: ``hostile`` for model and environment; ``environments`` for the bundled model in the
            hostile environment.
        readers: commands that show what was said.
    """

    seed: int
    cast: str
    readers: tuple[tuple[str, ...], ...]


class Texts(Kind[Said]):
    """What a model or an environment says is text, never more."""

    name = "texts"
    share = 8

    def draw(self, rng: random.Random) -> Said:
        cast = "environments" if rng.random() < 0.2 else "hostile"
        return Said(rng.randrange(2**31), cast, tuple(rng.sample(READERS, 3)))

    def check(self, scenario: Said, bench: Bench) -> Outcome:
        outcome = Outcome()
        db = bench.folder / "runs.db"
        for words in (_run_words(scenario.cast, bench.folder), *scenario.readers):
            ended = Running(
                [*words, "-d", db],
                program=("-m", "tests.soak.stand_in", scenario.cast),
                folder=bench.folder,
                env={"AGENTR_LITE_SOAK_TEXTS": str(scenario.seed)},
            ).ended()
            outcome.counts["commands"] += 1
            outcome.faults += ended.judged()
            outcome.faults += shown_controls(ended)
        return outcome


def _run_words(cast: str, folder: Path) -> list[str]:
    if cast == "hostile":
        recipe = str(loop_case.write_recipe(folder / "case"))
        return ["run", "hostile", "--recipe", recipe, "--set", "rounds=1"]
    sets = [word for key in _TINY for word in ("--set", key)]
    return ["run", "hostile", "--recipe", "smoke", *sets]


def shown_controls(ended: Ended) -> list[str]:
    """Characters that a terminal obeys, where a command shows text; and data that is no JSON."""
    faults = []
    shown = " ".join(ended.words[:_FEW])
    is_data = ended.words[0] == "export" or "--json" in ended.words
    streams = [("stderr", ended.err)] + ([] if is_data else [("stdout", ended.out)])
    for name, text in streams:
        if found := _CONTROLS.search(text):
            around = text[max(0, found.start() - 40) : found.end() + 20]
            faults.append(f"`{shown}`: {found[0]!r} on {name}: {around!r}")
    if "--json" in ended.words:
        try:
            json.loads(ended.out)
        except ValueError as error:
            faults.append(f"`{shown}`: no JSON: {error}")
    return faults
