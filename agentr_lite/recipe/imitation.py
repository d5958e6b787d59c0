"""A recipe's settings of imitation, the one group that belongs to no round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agentr_lite.recipe.fields import setting


@dataclass(frozen=True)
class ImitationSettings:
    """Imitation of demonstrations before round 1 (behaviour cloning).

    Source: the SFT of ETO (arXiv 2403.02502) section 3.1 and of AgentGym (arXiv 2406.04151).
    """

    tasks: int = setting(
        0,
        "From how many training tasks to learn by imitation, one demonstration each; 0 = no"
        " imitation. The seed chooses the tasks; one without a demonstration is passed over.",
        low=0,
        high=10**9,
        per_env=True,
    )
    source: Literal["any", "expert", "solve", "person", "import", "model"] = setting(
        "any",
        "Whose demonstrations. `any`: the best stored one, or else the environment's own; `expert`"
        " or `solve`: the environment's own, with thoughts or from its oracle's actions alone;"
        " `person`, `import` or `model`: stored ones of this source (docs/imitation.md).",
        per_env=True,
    )
    epochs: float = setting(
        0.0, "Passes over the demonstrations; 0 = as many as in `train`.", low=0, high=1000
    )
    learning_rate: float = setting(
        0.0,
        "The highest learning rate, reached after the warm-up; 0 = the one of `train`.",
        low=0,
        high=1,
    )
    further: tuple[int, ...] = setting(
        (),
        "Instead of searching, train round 1, 2, ... on so many further demonstrations, of tasks"
        " that were not demonstrated before: one number for each round. Empty: the rounds search."
        " This is the control for self-training on as many examples.",
        low=0,
        high=10**9,
    )
