"""Trajectories as training material: which turns are learnt, and which good ones are the best.

Splicing, training and export all ask here, so that a turn is learnt everywhere or nowhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from agentr_lite.actors.base import Message
from agentr_lite.agent import Step, conversation
from agentr_lite.store import Store, splices, trees
from agentr_lite.store.records import TrajectoryRow


def loss_flags(steps: Sequence[Step], *, after_signal: bool = False) -> list[bool]:
    """Which of the agent's turns on a good path are learnt.

    All but three kinds, which a good end does not make good: a turn without an action or with an
    impossible one; a step that the agent itself took back in its next turn by reflecting; a
    reflection that follows another (dwelling on it is not revising).

    Args:
        steps: consecutive steps of one trajectory.
        after_signal: the turn before them was a reflection.

    Returns:
        One flag a step.
    """
    flags = []
    reflected = after_signal
    for index, step in enumerate(steps):
        if step.kind == "reflect":
            flags.append(not reflected)
            reflected = True
            continue
        taken_back = index + 1 < len(steps) and steps[index + 1].kind == "reflect"
        flags.append(step.kind == "act" and not step.invalid and not taken_back)
        reflected = False
    return flags


def flagged_messages(
    opening: tuple[str, str], steps: Sequence[Step], flags: Sequence[bool]
) -> tuple[list[Message], list[bool]]:
    """The chat with one loss flag a message; the last observation, which nobody answers, is cut.

    Args:
        opening: instructions and first observation.
        steps: the agent's turns with their observations.
        flags: one a step: whether its turn is learnt.

    Returns:
        (messages, loss), of equal length; ``loss`` is True on learnt assistant turns only.
    """
    messages = conversation(*opening, steps)
    loss = [False, False]
    for flag in flags:
        loss += [flag, False]
    return (messages[:-1], loss[:-1]) if steps else (messages, loss)


def best_good(
    store: Store, run_id: str, *, round_index: int | None, per_task: int
) -> list[tuple[TrajectoryRow, tuple[str, str], list[Step]]]:
    """The best good trajectories of each tree: fewest flaws, then reward, then fewest steps.

    Trajectories of one tree that take the same actions count once.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round; None: all rounds.
        per_task: at most this many a tree; 0 = all.

    Returns:
        (row, opening, steps) in the order of the trees.
    """
    by_tree: dict[int, list[TrajectoryRow]] = defaultdict(list)
    for row in splices.list_trajectories(store, run_id, round_index=round_index, kind="good"):
        by_tree[row.tree_id].append(row)
    chosen = []
    for tree_id, rows in by_tree.items():
        walked = [(row, trees.path_steps(store, tree_id, row.leaf_idx)) for row in rows]
        walked.sort(
            key=lambda item: (
                sum(step.invalid or step.kind != "act" for step in item[1]),
                -item[0].reward,
                item[0].steps,
                item[0].leaf_idx,
            )
        )
        distinct: dict[tuple[str, ...], tuple[TrajectoryRow, list[Step]]] = {}
        for row, steps in walked:
            key = tuple(" ".join((step.action or "").split()) for step in steps)
            distinct.setdefault(key, (row, steps))
        opening = trees.tree_opening(store, tree_id)
        best = list(distinct.values())[: per_task or None]
        chosen += [(row, opening, steps) for row, steps in best]
    return chosen
