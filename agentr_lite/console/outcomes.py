"""Signs, colours and words for outcomes: the same in the report, the trees and the inspector.

Every state has a glyph, a style and a word, so that colour is never the only sign.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from agentr_lite.console.text import Styled
from agentr_lite.core.verdicts import VERDICTS, Verdict, probabilities

Style = Literal["good", "partial", "bad", "signal", "odd", "plain", "accent", "dim"]
"""What a sign means; each renderer chooses the colour."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How a state is shown."""

    glyph: str
    """One terminal column."""
    style: Style
    word: str


ROOT = Mark("◆", "accent", "start")
SOLVED = Mark("✓", "good", "solved")
PARTIAL = Mark("◐", "partial", "ended with part of the reward")
FAILED = Mark("✗", "bad", "ended without reward")
FATAL = Mark("☠", "bad", "fatal mistake")
CUT = Mark("…", "partial", "cut at the depth limit")
INVALID = Mark("!", "odd", "invalid action")
REFLECTED = Mark("↺", "signal", "revision turn")
NO_ACTION = Mark("?", "odd", "no action")
STEP = Mark("·", "plain", "step")
UNVISITED = Mark("·", "dim", "never visited")
BROKEN = Mark("⚠", "odd", "the environment failed")
CUT_EPISODE = Mark("…", "partial", "cut at the step limit")
"""An evaluated episode that was not over at its last step."""
OVERFLOWED = Mark("…", "partial", "cut: the model's context was full")
"""An evaluated episode whose conversation did not fit the model's context any more."""
GAINED = Mark("▲", "good", "gained")
LOST = Mark("▼", "bad", "lost")
"""A task that one round solved and another did not."""
KEPT = Mark("✓", "good", "kept")
"""A task that both rounds solved."""
FAILED_TWICE = Mark("✗", "dim", "failed in both")
ONCE = Mark("–", "dim", "played by one round only")
REPEATED = Mark("≡", "partial", "repeats the steps just before it")
"""A step of a loop, beside the mark that it has of itself."""

LEGEND = (SOLVED, PARTIAL, FAILED, FATAL, CUT, INVALID, REFLECTED, NO_ACTION)
"""The signs of a tree that need an explanation."""

RUN_STATUS: Mapping[str, Mark] = {
    "running": Mark("●", "good", "running"),
    "finished": Mark("✓", "good", "finished"),
    "failed": Mark("✗", "bad", "failed"),
    "interrupted": Mark("◼", "partial", "interrupted"),
}

REVISION_STATUS: Mapping[str, Mark] = {
    "naive": Mark("○", "partial", "unverified"),
    "replayed": Mark("✓", "good", "replayed"),
    "recovered": Mark("↺", "signal", "recovered"),
    "rejected": Mark("✗", "bad", "rejected"),
}

_REPEATED_KINDS = ("judged: ", "none judged bad: ")
_REVISION_OUTCOME = {
    "naive": "accepted unverified: nothing was executed",
    "replayed": "accepted: the naive splice was executed and held",
    "recovered": "accepted: a recovery search found a continuation that earns the reward",
    "rejected": "rejected: nothing is learnt from this pair",
}

VERDICT: Mapping[Verdict, Mark] = {
    "good": Mark("✓", "good", "good"),
    "bad": Mark("✗", "bad", "bad"),
    "uncertain": Mark("~", "partial", "uncertain"),
}

Segment = Literal["shared", "bad", "signal", "continuation"]
"""Where a turn of a revision comes from."""

SEGMENT_WORDS: Mapping[Segment, str] = {
    "shared": "shared",
    "bad": "bad, kept as context",
    "signal": "revision signal",
    "continuation": "continuation",
}
SEGMENT_STYLES: Mapping[Segment, Style] = {
    "shared": "dim",
    "bad": "bad",
    "signal": "signal",
    "continuation": "good",
}

_TERMINAL = {
    "good": Styled("", fg="green", bold=True),
    "partial": Styled("", fg="yellow"),
    "bad": Styled("", fg="red"),
    "signal": Styled("", fg="cyan"),
    "odd": Styled("", fg="magenta"),
    "plain": Styled(""),
    "accent": Styled(""),
    "dim": Styled("", dim=True),
}


class Turn(Protocol):
    """A step of a trajectory or a node of a tree, as far as its mark depends on it."""

    @property
    def kind(self) -> str: ...
    @property
    def reward(self) -> float: ...
    @property
    def terminated(self) -> bool: ...
    @property
    def truncated(self) -> bool: ...
    @property
    def invalid(self) -> bool: ...
    @property
    def disaster(self) -> bool: ...


def turn_mark(turn: Turn, *, visits: int = 1) -> Mark:
    """The mark of a turn; how it ended outweighs how it came about.

    Args:
        turn: a step or a node; its reward, in [0, 1], counts at the end of an episode only.
        visits: simulations that passed through a node.
    """
    return mark_of(
        turn.kind,
        turn.reward,
        terminated=turn.terminated,
        truncated=turn.truncated,
        invalid=turn.invalid,
        disaster=turn.disaster,
        visits=visits,
    )


def mark_of(
    kind: str,
    reward: float,
    *,
    terminated: bool,
    truncated: bool,
    invalid: bool,
    disaster: bool,
    visits: int = 1,
) -> Mark:
    """``turn_mark`` from the numbers of a turn.

    Args:
        kind: as in ``Step``, or ``root``.
        reward: in [0, 1]; counts at the end of an episode only.
        terminated: whether the episode ended here.
        truncated: whether the episode was cut here.
        invalid: whether the action was not possible.
        disaster: whether the environment calls it a fatal mistake.
        visits: simulations that passed through a node.
    """
    if kind == "root":
        return ROOT
    if disaster:
        return FATAL
    if terminated:
        return reward_mark(reward)
    if truncated:
        return CUT
    if kind == "reflect":
        return REFLECTED
    if kind == "none":
        return NO_ACTION
    if invalid:
        return INVALID
    return STEP if visits else UNVISITED


def reward_mark(reward: float) -> Mark:
    """The mark of an ended episode with this reward, in [0, 1]."""
    return SOLVED if reward >= 1 else PARTIAL if reward > 0 else FAILED


def verdict_words(verdict: Verdict, scores: Sequence[float] | None, *, asked: bool = True) -> str:
    """What the critic said of a step, e.g. ``bad, probability 0.97``.

    Args:
        verdict: the critic's verdict.
        scores: natural-log likelihoods in the order of ``VERDICTS``; None or not finite: the words
            are the verdict alone.
        asked: False where no critic was asked.
    """
    word = VERDICT[verdict].word
    if not asked:
        return f"{word} (no critic asked)"
    shares = verdict_shares(scores)
    return word if shares is None else f"{word}, probability {shares[verdict]:.2f}"


def verdict_shares(scores: Sequence[float] | None) -> dict[Verdict, float] | None:
    """Each verdict's probability, in [0, 1]; None without finite scores."""
    if not scores or not all(map(math.isfinite, scores)):
        return None
    return dict(zip(VERDICTS, probabilities(scores), strict=True))


def revision_outcome(status: str) -> str:
    """What became of a pair, in one clause."""
    return _REVISION_OUTCOME[status]


def revision_reason(reason: str) -> str:
    """Why a pair came out as it did, as it is stored but for a kind that its sentence repeats.

    ``judged: step 8 judged bad (probability 1.00)`` begins with the kind of the cut.
    """
    for kind in _REPEATED_KINDS:
        reason = reason.removeprefix(kind)
    return reason


def naive_outcome(naive_reward: float | None, good_reward: float) -> str:
    """What the replay of a naive splice earned, in one clause.

    Args:
        naive_reward: in [0, 1]; None: it was not replayed.
        good_reward: the good trajectory's, in [0, 1].
    """
    if naive_reward is None:
        return "the naive splice was not replayed"
    return (
        f"the naive splice, replayed, earned {naive_reward:.3g}"
        f" where the good trajectory earned {good_reward:.3g}"
    )


def segment_of(at: int, *, parting_step: int, cut_step: int) -> Segment:
    """Where a turn of a revision comes from.

    ::

        turn      0 … parting-1   parting … cut-1   cut       cut+1 …
        segment   shared          bad               signal    continuation

    Args:
        at: the turn's place in the revision, from 0.
        parting_step: steps that both trajectories share.
        cut_step: t', the number of the last bad step that is kept, from 1.
    """
    if at < parting_step:
        return "shared"
    if at < cut_step:
        return "bad"
    return "signal" if at == cut_step else "continuation"


def terminal_style(mark: Mark) -> Styled:
    """A mark's colours in a terminal."""
    return _TERMINAL[mark.style]
