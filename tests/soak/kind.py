"""What a kind of fault is: it draws scenarios, and checks them one by one."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

S = TypeVar("S")


@dataclass
class Outcome:
    """What a trial did, and what went wrong in it."""

    counts: Counter[str] = field(default_factory=Counter)
    """How often each thing was done, e.g. ``kills``."""
    faults: list[str] = field(default_factory=list)
    """Sentences; the first difference is the first of them."""


@dataclass
class Bench:
    """Where trials work, and what they share."""

    folder: Path
    """The trial's own folder, which is empty at its beginning."""
    shared: Path
    """A folder for what several trials need, such as the runs that results are compared with."""
    kept: dict[str, Any]
    """What has been made there, by name."""
    closing: ExitStack
    """Closed when the last trial has ended."""

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What ``make`` gave the first time that something of this name was asked for."""
        if name not in self.kept:
            self.kept[name] = make()
        return self.kept[name]


class Kind(ABC, Generic[S]):
    """A kind of fault.

    Attributes:
        name: for the command line.
        share: its weight among the kinds, by time.
    """

    name: str
    share: float

    @abstractmethod
    def draw(self, rng: random.Random) -> S:
        """A scenario: the same for the same state of ``rng``, and with a ``repr`` that says it."""

    @abstractmethod
    def check(self, scenario: S, bench: Bench) -> Outcome:
        """Play the scenario.

        Raises:
            Exception: something in it could not be done at all; this counts as a fault, too.
        """
