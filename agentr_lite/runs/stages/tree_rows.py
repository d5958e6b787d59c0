"""A searched tree as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentr_lite.core.usage import ModelCall
from agentr_lite.search.tree import Node, Tree
from agentr_lite.store.records import NodeRow


@dataclass(frozen=True, slots=True)
class SearchedTree:
    """What the store keeps of a search, besides its task."""

    instructions: str
    nodes: Sequence[NodeRow]
    """By ``idx`` from 0, the root first."""
    calls: Sequence[ModelCall]
    simulations: int
    error: str | None

    @classmethod
    def of(cls, tree: Tree) -> SearchedTree:
        """The rows of a tree whose search is over."""
        nodes = [node_row(node) for node in tree.nodes]
        return cls(tree.instructions, nodes, tree.calls, tree.simulations, tree.error)


def node_row(node: Node) -> NodeRow:
    """A search's node as the store keeps it."""
    step, parent = node.outcome, node.parent
    if step is None or parent is None:
        return NodeRow.root(node.observation, visits=node.visits, value_sum=node.value_sum)
    return NodeRow.from_step(
        step,
        node.idx,
        parent.idx,
        node.depth,
        visits=node.visits,
        value_sum=node.value_sum,
        merged=node.merged,
    )
