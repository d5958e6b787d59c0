"""The methods that a study compares: their names, and how each differs from the recipe.

Source: Agent-R (arXiv 2501.11425) section 4 for the comparisons; the verified splice is ours. ETO
(arXiv 2403.02502) trains on good trajectories first and then on pairs of episodes; here one
training minimises both losses, since each round trains anew from where the rounds start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentr_lite.metrics.methods import BASE, IMITATION

VERIFIED = "verified"
NAIVE = "naive"
GOOD = "good"
IMITATION_MORE = "imitation-more"
"""Imitation goes on in every round, instead of a search."""


@dataclass(frozen=True, slots=True)
class Method:
    """One way to make training data from the same trees."""

    key: str
    """The name in recipes and in ``--only``."""
    label: str
    """The name in tables."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What the method changes in a run's recipe: groups of keys."""
    said: str = ""
    """The changes in words, if they depend on other runs."""

    @property
    def changes_text(self) -> str:
        """The changes as ``splice.data=both, …``."""
        return self.said or ", ".join(
            f"{group}.{key}={_shown(value)}"
            for group, keys in self.changes.items()
            for key, value in keys.items()
        )


def _shown(value: Any) -> str:
    """A value as ``--set`` takes it."""
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)


_VERIFIED_CHANGES: Mapping[str, Any] = {
    "splice": {"data": "both", "critic": "score", "verify": "replay"}
}

METHODS: Mapping[str, Method] = {
    method.key: method
    for method in (
        Method(BASE, "base"),
        Method(IMITATION, "imitation only"),
        Method(
            IMITATION_MORE,
            "imitation once more",
            said="no search; each round trains on as many further demonstrations as Agent-R trains"
            " on examples in this round",
        ),
        Method(
            VERIFIED,
            "Agent-R, verified",
            _VERIFIED_CHANGES,
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
        Method(
            "eto",
            "good data, episode DPO",
            {
                "splice": {"data": "good", "preferences": ["episode"]},
                "train": {"objective": "sft+dpo"},
            },
        ),
        Method(
            "step-dpo",
            "step DPO",
            {"splice": {"preferences": ["step"]}, "train": {"objective": "dpo"}},
        ),
        Method(
            "agent-r+step-dpo",
            "Agent-R, step DPO",
            {
                "splice": {**_VERIFIED_CHANGES["splice"], "preferences": ["step"]},
                "train": {"objective": "sft+dpo"},
            },
        ),
    )
}
"""By key. ``base`` is only evaluated and ``imitation`` has no rounds; the study's recipe sets the
order of the others."""
