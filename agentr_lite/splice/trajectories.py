"""Trajectories as training material: which turns are learnt, and which good ones are the best.

Splicing, training and export all ask here, so that a turn is learnt everywhere or nowhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from agentr_lite.agent.conversation import learnt_conversation
from agentr_lite.core.messages import Message
from agentr_lite.core.openings import Opening
from agentr_lite.core.steps import Step
from agentr_lite.recipe.groups import SpliceSettings
from agentr_lite.store import Store, splices, trees
from agentr_lite.store.records import TrajectoryRow


@dataclass(frozen=True, slots=True)
class FlaggedStep:
    """A step of a conversation to train on."""

    step: Step
    loss: bool
    """Whether the agent's turn is learnt; observations never are."""


def flagged(steps: Sequence[Step], *, after_signal: bool = False) -> list[FlaggedStep]:
    """A good path's steps, each with whether its turn is learnt.

    A good end does not make everything before it good: what came before a flaw led to it, often
    several steps earlier (a wrong amount that shows only at the craft). So only the turns after the
    path's last flaw are learnt, and besides them the reflections that ended a wrong stretch. A
    flaw is a turn without an action or with an impossible one, or a reflection.

    Args:
        steps: consecutive steps of one trajectory.
        after_signal: the turn before them was a reflection, so that one more directly after it is
            not learnt.
    """
    last_flaw = max(flaws(steps), default=-1)
    marked = []
    reflected = after_signal
    for index, step in enumerate(steps):
        is_reflection = step.kind == "reflect"
        marked.append(FlaggedStep(step, not reflected if is_reflection else index > last_flaw))
        reflected = is_reflection
    return marked


def context(steps: Sequence[Step]) -> list[FlaggedStep]:
    """Steps that are shown but not learnt."""
    return [FlaggedStep(step, loss=False) for step in steps]


def flagged_messages(
    opening: Opening, steps: Sequence[FlaggedStep]
) -> tuple[list[Message], list[bool]]:
    """The chat with one loss flag a message, without the last observation, which has no answer.

    Args:
        opening: what comes before the first of them.
        steps: the agent's turns with their observations.

    Returns:
        (messages, loss), of equal length; ``loss`` is True on learnt assistant turns only.
    """
    return learnt_conversation(opening, [(item.step, item.loss) for item in steps])


def flaws(steps: Sequence[Step]) -> list[int]:
    """Indices of turns without an action or with an impossible one, and of reflections."""
    return [index for index, step in enumerate(steps) if step.invalid or step.kind != "act"]


def good_examples(
    store: Store, run_id: str, choice: SpliceSettings, *, round_index: int | None
) -> Generator[tuple[TrajectoryRow, list[Message], list[bool]]]:
    """The good trajectories that are trained on, as chats with one loss flag a message.

    Args:
        store: the database.
        run_id: the run.
        choice: how many a tree, of which trees, with flaws or without.
        round_index: the round; None: all rounds.
    """
    bad = splices.list_trajectories(store, run_id, round_index=round_index, kind="bad")
    failed = {row.tree_id for row in bad}
    for row, opening, steps in best_good(
        store,
        run_id,
        round_index=round_index,
        per_task=choice.good_per_task,
        with_flaws=choice.good_flaws,
    ):
        if choice.contested and row.tree_id not in failed:
            continue
        messages, loss = flagged_messages(opening, flagged(steps))
        if any(loss):
            yield row, messages, loss


def best_good(
    store: Store,
    run_id: str,
    *,
    round_index: int | None,
    per_task: int,
    with_flaws: bool = True,
) -> list[tuple[TrajectoryRow, Opening, list[Step]]]:
    """The best good trajectories of each tree: fewest flaws, then reward, then fewest steps.

    Trajectories of one tree that take the same actions count once.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round; None: all rounds.
        per_task: at most this many a tree; 0 = all.
        with_flaws: off: leave out those with a flaw (``flaws``).

    Returns:
        (row, opening, steps) in the order of the trees.
    """
    by_tree: dict[int, list[TrajectoryRow]] = defaultdict(list)
    for row in splices.list_trajectories(store, run_id, round_index=round_index, kind="good"):
        by_tree[row.tree_id].append(row)
    chosen = []
    for tree_id, rows in by_tree.items():
        walked = [(row, trees.path_steps(store, tree_id, row.leaf_idx)) for row in rows]
        if not with_flaws:
            walked = [item for item in walked if not flaws(item[1])]
        walked.sort(
            key=lambda item: (
                len(flaws(item[1])),
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
