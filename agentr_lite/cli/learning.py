"""What the stages' commands say of what there is to learn from a round's trees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentr_lite.console.streams import say, warn

if TYPE_CHECKING:
    from agentr_lite.metrics.learning import Diagnosis, LearningCounts


def say_learning(counts: LearningCounts, diagnosis: Diagnosis | None) -> None:
    """What keeps a round from giving more; a warning with advice where it gives nothing.

    Args:
        counts: of the round.
        diagnosis: why nothing will come of it; None where something may.
    """
    from agentr_lite.metrics.learning import partial_notes

    if diagnosis is not None:
        warn(f"nothing to learn from: {diagnosis.finding}", hint=" ".join(diagnosis.advice))
        return
    for note in partial_notes(counts):
        say(note)


def learning_json(counts: LearningCounts, diagnosis: Diagnosis | None) -> dict[str, Any]:
    """The same as data: ``notes`` and, where nothing will come of the round, ``diagnosis``."""
    from agentr_lite.metrics.learning import partial_notes

    known = {"diagnosis": diagnosis.to_json()} if diagnosis is not None else {}
    return {"notes": partial_notes(counts), **known}
