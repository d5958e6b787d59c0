"""Two episodes of one task: which of them succeeded, and how long they are the same.

Pure functions of stored episodes, for everything that shows two rounds side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.core.steps import Step
from agentr_lite.metrics.episodes import is_faulty
from agentr_lite.store.records import EpisodeStep, EvalItemRow


def flip(before: EvalItemRow | None, now: EvalItemRow | None) -> int:
    """1 if only ``now`` succeeded, -1 if only ``before`` did, else 0.

    If the environment failed in either episode, the two say nothing about the actor: 0.
    """
    if before is None or now is None or is_faulty(before) or is_faulty(now):
        return 0
    return now.success - before.success


def kept(before: EvalItemRow | None, now: EvalItemRow | None) -> bool:
    """Whether both episodes succeeded."""
    return before is not None and now is not None and before.success and now.success


def same_steps(before: Sequence[EpisodeStep], now: Sequence[EpisodeStep]) -> int:
    """How many steps two episodes of a task share, from the first one on.

    Two steps are the same where the action and the environment's answer are; a thought may differ.
    Turns without an action are compared by their text.
    """
    shared = 0
    for left, right in zip(before, now, strict=False):
        if _key(left.step) != _key(right.step):
            break
        shared += 1
    return shared


def _key(step: Step) -> tuple[str, str, str]:
    return (step.kind, step.text if step.action is None else step.action, step.observation)
