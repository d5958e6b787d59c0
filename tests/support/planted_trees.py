"""Trees of given nodes, for tests that need a certain shape."""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.store import Store, trees
from agentr_lite.store.records import NodeRow
from tests.support.corridor import Corridor


def node(idx: int, parent: int | None, depth: int, **values: object) -> NodeRow:
    """A node as the store takes it."""
    given: dict[str, object] = {
        "kind": "root" if parent is None else "act",
        "action": None if parent is None else f"go {idx}",
        "text": "" if parent is None else f"Thought: on.\nAction: go {idx}",
        "observation": f"You are at {idx}.",
        "reward": 0.0,
        "terminated": False,
        "truncated": False,
        "invalid": False,
        "disaster": False,
        "visits": 1,
        "value_sum": 0.0,
        "merged": 1,
        **values,
    }
    return NodeRow(tree_id=0, idx=idx, parent_idx=parent, depth=depth, **given)  # type: ignore[arg-type]


def plant_nodes(
    store: Store,
    run_id: str,
    nodes: Sequence[NodeRow],
    *,
    task_index: int = 0,
    round_index: int = 1,
) -> int:
    """Store a tree of given nodes; returns its id."""
    return trees.save_tree(
        store,
        run_id=run_id,
        round_index=round_index,
        wave=0,
        env="corridor",
        task=Corridor().tasks("train")[task_index],
        instructions="Open the door.",
        nodes=nodes,
        calls=[],
        simulations=1,
    )
