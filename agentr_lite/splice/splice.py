"""Join a bad trajectory's beginning, a revision signal and a good way on, with loss flags.

Source: Agent-R (arXiv 2501.11425) section 3.2, equation of the revision trajectory, and 3.3 for
the loss: bad steps are context only; the revision signal and what follows are learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agentr_lite.agent.turns import REFLECT_REPLY, REFLECTIONS, reflection_turn
from agentr_lite.core.messages import Message
from agentr_lite.core.seeds import stream_seed
from agentr_lite.core.steps import Step
from agentr_lite.splice.trajectories import flagged_messages, loss_flags

Part = Literal["prefix", "bad", "signal", "good"]


@dataclass(frozen=True, slots=True)
class SplicedStep:
    """One turn of a revision trajectory."""

    step: Step
    part: Part
    """``good`` is everything after the signal, a recovery's own steps included."""
    loss: bool
    """Whether the agent's turn is learnt; observations never are."""


def splice(
    prefix: Sequence[Step], bad: Sequence[Step], cut_step: int, signal: str, good: Sequence[Step]
) -> list[SplicedStep]:
    """The revision trajectory, its observations still those of the two separate episodes.

    Args:
        prefix: the steps that both trajectories share.
        bad: the bad trajectory's steps after the prefix.
        cut_step: t', counted from reset: how many steps of prefix and bad are kept.
        signal: the thought of the revision turn.
        good: the good trajectory's steps after the prefix.

    Raises:
        ValueError: ``cut_step`` keeps no bad step, or more than there are.
    """
    kept = cut_step - len(prefix)
    if not 1 <= kept <= len(bad):
        raise ValueError(f"cut_step {cut_step} is outside {len(prefix)} + 1..{len(bad)}")
    return [
        # Both ends grew out of the prefix: it may hold the mistake itself.
        *(SplicedStep(step, "prefix", loss=False) for step in prefix),
        *(SplicedStep(step, "bad", loss=False) for step in bad[:kept]),
        SplicedStep(signal_step(signal), "signal", loss=True),
        *_mark(good, "good", after_signal=True),
    ]


def signal_step(signal: str) -> Step:
    """The revision turn as the agent loop would answer it."""
    return Step(reflection_turn(signal), "reflect", REFLECT_REPLY, kind="reflect")


def last_cut(prefix_steps: int, bad: Sequence[Step]) -> int:
    """The latest possible t': all bad steps, but not one that ended the episode.

    An episode that the environment has ended cannot be revised, so its last step is left out. One
    that was only cut off at the depth limit can go on. The result equals ``prefix_steps`` where no
    bad step is left to revise.

    Args:
        prefix_steps: how many steps come before ``bad``.
        bad: the bad trajectory's steps after the prefix.
    """
    kept = len(bad)
    if bad and bad[-1].terminated:
        kept -= 1
    while kept and bad[kept - 1].kind == "reflect":
        kept -= 1
    return prefix_steps + kept


def reflection(run_seed: int, round_index: int, task: str, bad_leaf: int, good_leaf: int) -> str:
    """The revision signal of one pair, drawn from ``REFLECTIONS`` by a stream of its own."""
    seed = stream_seed(run_seed, "reflection", round_index, task, bad_leaf, good_leaf)
    return REFLECTIONS[seed % len(REFLECTIONS)]


def mark_executed(steps: Sequence[Step], prefix_steps: int, cut_step: int) -> list[SplicedStep]:
    """Mark the executed steps of a revision trajectory: prefix, bad steps, signal, the way on.

    Args:
        steps: as recorded by the agent loop, the signal at index ``cut_step``.
        prefix_steps: how many steps the good and the bad trajectory share.
        cut_step: t', counted from reset.
    """
    return [
        *(SplicedStep(step, "prefix", loss=False) for step in steps[:prefix_steps]),
        *(SplicedStep(step, "bad", loss=False) for step in steps[prefix_steps:cut_step]),
        *(SplicedStep(step, "signal", loss=True) for step in steps[cut_step : cut_step + 1]),
        *_mark(steps[cut_step + 1 :], "good", after_signal=True),
    ]


def to_messages(
    opening: tuple[str, str], steps: Sequence[SplicedStep]
) -> tuple[list[Message], list[bool]]:
    """The chat with one loss flag a message; see ``trajectory.flagged_messages``."""
    turns = [item.step for item in steps]
    return flagged_messages(opening, turns, [item.loss for item in steps])


def _mark(steps: Sequence[Step], part: Part, *, after_signal: bool = False) -> list[SplicedStep]:
    flags = loss_flags(steps, after_signal=after_signal)
    return [SplicedStep(step, part, loss) for step, loss in zip(steps, flags, strict=True)]
