"""Good and bad trajectories of one tree, and the pairs worth splicing.

Source: Agent-R (arXiv 2501.11425) section 3.2: a good trajectory earns at least alpha, a bad one
falls short of it by more than beta, and both share an initial part. How the pairs are chosen among
all possible ones is ours: few, deterministic, and as different from each other as the tree allows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agentr_lite.store.records import NodeRow


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One root-to-leaf path whose episode has ended."""

    leaf_idx: int
    path: tuple[int, ...]
    """Node indices from the first step to the leaf; the root is left out."""
    reward: float
    """In [0, 1]."""
    terminated: bool
    """The environment ended the episode: it cannot continue from the leaf."""
    flaws: tuple[bool, ...]
    """For each step: invalid, without an action, or a reflection."""
    actions: tuple[str, ...]
    """For each step: its action with whitespace normalised; empty where there is none."""

    @property
    def steps(self) -> int:
        """How many turns the agent took."""
        return len(self.path)


@dataclass(frozen=True, slots=True)
class Pair:
    """A good and a bad trajectory that share the first ``parting_step`` steps."""

    good: Trajectory
    bad: Trajectory
    parting_step: int
    """Steps that both share, counted from reset; 0 = they part at the root."""

    @property
    def parting_idx(self) -> int:
        """The deepest node that both pass through; 0 is the root."""
        return self.good.path[self.parting_step - 1] if self.parting_step else 0


def find_trajectories(nodes: Iterable[NodeRow]) -> list[Trajectory]:
    """All paths that end in a terminated or truncated node, in order of their leaves.

    Args:
        nodes: the whole tree; a parent comes before its children.
    """
    rows: dict[int, NodeRow] = {}
    trajectories = []
    for node in nodes:
        rows[node.idx] = node
        if node.parent_idx is not None and (node.terminated or node.truncated):
            trajectories.append(_trajectory(node, rows))
    return trajectories


def _trajectory(leaf: NodeRow, rows: dict[int, NodeRow]) -> Trajectory:
    path: list[NodeRow] = []
    node = leaf
    while node.parent_idx is not None:
        path.append(node)
        node = rows[node.parent_idx]
    path.reverse()
    return Trajectory(
        leaf_idx=leaf.idx,
        path=tuple(step.idx for step in path),
        reward=leaf.reward,
        terminated=leaf.terminated,
        flaws=tuple(step.invalid or step.kind != "act" for step in path),
        actions=tuple(" ".join((step.action or "").split()) for step in path),
    )


def is_good(reward: float, alpha: float) -> bool:
    """Whether an episode succeeds: it earns at least ``alpha``, and anything at all."""
    return reward >= alpha and reward > 0


def good_trajectories(trajectories: Iterable[Trajectory], alpha: float) -> list[Trajectory]:
    """Those that earn at least ``alpha`` (inclusive), cleanest and shortest first.

    Clean before short: a path with flaws still succeeded, but teaches the flaws' neighbourhood.
    Trajectories that take the same actions are counted once.
    """
    good = [item for item in trajectories if is_good(item.reward, alpha)]
    good.sort(key=lambda item: (sum(item.flaws), -item.reward, item.steps, item.leaf_idx))
    seen: set[tuple[str, ...]] = set()
    unique = []
    for item in good:
        if item.actions not in seen:
            seen.add(item.actions)
            unique.append(item)
    return unique


def parting_step(good: Trajectory, bad: Trajectory) -> int:
    """How many steps two trajectories of one tree share, counted from reset."""
    shared = 0
    for left, right in zip(good.path, bad.path, strict=False):
        if left != right:
            break
        shared += 1
    return shared


def choose_pairs(
    trajectories: Sequence[Trajectory],
    *,
    alpha: float,
    beta: float,
    limit: int,
    revisable: bool = True,
) -> list[Pair]:
    """At most ``limit`` pairs of one tree, best first; deterministic.

    Each bad trajectory first meets its nearest good one (deepest parting node, a clean suffix
    before a flawed one), but none from which it parts with the very step that ends its episode:
    nothing could be revised there. Then pairs are taken greedily, each time the one that is least
    like those taken: a new parting node, then a new wrong branch there, then other actions; among
    equals the bad trajectory that really did something (few invalid steps), then the shorter one.
    Only when every bad trajectory has been used does one get a second partner, at another parting
    node.

    Args:
        trajectories: of one tree, from ``find_trajectories``.
        alpha: least reward of a good trajectory, inclusive.
        beta: the good reward must exceed the bad one by more than this.
        limit: most pairs to choose.
        revisable: whether a pair needs a bad step after which the bad trajectory could continue.
    """
    good = good_trajectories(trajectories, alpha)
    first: list[Pair] = []
    second: list[Pair] = []
    for bad in trajectories:
        partners = _partners(bad, good, beta, revisable=revisable)
        first.extend(partners[:1])
        used = {pair.parting_idx for pair in partners[:1]}
        for pair in partners[1:]:
            if pair.parting_idx not in used:
                used.add(pair.parting_idx)
                second.append(pair)
    chosen: list[Pair] = []
    _take(first, chosen, limit)
    _take(second, chosen, limit)
    return chosen


def _partners(
    bad: Trajectory, good: Sequence[Trajectory], beta: float, *, revisable: bool
) -> list[Pair]:
    """All pairs of ``bad``, nearest partner first."""
    pairs = [
        Pair(item, bad, parting_step(item, bad)) for item in good if item.reward - bad.reward > beta
    ]
    pairs = [
        pair
        for pair in pairs
        if pair.parting_step < pair.good.steps and (_revisable(pair) or not revisable)
    ]

    def rank(pair: Pair) -> tuple[bool, int, float, int, int]:
        flawed = any(pair.good.flaws[pair.parting_step :])
        good = pair.good
        return (flawed, -pair.parting_step, -good.reward, good.steps, good.leaf_idx)

    return sorted(pairs, key=rank)


def _revisable(pair: Pair) -> bool:
    """Whether the bad trajectory goes wrong before the step that ends its episode.

    Once the environment has ended an episode there is no revising; one that was cut off at the
    depth limit can continue.
    """
    last = pair.bad.steps - pair.bad.terminated
    return last > pair.parting_step


def _take(candidates: list[Pair], chosen: list[Pair], limit: int) -> None:
    """Move the least similar candidates to ``chosen`` until it holds ``limit`` pairs."""
    waiting = list(candidates)
    partings = Counter(pair.parting_idx for pair in chosen)
    branches = Counter(_branch(pair) for pair in chosen)
    wordings = Counter(_wrong_actions(pair) for pair in chosen)
    while waiting and len(chosen) < limit:

        def rank(pair: Pair) -> tuple[int, int, int, float, int, int, int]:
            tail = pair.bad.flaws[pair.parting_step :]
            return (
                wordings[_wrong_actions(pair)],
                partings[pair.parting_idx],
                branches[_branch(pair)],
                sum(tail) / len(tail),
                pair.bad.steps,
                pair.bad.leaf_idx,
                pair.good.leaf_idx,
            )

        best = min(waiting, key=rank)
        waiting.remove(best)
        chosen.append(best)
        partings[best.parting_idx] += 1
        branches[_branch(best)] += 1
        wordings[_wrong_actions(best)] += 1


def _branch(pair: Pair) -> int:
    """The first node that the bad trajectory alone passes through."""
    return pair.bad.path[pair.parting_step]


def _wrong_actions(pair: Pair) -> frozenset[str]:
    """What a bad trajectory did after the parting, whatever the order and the repetitions."""
    return frozenset(pair.bad.actions[pair.parting_step :])
