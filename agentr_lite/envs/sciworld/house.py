"""What the expert of ScienceWorld knows: the house, the tasks, and how to read a room's listing.

Source: the plan of the house and the forms of observations are ScienceWorld's (Wang et al. 2022),
as they appear in training variations.
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
"""Room to its neighbouring rooms."""

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
    """The content of a task of topic 4 or 7."""

    wanted: Wanted
    place: str
    """The room with such things."""
    box: str = ""
    """The box for the thing; empty: the task has none."""
    box_room: str = ""


@dataclass(frozen=True, slots=True)
class Thing:
    """An object in a listing at which the player can point."""

    name: str
    """The name for ``focus on``."""
    carried: str
    """The object to pick up and move: the thing itself, or the pot in which it grows."""


def read_errand(opening: str) -> Errand | None:
    """The task in a first observation; None for other kinds of tasks."""
    task = opening.partition("\n")[0]
    if match := _FIND.search(task):
        wanted, box, room = match.groups()
        places = {"plant": "greenhouse", "non-living thing": room}
        return Errand(wanted, places.get(wanted, "outside"), box, room)  # type: ignore[arg-type]
    if "life span" in task:
        return Errand("life span", "outside")
    return None


def read_room(observation: str) -> str | None:
    """The room that an observation describes; None if it describes no room."""
    match = _PLACE.search(observation)
    return match.group(1) if match else None


def route(start: str, end: str) -> list[str]:
    """The rooms on the shortest route, without ``start`` and with ``end``."""
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


def matching_things(listing: str, wanted: Wanted) -> list[Thing]:
    """The objects in a listing that match a task, in their order."""
    plain, growing = _read_listing(listing)
    if wanted == "plant":
        return growing
    alive = [thing for thing in plain if is_animal(thing.name)]
    if wanted == "non-living thing":
        simple = [thing for thing in plain if not is_animal(thing.name)]
        # If every object has contents, take the furniture itself, but not the box.
        return simple or _furniture(listing)
    return alive


def any_things(listing: str) -> list[Thing]:
    """All objects in a listing at which the player can point, in their order."""
    plain, growing = _read_listing(listing)
    return plain + growing


def is_animal(name: str) -> bool:
    """Whether an object's name is that of an animal, at any stage of its life."""
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
