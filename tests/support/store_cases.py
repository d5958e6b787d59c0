"""A run with a small tree, as the store's tests need it."""

from __future__ import annotations

from agentr_lite.core.tasks import Task
from agentr_lite.core.usage import ModelCall
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store, trees
from agentr_lite.store.records import NodeRow

TASK = Task("stick", "train", "craft a stick", level=1)


def node(idx: int, parent: int | None, depth: int, action: str | None = None, **more) -> NodeRow:
    values = {
        "tree_id": 0,
        "idx": idx,
        "parent_idx": parent,
        "depth": depth,
        "kind": "root" if parent is None else "act",
        "action": action,
        "text": "" if parent is None else f"Thought: go\nAction: {action}",
        "observation": f"observation {idx}",
        "reward": 0.0,
        "terminated": False,
        "truncated": False,
        "invalid": False,
        "disaster": False,
        "visits": 0,
        "value_sum": 0.0,
        "merged": int(parent is not None),
    }
    return NodeRow(**{**values, **more})


NODES = [
    node(0, None, 0, visits=2, value_sum=1.0),
    node(1, 0, 1, "left", visits=1),
    node(2, 0, 1, "right", visits=1, value_sum=1.0, merged=3),
    node(3, 1, 2, "wait", truncated=True, visits=1, invalid=True),
    node(4, 2, 2, "win", reward=1.0, terminated=True, visits=1, value_sum=1.0),
]
CALLS = [ModelCall(0, (5, 6, 7, 8), 40, 0, 12), ModelCall(1, (9,), 60, 40, 3, 2)]


def new_run(store: Store) -> str:
    return create_run(store, Recipe(), model={"sha256": "ab", "path": "/m.gguf", "n": 1})


def new_tree(store: Store, run_id: str, task: Task = TASK, **more) -> int:
    values = {
        "run_id": run_id,
        "round_index": 1,
        "wave": 0,
        "env": "textcraft",
        "task": task,
        "instructions": "play",
        "nodes": NODES,
        "calls": CALLS,
        "simulations": 2,
    }
    return trees.save_tree(store, **{**values, **more})
