"""The transition point t': the first step of a bad trajectory that the actor judges to be bad.

Source: Agent-R (arXiv 2501.11425) section 3.2. Two differences, both of which keep the revision
true: t' is never before the node where the pair parts, and each step of a tree is judged once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from agentr_lite.actors.base import Actor
from agentr_lite.agent.conversation import conversation
from agentr_lite.core.openings import Opening
from agentr_lite.core.steps import Step
from agentr_lite.recipe.groups import SpliceSettings
from agentr_lite.splice.critic import Critic, Judged, judge
from agentr_lite.splice.splice import last_cut

_AHEAD: dict[Critic, int] = {"score": 4, "reason": 1}
"""Steps of one path judged in one batch. Scoring ahead is nearly free, as the conversations are
prefixes of each other; reasoning is not."""

CutKind = Literal["judged", "none judged bad", "direct", "late", "impossible"]


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a bad trajectory is left, and why there."""

    step: int
    """t': how many steps from reset are kept."""
    kind: CutKind
    reason: str
    first_error: int | None = None
    """Of a late cut: what t' is at the first error."""


@dataclass(frozen=True, slots=True)
class BadPath:
    """The bad trajectory of one pair."""

    tree_id: int
    opening: Opening
    steps: tuple[Step, ...]
    """From reset to the leaf."""
    nodes: tuple[int, ...]
    """Node index of each step."""
    parting_step: int
    """Steps shared with the good trajectory."""

    @property
    def last(self) -> int:
        """The latest possible t'; equals ``parting_step`` where no bad step can be revised."""
        return last_cut(self.parting_step, self.steps[self.parting_step :])

    @property
    def candidates(self) -> list[int]:
        """Indices of the steps that may be the error: after the parting, no reflections."""
        steps = range(self.parting_step, self.last)
        return [index for index in steps if self.steps[index].kind != "reflect"]


@dataclass(slots=True)
class Judgements:
    """What the critic said so far, by (tree, node)."""

    critic: Critic
    max_tokens: int = SpliceSettings.critic_tokens
    """Longest answer of the critic that reasons."""
    margin: float = SpliceSettings.critic_margin
    """By how many nats the verdict of the critic that scores must lead."""
    said: dict[tuple[int, int], Judged] = field(default_factory=dict)
    """In the order of asking."""

    def of(self, path: BadPath, index: int) -> Judged | None:
        """The judgement of step ``index`` of ``path``, if there is one."""
        return self.said.get((path.tree_id, path.nodes[index]))

    def first_bad(self, path: BadPath) -> int | None:
        """Index of the first step judged bad at or after the parting; None: none, or not yet."""
        for index in path.candidates:
            judged = self.of(path, index)
            # A later step may be known through another pair; the first error is not, until then.
            if judged is None:
                return None
            if judged.verdict == "bad":
                return index
        return None

    def ask(
        self,
        actor: Actor,
        paths: Sequence[BadPath],
        seed: Callable[[BadPath, int], int],
        *,
        before_batch: Callable[[int], None] = lambda judged: None,
    ) -> None:
        """Judge every path up to its first error.

        All paths advance together, a few steps a batch, so that little of what follows an error is
        judged. A node that several paths share is asked about once.

        Args:
            actor: the current model.
            paths: bad trajectories, of any number of trees.
            seed: (path, step) to sampling seed, for the critic that reasons.
            before_batch: called with the number of steps that are judged; what it raises ends the
                asking.
        """
        while wanted := self._wanted(paths):
            before_batch(len(self.said))
            answers = judge(
                actor,
                self.critic,
                [
                    conversation(path.opening, path.steps[: index + 1])
                    for path, index in wanted.values()
                ],
                seeds=[seed(path, index) for path, index in wanted.values()],
                max_tokens=self.max_tokens,
                margin=self.margin,
            )
            self.said.update(zip(wanted, answers, strict=True))

    def cut(self, path: BadPath) -> Cut:
        """t' of one judged path.

        Where the actor finds no fault with any step, it learns to revise at the latest point
        possible, as in direct revision.
        """
        if path.last <= path.parting_step:
            return impossible(path)
        index = self.first_bad(path)
        if index is None:
            return Cut(path.last, "none judged bad", "no step judged bad: the whole path is kept")
        judged = self.of(path, index)
        chance = judged.probabilities if judged else None
        sure = f" (probability {chance[1]:.2f})" if chance else ""
        return Cut(index + 1, "judged", f"step {index + 1} judged bad{sure}")

    def _wanted(self, paths: Sequence[BadPath]) -> dict[tuple[int, int], tuple[BadPath, int]]:
        wanted: dict[tuple[int, int], tuple[BadPath, int]] = {}
        for path in paths:
            if self.first_bad(path) is not None:
                continue
            unjudged = [index for index in path.candidates if self.of(path, index) is None]
            for index in unjudged[: _AHEAD[self.critic]]:
                wanted.setdefault((path.tree_id, path.nodes[index]), (path, index))
        return wanted


def direct_cut(path: BadPath) -> Cut:
    """t' at the end of the bad trajectory: the ablation that does not ask the actor."""
    if path.last <= path.parting_step:
        return impossible(path)
    return Cut(path.last, "direct", "direct revision: the whole path is kept")


def late_cut(path: BadPath, first: Cut, *, share: float, seed: int) -> Cut:
    """A cut later than the first error, for a share of the paths; ``first`` for the others.

    A revision at the first error begins after one or two bad steps, so the model learns to turn
    back early and not from a long bad beginning. The place is drawn evenly from the steps between
    the first error and the end of the path that can be revised (``BadPath.last``). Where there are
    none, and where ``first`` is no verdict of the critic, ``first`` is kept.

    Args:
        path: the bad trajectory.
        first: t' at the first error.
        share: in [0, 1].
        seed: decides whether and where.
    """
    if first.kind != "judged":
        return first
    # No reflection may come right before the one that is inserted.
    later = [
        step
        for step in range(first.step + 1, path.last + 1)
        if path.steps[step - 1].kind != "reflect"
    ]
    rng = random.Random(seed)
    if rng.random() >= share or not later:
        return first
    step = rng.choice(later)
    said = f"left at step {step}, though step {first.step} was judged bad"
    return Cut(step, "late", said, first_error=first.step)


def impossible(path: BadPath) -> Cut:
    """No bad step is left once those that cannot be revised are taken off."""
    return Cut(path.parting_step, "impossible", "the path only reflects before its episode ends")
