"""The methods that a study compares: their names, and how each differs from the recipe.

Source: Agent-R (arXiv 2501.11425) section 4 for the comparisons; the verified splice is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentr_lite.metrics.methods import BASE, IMITATION

VERIFIED = "verified"
NAIVE = "naive"
GOOD = "good"


@dataclass(frozen=True, slots=True)
class Method:
    """One way to make training data from the same trees."""

    key: str
    """The name in recipes and in ``--only``."""
    label: str
    """The name in tables."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What the method changes in a run's recipe: groups of keys."""

    @property
    def changes_text(self) -> str:
        """The changes as ``splice.data=both, …``."""
        return ", ".join(
            f"{group}.{key}={value}"
            for group, keys in self.changes.items()
            for key, value in keys.items()
        )


METHODS: Mapping[str, Method] = {
    method.key: method
    for method in (
        Method(BASE, "base"),
        Method(IMITATION, "imitation only"),
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
"""By key. ``base`` is only evaluated and ``imitation`` has no rounds; the study's recipe sets the
order of the others."""
