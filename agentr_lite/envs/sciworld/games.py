"""The list of ScienceWorld's games, with their published numbers and their splits.

The list is written out here, so that listing tasks needs no Java; a test compares it with the
package.

Source: ScienceWorld 1.2.3 (task names, numbers of variations, its rule for splits) and AgentGym's
ScienceWorld server (the tasks that it leaves out, and the order in which it numbers games).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from agentr_lite.core.tasks import SPLITS, Split, Task

GameList = Literal["published", "agentgym", "all"]
GAME_LISTS: tuple[GameList, ...] = ("published", "agentgym", "all")
TestSet = Literal["all", "published"]
TEST_SETS: tuple[TestSet, ...] = ("all", "published")


class Kind(NamedTuple):
    """One of the 30 kinds of task."""

    code: str
    """``<topic>-<number>``, as in the benchmark."""
    name: str
    variations: int
    goal: str
    """For people."""


KINDS: tuple[Kind, ...] = (
    Kind("1-1", "boil", 30, "boil a substance"),
    Kind("1-2", "melt", 30, "melt a substance"),
    Kind("1-3", "freeze", 30, "freeze a substance"),
    Kind("1-4", "change-the-state-of-matter-of", 30, "change a substance's state of matter"),
    Kind("2-1", "use-thermometer", 540, "measure a temperature"),
    Kind("2-2", "measure-melting-point-known-substance", 436, "measure a known melting point"),
    Kind("2-3", "measure-melting-point-unknown-substance", 300, "measure an unknown melting point"),
    Kind("3-1", "power-component", 20, "build a circuit that powers a component"),
    Kind(
        "3-2",
        "power-component-renewable-vs-nonrenewable-energy",
        20,
        "power a component from the right kind of energy",
    ),
    Kind("3-3", "test-conductivity", 900, "find out whether an object conducts"),
    Kind(
        "3-4",
        "test-conductivity-of-unknown-substances",
        600,
        "find out whether an unknown substance conducts",
    ),
    Kind("4-1", "find-living-thing", 300, "find something that lives"),
    Kind("4-2", "find-non-living-thing", 300, "find something that does not live"),
    Kind("4-3", "find-plant", 300, "find a plant"),
    Kind("4-4", "find-animal", 300, "find an animal"),
    Kind("5-1", "grow-plant", 126, "grow a plant from a seed"),
    Kind("5-2", "grow-fruit", 126, "grow a fruit"),
    Kind("6-1", "chemistry-mix", 32, "mix a substance from others"),
    Kind("6-2", "chemistry-mix-paint-secondary-color", 36, "mix paint of a secondary colour"),
    Kind("6-3", "chemistry-mix-paint-tertiary-color", 36, "mix paint of a tertiary colour"),
    Kind("7-1", "lifespan-longest-lived", 125, "find the animal that lives longest"),
    Kind("7-2", "lifespan-shortest-lived", 125, "find the animal that lives shortest"),
    Kind(
        "7-3",
        "lifespan-longest-lived-then-shortest-lived",
        125,
        "find the animal that lives longest, then the one that lives shortest",
    ),
    Kind("8-1", "identify-life-stages-1", 14, "point out a plant's stages of life"),
    Kind("8-2", "identify-life-stages-2", 10, "point out an animal's stages of life"),
    Kind("9-1", "inclined-plane-determine-angle", 168, "compare the angles of two planes"),
    Kind(
        "9-2",
        "inclined-plane-friction-named-surfaces",
        1386,
        "compare the friction of two known surfaces",
    ),
    Kind(
        "9-3",
        "inclined-plane-friction-unnamed-surfaces",
        162,
        "compare the friction of two unknown surfaces",
    ),
    Kind("10-1", "mendelian-genetics-known-plant", 120, "breed a known plant"),
    Kind("10-2", "mendelian-genetics-unknown-plant", 480, "breed an unknown plant"),
)
"""In the package's order, which the numbers of games follow: 7,207 variations."""

_LEFT_OUT_BY_AGENTGYM = frozenset({"5-1", "5-2", "9-1", "9-2", "9-3", "10-1", "10-2"})
_LEFT_OUT: dict[GameList, frozenset[str]] = {
    # All 200 published ids are in the test split only if 2-3 is left out as well.
    "published": _LEFT_OUT_BY_AGENTGYM | {"2-3"},
    "agentgym": _LEFT_OUT_BY_AGENTGYM,
    "all": frozenset(),
}

# fmt: off
PUBLISHED_TEST_IDS: tuple[int, ...] = (
    536, 537, 538, 543, 544, 547, 557, 559, 565, 569, 572, 573, 581, 584, 606, 609, 610, 616,
    620, 624, 631, 635, 641, 652, 657, 995, 1002, 1003, 1006, 1017, 1020, 1023, 1024, 1026,
    1028, 1029, 1032, 1033, 1052, 1055, 1058, 1065, 1066, 1068, 1074, 1088, 1093, 1095, 1111,
    1112, 1131, 1134, 1135, 1816, 1821, 1822, 1824, 1831, 1835, 1838, 1844, 1873, 1879, 1882,
    1897, 1912, 1914, 1915, 1919, 1931, 1934, 1938, 1940, 1949, 1953, 1954, 1955, 1969, 1988,
    1994, 2008, 2015, 2016, 2029, 2487, 2488, 2496, 2497, 2498, 2500, 2503, 2504, 2506, 2511,
    2512, 2513, 2521, 2527, 2531, 2546, 2548, 2552, 2555, 2559, 2563, 2569, 2573, 2577, 2581,
    2582, 2589, 2619, 2621, 2625, 2631, 2633, 2862, 2864, 2866, 2871, 2875, 2876, 2887, 2888,
    2893, 2896, 2899, 2901, 2904, 2910, 2912, 2915, 2917, 2924, 2931, 2932, 3168, 3174, 3191,
    3195, 3197, 3200, 3207, 3210, 3216, 3223, 3231, 3464, 3465, 3471, 3482, 3483, 3485, 3488,
    3490, 3491, 3494, 3496, 3515, 3518, 3519, 3523, 3524, 3533, 3766, 3782, 3789, 3794, 3811,
    3813, 3814, 3815, 3828, 3861, 3867, 3895, 3931, 4048, 4050, 4059, 4159, 4170, 4175, 4176,
    4178, 4283, 4284, 4287, 4288, 4292, 4294, 4295, 4296, 4297, 4299, 4307, 4312, 4327, 4335,
    4336,
)
# fmt: on
"""Numbers in the ``published`` list. Source: AgentGym's and Agent-R's 200 ScienceWorld test ids."""


@dataclass(frozen=True, slots=True)
class Game:
    """One variation of a kind of task."""

    kind: Kind
    variation: int
    number: int
    """Its place in the list of games, from 0: AgentGym's ``data_idx``."""

    @property
    def split(self) -> Split:
        """The split by the package's rule: half of the variations, the next quarter, the rest."""
        quarter = self.kind.variations // 4
        if self.variation < 2 * quarter:
            return "train"
        return "dev" if self.variation < 3 * quarter else "test"

    @property
    def task(self) -> Task:
        """The game as a task, named ``<kind>-<variation>``; its level is the topic, 1 to 10."""
        return Task(
            f"{self.kind.name}-{self.variation}",
            self.split,
            f"{self.kind.goal} (variation {self.variation})",
            level=int(self.kind.code.partition("-")[0]),
            payload={
                "task": self.kind.name,
                "variation": self.variation,
                "number": self.number,
            },
        )


def games(which: GameList = "published") -> Iterator[Game]:
    """All games of a list, in the order of their numbers."""
    number = 0
    for kind in KINDS:
        if kind.code in _LEFT_OUT[which]:
            continue
        for variation in range(kind.variations):
            yield Game(kind, variation, number)
            number += 1


def chosen_kinds(text: str) -> frozenset[str]:
    """The codes of the kinds of task in a comma-separated text.

    Args:
        text: codes (``4-1``), topics (``4``: all kinds of the topic) or names
            (``find-living-thing``); empty: all kinds.

    Raises:
        ValueError: a part names no kind; the message is this part.
    """
    codes: set[str] = set()
    for part in (part.strip() for part in text.split(",") if part.strip()):
        matching = {
            kind.code
            for kind in KINDS
            if part in (kind.code, kind.name, kind.code.partition("-")[0])
        }
        if not matching:
            raise ValueError(part)
        codes |= matching
    return frozenset(codes) or frozenset(kind.code for kind in KINDS)


def split_tasks(
    which: GameList = "published",
    test: TestSet = "all",
    kinds: frozenset[str] | None = None,
) -> dict[Split, Sequence[Task]]:
    """Tasks by split, in the order of their numbers.

    Args:
        which: the list of games; the published ids are valid only for ``published``.
        test: ``published`` keeps only the games with published ids in the test split.
        kinds: codes of the kinds of task to keep; None: all. The games' numbers stay the same.
    """
    tasks: dict[Split, list[Task]] = {split: [] for split in SPLITS}
    chosen = frozenset(PUBLISHED_TEST_IDS)
    for game in games(which):
        if kinds is not None and game.kind.code not in kinds:
            continue
        if game.split != "test" or test == "all" or game.number in chosen:
            tasks[game.split].append(game.task)
    return {split: tuple(members) for split, members in tasks.items()}
