"""Figures with their intervals, as every part of the program holds them.

They are JSON objects only in the database and in the output of ``--json``: ``to_json`` writes them
and ``from_json`` reads them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from agentr_lite.store.decoding import record

FEWEST = 6
"""Tasks from which on a difference can be told from chance: a two-sided sign test reaches 5 % only
where six of them agree."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its confidence interval."""

    value: float
    low: float
    """Lower end of the interval; minus infinity where nothing is known."""
    high: float
    """Upper end of the interval; infinity where nothing is known."""
    n: int
    """Independent observations behind it: tasks, pairs or clusters."""

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The interval; None where it is not known."""
        known = math.isfinite(self.low) and math.isfinite(self.high)
        return (self.low, self.high) if known else None

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies wholly on one side of 0: not inside the noise."""
        return self.low > 0 or self.high < 0

    @property
    def too_few(self) -> bool:
        """Whether the observations behind a difference are too few to tell anything.

        They are fewer than ``FEWEST``, or the interval is unknown or holds every difference of
        two shares.
        """
        return self.n < FEWEST or self.bounds is None or self.bounds == (-1.0, 1.0)

    @property
    def always_zero(self) -> bool:
        """Whether the whole interval is 0, as for a difference that no task shows."""
        return self.low == self.high == 0

    def to_json(self) -> dict[str, Any]:
        """``{value, low, high, n}`` and a subclass's own fields; an unknown end is null."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Estimate:
        """What ``to_json`` wrote; keys of a subclass are ignored."""
        low, high = values["low"], values["high"]
        typed = {
            "value": values["value"],
            "low": -math.inf if low is None else low,
            "high": math.inf if high is None else high,
            "n": values["n"],
        }
        return record(Estimate, typed, "estimates", finite=False)


@dataclass(frozen=True, slots=True)
class PooledEstimate(Estimate):
    """A value pooled over seeds."""

    episodes: int
    """Episodes that were counted."""
    seeds: tuple[int, ...]
    """Seeds that have the value, ascending."""


@dataclass(frozen=True, slots=True)
class Difference(Estimate):
    """A difference between two methods or rounds, paired by seed and task."""

    p: float | None
    """Two-sided p-value of the paired swap test over tasks; None over several environments."""
    seeds: tuple[int, ...]
    """Seeds that both sides have, ascending."""
    by_seed: tuple[float, ...]
    """Each seed's own difference, in the order of ``seeds``."""


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return list(value) if isinstance(value, tuple) else value
