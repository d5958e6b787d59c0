"""The methods that a study compares: what each is called and how it differs from the recipe.

Source: Agent-R (arXiv 2501.11425) section 4 for the comparisons; the verified splice is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentr_lite.metrics.methods import BASE

VERIFIED = "verified"
NAIVE = "naive"
GOOD = "good"


@dataclass(frozen=True, slots=True)
class Method:
    """One way to make training data of the same trees."""

    key: str
    """As recipes and ``--only`` name it."""
    label: str
    """As tables name it."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What it changes in a run's recipe: groups of keys."""

    @property
    def told(self) -> str:
        """The changes as ``splice.data=both, …``."""
        return ", ".join(
            f"{group}.{key}={value}"
            for group, keys in self.changes.items()
            for key, value in keys.items()
        )


METHODS: Mapping[str, Method] = {
    one.key: one
    for one in (
        Method(BASE, "base"),
        Method(
            VERIFIED,
            "Agent-R, verified",
            {"splice": {"data": "both", "critic": "score", "verify": "replay"}},
        ),
        Method(
            NAIVE,
            "Agent-R, naive",
            {"splice": {"data": "both", "critic": "score", "verify": "off"}},
        ),
        Method(
            "direct",
            "direct revision",
            {"splice": {"data": "both", "critic": "none", "verify": "off"}},
        ),
        Method(GOOD, "good data only", {"splice": {"data": "good"}}),
        Method("general", "general data only", {"splice": {"data": "none"}}),
    )
}
"""By key. ``base`` is evaluated and not trained; the others are compared in the study's order."""
