"""Join a bad trajectory's beginning, a revision signal and a good continuation, with loss flags.

Source: Agent-R (arXiv 2501.11425) section 3.2, equation of the revision trajectory, and 3.3 for
the loss: bad steps are context only; the revision signal and what follows it are learnt.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.agent.turns import REFLECT_REPLY, REFLECTIONS, reflection_turn
from agentr_lite.core.seeds import stream_seed
from agentr_lite.core.steps import Step
from agentr_lite.splice.trajectories import FlaggedStep, context, flagged


def splice(
    prefix: Sequence[Step], bad: Sequence[Step], cut_step: int, signal: str, good: Sequence[Step]
) -> list[FlaggedStep]:
    """The revision trajectory, its observations still those of the two separate episodes.

    Args:
        prefix: the steps that both trajectories share.
        bad: the bad trajectory's steps after the prefix.
        cut_step: t', counted from reset: how many steps of prefix and bad are kept.
        signal: the thought of the revision turn.
        good: the good trajectory's steps after the prefix.

    Returns:
        Prefix, bad steps, the signal at index ``cut_step``, good steps.

    Raises:
        ValueError: ``cut_step`` keeps no bad step, or more than there are.
    """
    kept = cut_step - len(prefix)
    if not 1 <= kept <= len(bad):
        raise ValueError(f"cut_step {cut_step} is outside {len(prefix)} + 1..{len(bad)}")
    return [
        # Both ends grew out of the prefix: it may hold the mistake itself.
        *context(prefix),
        *context(bad[:kept]),
        FlaggedStep(signal_step(signal), loss=True),
        *flagged(good, after_signal=True),
    ]


def signal_step(signal: str) -> Step:
    """The revision turn as the agent loop would answer it."""
    return Step(reflection_turn(signal), "reflect", REFLECT_REPLY, kind="reflect")


def last_cut(prefix_steps: int, bad: Sequence[Step]) -> int:
    """The latest possible t': all bad steps, but not one that ended the episode.

    An episode that the environment has ended cannot be revised, so its last step is left out. One
    that was only cut off at the depth limit can continue. The result equals ``prefix_steps`` where
    no bad step is left to revise.

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
    """The revision signal of one pair, drawn from ``REFLECTIONS`` by its own stream."""
    seed = stream_seed(run_seed, "reflection", round_index, task, bad_leaf, good_leaf)
    return REFLECTIONS[seed % len(REFLECTIONS)]


def flag_executed(steps: Sequence[Step], cut_step: int) -> list[FlaggedStep]:
    """The flags of ``splice``, on the steps of a revision trajectory that was executed.

    Args:
        steps: as recorded by the agent loop, the signal at index ``cut_step``.
        cut_step: t', counted from reset.
    """
    signal = cut_step + 1
    return [
        *context(steps[:cut_step]),
        *(FlaggedStep(step, loss=True) for step in steps[cut_step:signal]),
        *flagged(steps[signal:], after_signal=True),
    ]
