"""The steps of Monte Carlo tree search as functions on a tree; no model and no environment here.

Source: Agent-R (arXiv 2501.11425) section 3.1; UCT: Kocsis and Szepesvári 2006. The separation
into select, expand and backward follows google-deepmind/mctx.

Both descents run through the same functions. They differ in how many candidates a node gets:

* ``paper``: every node on the way down gets ``width`` candidates, so each simulation expands all
  levels from where it leaves the known tree to a terminal node.
* ``textbook``: only nodes that an earlier simulation has visited (and the root) get ``width``;
  beyond them the walk is a rollout with one candidate a node. The rollout's nodes stay in the tree:
  they cost nothing extra, their trajectory is there to be spliced, and when a later simulation
  comes back to one of them, the candidate it has counts as the first of its ``width``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from agentr_lite.agent.turns import is_reflection, parse_action
from agentr_lite.search.tree import Node

Descent = Literal["paper", "textbook"]

Select = Callable[[Node], Node]
"""Which open child to go on with; called with a node that has at least one."""

ActionKey = tuple[str, str]


def uct_score(node: Node, c: float) -> float:
    """``Q + c sqrt(ln N_parent / N)`` of a visited node.

    Args:
        node: a visited node other than the root.
        c: exploration constant.
    """
    parent_visits = node.parent.visits if node.parent else node.visits
    return node.value + c * math.sqrt(math.log(parent_visits) / node.visits)


def select_uct(node: Node, c: float) -> Node:
    """The open child to go on with: unvisited ones first, then the highest UCT score.

    Ties go to the child that was sampled first.

    Args:
        node: a node with at least one open child.
        c: exploration constant.

    Raises:
        ValueError: no open child.
    """
    candidates = open_children(node)
    if not candidates:
        raise ValueError(f"node {node.idx} has no open child to select")
    for child in candidates:
        if child.visits == 0:
            return child
    return max(candidates, key=lambda child: uct_score(child, c))


def open_children(node: Node) -> list[Node]:
    """Children below which something is left to visit, in order."""
    return [child for child in node.children if not child.closed]


def samples_wanted(node: Node, width: int, descent: Descent) -> int:
    """How many more candidates a node needs before a child of it can be selected.

    Args:
        node: a node where the episode goes on.
        width: candidates of a fully expanded node.
        descent: see the module's docstring.
    """
    in_tree = descent == "paper" or node.visits > 0 or node.parent is None
    return max(0, (width if in_tree else 1) - node.sampled)


def action_key(text: str) -> ActionKey:
    """What siblings are merged by: the action without differences in white space.

    All turns without an action are alike to the environment, and so are all revision turns.
    """
    action = parse_action(text)
    if action is None:
        return ("none", "")
    if is_reflection(action):
        return ("reflect", "")
    return ("act", " ".join(action.split()))


def merge_candidates(
    node: Node, texts: Sequence[str], *, merge: bool = True
) -> list[tuple[str, int]]:
    """Count candidates that repeat a child's action, and group the rest by action.

    Args:
        node: the node being expanded; its children's ``merged`` and its ``sampled`` are counted up.
        texts: sampled turns, in order.
        merge: off: every candidate is a new one.

    Returns:
        (text, how many candidates have its action) for each new action; the first text is kept.
    """
    node.sampled += len(texts)
    if not merge:
        return [(text, 1) for text in texts]
    children = {action_key(child.step.text): child for child in node.children if child.step}
    new: dict[ActionKey, tuple[str, int]] = {}
    for text in texts:
        key = action_key(text)
        if key in children:
            children[key].merged += 1
        else:
            first, count = new.get(key, (text, 0))
            new[key] = (first, count + 1)
    return list(new.values())


def backward(leaf: Node) -> None:
    """Add a terminal node's reward to every node from it to the root, and close what is done.

    Args:
        leaf: a node where the episode ended; it is never selected again.
    """
    for node in reversed(leaf.path()):
        node.visits += 1
        node.value_sum += leaf.reward
    leaf.closed = True


def close_exhausted(node: Node, width: int) -> None:
    """Close ``node`` and its ancestors as far as all of their children are closed.

    Args:
        node: where to begin.
        width: candidates of a fully expanded node; one with fewer stays open, because a later
            simulation will sample more.
    """
    current: Node | None = node
    while current is not None:
        if not current.ended and (current.sampled < width or open_children(current)):
            return
        current.closed = True
        current.snapshot = None
        current = current.parent
