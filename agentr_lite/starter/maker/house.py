"""What the ScienceWorld player knows and reads: the house, the tasks, what a room's listing says.

Source: the house's plan and the forms of observations are ScienceWorld's (Wang et al. 2022), as
seen in training variations.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import Literal

Wanted = Literal["animal", "plant", "living thing", "non-living thing", "life span"]

DOORS: dict[str, tuple[str, ...]] = {
    "art studio": ("hallway",),
    "bathroom": ("kitchen",),
    "bedroom": ("hallway",),
    "foundry": ("outside",),
    "greenhouse": ("hallway", "outside"),
    "hallway": ("kitchen", "greenhouse", "art studio", "bedroom", "living room", "workshop"),
    "kitchen": ("bathroom", "hallway", "outside"),
    "living room": ("hallway",),
    "outside": ("kitchen", "greenhouse", "foundry"),
    "workshop": ("hallway",),
}
"""Room to the rooms next door."""

_PLACE = re.compile(r"^This (?:outside location|room) is called the ([a-z ]+)\.", re.MULTILINE)
_FIND = re.compile(
    r"find a\(n\) (living thing|non-living thing|plant|animal)\..*"
    r"move it to the (\w+ box) in the ([a-z ]+)\."
)
_THING = re.compile(r"^\t(?:an? |the )?(.+)$", re.MULTILINE)
_POT = re.compile(r"^(flower pot \d+) \(containing an? (.+?) in the ")
_SCENERY = ("agent", "ground")
_STAGES = ("baby ", "hatchling ", "juvenile ", "adult ")


@dataclass(frozen=True, slots=True)
class Errand:
    """What a task of topic 4 or 7 asks for."""

    wanted: Wanted
    place: str
    """Where such things are."""
    box: str = ""
    """Where the thing is to be put; empty: nowhere."""
    box_room: str = ""


@dataclass(frozen=True, slots=True)
class Thing:
    """An object of a listing that can be pointed at."""

    name: str
    """As focus takes it."""
    carried: str
    """What is picked up and moved: the thing, or the pot it grows in."""


def read_errand(opening: str) -> Errand | None:
    """What a task's first observation asks for; None where it is another kind of task."""
    task = opening.partition("\n")[0]
    if found := _FIND.search(task):
        wanted, box, room = found.groups()
        places = {"plant": "greenhouse", "non-living thing": room}
        return Errand(wanted, places.get(wanted, "outside"), box, room)  # type: ignore[arg-type]
    if "life span" in task:
        return Errand("life span", "outside")
    return None


def read_room(observation: str) -> str | None:
    """The room that an observation describes, if it does."""
    found = _PLACE.search(observation)
    return found.group(1) if found else None


def way(start: str, end: str) -> list[str]:
    """The rooms to walk through, ``start`` left out and ``end`` included."""
    before: dict[str, str] = {start: start}
    queue = deque([start])
    while queue:
        room = queue.popleft()
        if room == end:
            break
        for door in DOORS[room]:
            if door not in before:
                before[door] = room
                queue.append(door)
    path = [end]
    while path[-1] != start:
        path.append(before[path[-1]])
    return path[-2::-1]


def things(listing: str, wanted: Wanted) -> list[Thing]:
    """The objects of a listing that a task may mean, in its order."""
    plain, growing = _read_listing(listing)
    if wanted == "plant":
        return growing
    alive = [thing for thing in plain if is_animal(thing.name)]
    if wanted == "non-living thing":
        simple = [thing for thing in plain if not is_animal(thing.name)]
        # Where everything holds something: the furniture itself, but not the box.
        return simple or _furniture(listing)
    return alive


def any_things(listing: str) -> list[Thing]:
    """Whatever can be pointed at in a listing, in its order."""
    plain, growing = _read_listing(listing)
    return plain + growing


def is_animal(name: str) -> bool:
    """Whether a plain object's name is an animal's at some stage of its life."""
    return name.startswith(_STAGES) or name.endswith(" egg")


def _furniture(listing: str) -> list[Thing]:
    inside = listing.partition("You also see:")[0]
    names = [re.split(r"[.,(]", line)[0].strip() for line in _THING.findall(inside)]
    return [
        Thing(name, name)
        for name in names
        if not name.startswith("substance") and not name.endswith(" box") and name not in _SCENERY
    ]


def _read_listing(listing: str) -> tuple[list[Thing], list[Thing]]:
    plain, growing = [], []
    inside = listing.partition("You also see:")[0]
    for line in _THING.findall(inside):
        if pot := _POT.match(line):
            growing.append(Thing(f"{pot.group(2)} in {pot.group(1)}", pot.group(1)))
        elif not re.search(r"[.,(:]", line) and not line.startswith(("substance", *_SCENERY)):
            plain.append(Thing(line, line))
    return plain, growing
