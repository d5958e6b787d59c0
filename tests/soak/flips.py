"""Flipped bytes in a database: reading and going on end with an error, or show what is there."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import dataclass

from tests.soak.cases import BY_NAME, reference
from tests.soak.kind import Bench, Kind, Outcome
from tests.soak.program import Running

READERS: tuple[tuple[str, ...], ...] = (
    ("runs",),
    ("runs", "--json"),
    ("runs", "show"),
    ("runs", "show", "--json"),
    ("trees",),
    ("trees", "--json"),
    ("report",),
    ("report", "--json"),
    ("report", "--md"),
    ("export", "-o", "-"),
    ("demos", "--json"),
)
WRITERS: tuple[tuple[str, ...], ...] = (
    ("run", "--resume", "latest"),
    ("search", "latest"),
    ("splice", "latest", "--redo"),
    ("train", "latest", "--redo"),
    ("eval", "latest", "--force", "--tasks", "2"),
    ("runs", "delete", "latest", "--yes"),
)
WAYS = ("bit", "byte", "page of zeros", "page of noise", "cut", "swapped pages")
_PAGE = 4096


@dataclass(frozen=True)
class Flipped:
    """A damaged database and what is done with it.

    Attributes:
        case: whose database.
        damages: how, and where as shares of its size.
        commands: the arguments of each command.
    """

    case: str
    damages: tuple[tuple[str, float, float], ...]
    commands: tuple[tuple[str, ...], ...]


class Flips(Kind[Flipped]):
    """A damaged database is no crash."""

    name = "flips"
    share = 12

    def draw(self, rng: random.Random) -> Flipped:
        case = rng.choice(("one environment", "two environments", "imitation"))
        damages = [
            (rng.choices(WAYS, (6, 6, 2, 2, 1, 1))[0], rng.random(), rng.random())
            for _ in range(rng.choice((1, 1, 1, 2, 5, 20)))
        ]
        commands = [*rng.sample(READERS, 3), rng.choice(WRITERS)]
        return Flipped(case, tuple(damages), tuple(commands))

    def check(self, scenario: Flipped, bench: Bench) -> Outcome:
        case = BY_NAME[scenario.case]
        whole = reference(case, bench)
        outcome = Outcome()
        db = bench.folder / "runs.db"
        artifacts = db.with_name(db.name + "-artifacts")
        shutil.copytree(whole.db.with_name(whole.db.name + "-artifacts"), artifacts)
        data = bytearray(whole.db.read_bytes())
        for way, first, second in scenario.damages:
            damage(data, way, first, second)
        db.write_bytes(data)
        for words in scenario.commands:
            ended = Running(
                [*words, "-d", db], program=case.program, folder=bench.folder / "command"
            ).ended()
            outcome.counts["commands"] += 1
            outcome.counts["refused"] += ended.code == 4
            outcome.faults += ended.judged()
            if "--json" in words and not _is_json(ended.out):
                outcome.faults.append(f"`{' '.join(words)}`: no JSON: {ended.out[:300]!r}")
        return outcome


def damage(data: bytearray, way: str, first: float, second: float) -> None:
    """Damage a file's bytes.

    Args:
        data: the bytes; changed in place.
        way: one of ``WAYS``.
        first: where, as a share of the size.
        second: what else the way needs, in [0, 1).
    """
    if not data:
        return
    at = int(first * len(data))
    page = at - at % _PAGE
    if way == "bit":
        data[at] ^= 1 << int(second * 8)
    elif way == "byte":
        data[at] = int(second * 256)
    elif way == "page of zeros":
        data[page : page + _PAGE] = bytes(len(data[page : page + _PAGE]))
    elif way == "page of noise":
        noise = random.Random(second).randbytes(_PAGE)
        data[page : page + _PAGE] = noise[: len(data[page : page + _PAGE])]
    elif way == "cut":
        del data[at:]
    else:
        other = int(second * len(data))
        other -= other % _PAGE
        one, two = data[page : page + _PAGE], data[other : other + _PAGE]
        if len(one) == len(two):
            data[page : page + _PAGE], data[other : other + _PAGE] = two, one


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
