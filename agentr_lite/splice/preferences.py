"""Pairs of a better and a worse continuation of one tree, for training on preferences.

Source: ``episode``: ETO (arXiv 2403.02502), a failed and a successful trajectory of one
task. ``step``: as in step-level DPO on search trees (e.g. arXiv 2405.00451), actions of one state
by their value in the search. ``revision``: ours; Agent-R (arXiv 2501.11425) trains on revisions
alone. Which of the possible pairs are taken is ours: few, deterministic, and different.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agentr_lite.core.messages import Message
from agentr_lite.core.preferences import PreferenceKind
from agentr_lite.core.steps import Step
from agentr_lite.splice.pairs import Trajectory, choose_pairs
from agentr_lite.splice.trajectories import FlaggedStep, flagged, flagged_messages
from agentr_lite.store import Store
from agentr_lite.store.preferences import continuations
from agentr_lite.store.records import NodeRow, PreferenceRow


@dataclass(frozen=True, slots=True)
class Preference:
    """Two continuations from one node, of which the first is preferred; see ``PreferenceRow``."""

    kind: PreferenceKind
    parting_idx: int
    chosen_idx: int
    rejected_idx: int
    chosen_value: float
    """In [0, 1]."""
    rejected_value: float


def episode_preferences(
    trajectories: Sequence[Trajectory], *, alpha: float, beta: float, limit: int
) -> list[Preference]:
    """A successful and a failed episode of one task, from the node where they part.

    They are chosen as the pairs to splice are (``choose_pairs``): each failed episode with the
    successful one that shares most of it, so that what is learnt is where they differ. But the
    failed one may end with the step in which they part. The values are the rewards of the episodes.

    Args:
        trajectories: of one tree, from ``find_trajectories``.
        alpha: least reward of a successful episode, inclusive.
        beta: its reward must exceed that of the failed one by more than this.
        limit: most pairs; 0 = all.
    """
    most = limit or len(trajectories) ** 2
    pairs = choose_pairs(trajectories, alpha=alpha, beta=beta, limit=most, revisable=False)
    return [
        Preference(
            "episode",
            pair.parting_idx,
            pair.good.leaf_idx,
            pair.bad.leaf_idx,
            pair.good.reward,
            pair.bad.reward,
        )
        for pair in pairs
    ]


def step_preferences(
    nodes: Iterable[NodeRow], *, margin: float, visits: int, limit: int
) -> list[Preference]:
    """The best against the worst action of one state, by their values in the search.

    A node's value is ``value_sum / visits``: the mean reward of the episodes that the search has
    played through it. An episode that was cut at the depth limit counts with the reward that it had
    reached. So the values of two siblings are compared as they are, however far below them the
    search got.

    A state gives one pair at most. A pair for each two siblings over the margin would count the
    states with many actions most, and the middle actions differ least and are visited least.

    Left out are siblings that were visited too seldom; as the better one, a turn without an action,
    an impossible action or a reflection; as the worse one, a reflection, which is not to be
    unlearnt; and two turns with the same action, which lead to the same state. Equal values give no
    pair, even where ``margin`` is 0.

    Args:
        nodes: the whole tree; a parent comes before its children.
        margin: least difference of the two values, inclusive.
        visits: least visits of each of the two, >= 1.
        limit: most pairs, those that differ most first; 0 = all.
    """
    siblings: dict[int, list[NodeRow]] = defaultdict(list)
    for node in nodes:
        if node.parent_idx is not None and node.visits >= visits and node.kind != "reflect":
            siblings[node.parent_idx].append(node)
    found = []
    for parent_idx, children in siblings.items():
        possible = [node for node in children if node.kind == "act" and not node.invalid]
        if not possible:
            continue
        # Of equal values, the one that more episodes speak for.
        best = min(possible, key=lambda node: (-node.value, -node.visits, node.idx))
        others = [node for node in children if _action(node) != _action(best)]
        worst = min(others, key=lambda node: (node.value, -node.visits, node.idx), default=None)
        if worst is None or best.value <= worst.value or best.value - worst.value < margin:
            continue
        found.append(Preference("step", parent_idx, best.idx, worst.idx, best.value, worst.value))
    found.sort(key=lambda item: (item.rejected_value - item.chosen_value, item.parting_idx))
    return found[: limit or None]


def _action(node: NodeRow) -> str:
    """The action with whitespace normalised; of a turn without one, the whole turn."""
    return " ".join((node.text if node.action is None else node.action).split())


@dataclass(frozen=True, slots=True)
class PreferenceChat:
    """A preference as chat messages with loss flags."""

    messages: list[Message]
    """What the two share; ends with the observation after which they part."""
    chosen: list[Message]
    """Begins and ends with an assistant turn, as ``rejected`` does."""
    chosen_loss: list[bool]
    """One a message."""
    rejected: list[Message]
    rejected_loss: list[bool]


def preference_chat(store: Store, row: PreferenceRow) -> PreferenceChat | None:
    """The conversations of a stored pair.

    Of the preferred one, those turns are learnt that would be learnt without the other one
    (``flagged``; of a revision, its own flags). Of the other one, all but reflections are unlearnt:
    a reflection is what the failed episode did right, even where it did not help.

    Args:
        store: the database.
        row: the pair.

    Returns:
        None where no turn of one of the two is left.

    Raises:
        DamagedError: the row does not fit its tree.
    """
    turns = continuations(store, row)
    if turns.chosen_loss is None:
        better = flagged(turns.chosen)
    else:
        better = _flag(turns.chosen, turns.chosen_loss)
    worse = _flag(turns.rejected, [step.kind != "reflect" for step in turns.rejected])
    shared = _flag(turns.shared, [False] * len(turns.shared))
    chats = [flagged_messages(turns.opening, [*shared, *rest]) for rest in (better, worse)]
    if not all(any(loss) for _, loss in chats):
        return None
    # A chat is cut before its last observation; the shared part keeps its own.
    start = len(chats[0][0]) - (2 * len(better) - 1)
    (chosen, chosen_loss), (rejected, rejected_loss) = chats
    return PreferenceChat(
        chosen[:start],
        chosen[start:],
        chosen_loss[start:],
        rejected[start:],
        rejected_loss[start:],
    )


def _flag(steps: Sequence[Step], loss: Sequence[bool]) -> list[FlaggedStep]:
    return [FlaggedStep(step, flag) for step, flag in zip(steps, loss, strict=True)]
