"""Reads the step where a tree, an episode or a splice goes wrong first, for the previews."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from agentr_lite.console.outcomes import FATAL, INVALID, NO_ACTION
from agentr_lite.core.errors import UsageError
from agentr_lite.store import Store
from agentr_lite.store.first_errors import TreeSplicing
from agentr_lite.store.inspection import get_trajectory, load_nodes
from agentr_lite.store.splices import get_revision, list_judgements
from agentr_lite.store.trees import get_tree, path_steps, tree_opening

from .layout.documents import StepView, view_of_node
from .layout.lines import Line
from .layout.side_by_side import SpliceView


def read_first_error(store: Store, tree_id: int, splicing: TreeSplicing | None) -> StepView | None:
    """The first step of a tree that was judged bad, else the tree's start.

    Args:
        store: the database.
        tree_id: the tree.
        splicing: what splicing found in it; None: it has not come to it.

    Returns:
        None where the tree has been deleted.
    """
    error = splicing.first_error if splicing is not None else None
    idx = 0 if error is None else error.judgement.node_idx
    nodes = load_nodes(store, tree_id, {idx})
    if idx not in nodes:
        return None
    node = nodes[idx]
    if error is None or node.parent_idx is None:
        return view_of_node(node, saw=tree_opening(store, tree_id).before_task)
    parents = load_nodes(store, tree_id, {node.parent_idx})
    saw = parents[node.parent_idx].observation
    return view_of_node(node, saw=saw, judgements=[error.judgement])


def failing_step(views: list[StepView]) -> StepView:
    """The step of an evaluated episode that shows best why it ended as it did.

    That is the first fatal mistake, else the first turn without a possible action, else the first
    one that repeats the step before it; without any of these the last step.

    Args:
        views: the start and the steps in order.
    """
    steps = [view for view in views[1:] if not view.is_given]
    for marks, text in _WRONG:
        for view in steps:
            if view.mark in marks:
                return _noted(view, text)
    for before, view in pairwise(steps):
        if (before.title, before.answer) == (view.title, view.answer):
            return _noted(view, "the first step that repeats the one before it")
    return _noted(views[-1], "the last step") if steps else views[-1]


_WRONG = (((FATAL,), "the fatal mistake"), ((INVALID, NO_ACTION), "the first impossible action"))


def _noted(view: StepView, text: str) -> StepView:
    note: Line = ((text, "signal"),)
    return replace(view, facts=(*view.facts, note))


def read_splice(store: Store, revision_id: int) -> SpliceView:
    """A revision with its trajectories and verdicts.

    Raises:
        UsageError: the revision no longer exists: its round was spliced again.
    """
    try:
        revision = get_revision(store, revision_id)
        bad = get_trajectory(store, revision.bad_id)
        good = get_trajectory(store, revision.good_id)
    except KeyError as error:
        raise UsageError(f"splice {revision_id} is gone: its round was spliced again") from error
    judgements = list_judgements(store, revision.run_id, trajectory_id=bad.id)
    return SpliceView(
        revision,
        get_tree(store, bad.tree_id).task.goal,
        path_steps(store, bad.tree_id, bad.leaf_idx),
        bad.reward,
        path_steps(store, good.tree_id, good.leaf_idx),
        good.reward,
        {judgement.step: judgement for judgement in judgements},
    )
