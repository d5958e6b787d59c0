"""The numbers of a run's rounds, and what each round is compared with.

Round 0 is what self-training starts from, and rounds 1, 2, ... are self-training:

    without imitation     0: the base model                            1, 2, ...
    with imitation       -1: the base model    0: after imitation      1, 2, ...

So "round 0" means the same in every run: round 1 searches with its model, the recovery episodes
begin in its failures, and later rounds are compared with it. The base has its own number only
where imitation took its place, and runs without imitation are numbered as they always were.
"""

from __future__ import annotations

START = 0
"""The round that self-training starts from."""
BEFORE_IMITATION = -1
"""The base model, in runs with imitation."""


def base_round(*, imitates: bool) -> int:
    """The round of the base model, before any training."""
    return BEFORE_IMITATION if imitates else START


def reference_round(number: int, *, imitates: bool) -> int | None:
    """The round with which a round is compared: the start, and the start itself with the base.

    Args:
        number: the round.
        imitates: whether the run has imitation.

    Returns:
        None for the base.
    """
    if number > START:
        return START
    return BEFORE_IMITATION if imitates and number == START else None


def round_name(number: int, *, imitates: bool = False) -> str:
    """``base``, ``imitation`` or ``round 2``.

    Args:
        number: the round.
        imitates: whether the run has imitation.
    """
    if number > START:
        return f"round {number}"
    return "imitation" if imitates and number == START else "base"
