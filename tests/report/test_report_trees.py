"""Drawing a tree: what each state looks like, and that what is hidden is said."""

from __future__ import annotations

from typing import Any

import click

from agentr_lite.console.text import display_width
from agentr_lite.report.render.trees import TreeView, render_tree
from agentr_lite.store.records import NodeRow


def node(idx: int, parent: int | None, depth: int, action: str | None = None, **more: Any) -> Any:
    values = {
        "tree_id": 1,
        "idx": idx,
        "parent_idx": parent,
        "depth": depth,
        "kind": "root" if parent is None else "act",
        "action": action,
        "text": "",
        "observation": f"seen {idx}",
        "reward": 0.0,
        "terminated": False,
        "truncated": False,
        "invalid": False,
        "disaster": False,
        "visits": 1,
        "value_sum": 0.0,
        "merged": 1,
    }
    return NodeRow(**{**values, **more})


NODES = [
    node(0, None, 0),
    node(1, 0, 1, "left", visits=3, value_sum=1.5, merged=4),
    node(2, 1, 2, "win", terminated=True, reward=1.0),
    node(3, 1, 2, "half", terminated=True, reward=0.5),
    node(4, 1, 2, "lose", terminated=True),
    node(5, 1, 2, "burn", terminated=True, disaster=True),
    node(6, 1, 2, "late", truncated=True),
    node(7, 0, 1, "bad", invalid=True),
    node(8, 0, 1, "reflect", kind="reflect"),
    node(9, 0, 1, None, kind="none", invalid=True),
    node(10, 0, 1, "idle", visits=0),
    node(11, 0, 1, "loaf", visits=0),
]


def draw(view: TreeView | None = None, width: int | None = None) -> list[str]:
    return [click.unstyle(line) for line in render_tree(NODES, view, width=width)]


def test_the_whole_picture() -> None:
    assert draw() == [
        "├─ 1 · left  n=3 v=0.50 ×4",
        "│  ├─ 2 ✓ win  n=1 v=0.00 r=1",
        "│  ├─ 3 ◐ half  n=1 v=0.00 r=0.5",
        "│  ├─ 4 ✗ lose  n=1 v=0.00 r=0",
        "│  ├─ 5 ☠ burn  n=1 v=0.00 r=0",
        "│  └─ 6 … late  n=1 v=0.00 r=0",
        "├─ 7 ! bad  n=1 v=0.00",
        "├─ 8 ↺ reflect  n=1 v=0.00",
        "├─ 9 ? (no action)  n=1 v=0.00",
        "└─ … 2 never visited",
    ]


def test_everything() -> None:
    assert draw(TreeView(everything=True))[-2:] == ["├─ 10 · idle  n=0", "└─ 11 · loaf  n=0"]


def test_depth_limit_counts_what_it_hides() -> None:
    assert draw(TreeView(max_depth=1))[:3] == [
        "├─ 1 · left  n=3 v=0.50 ×4",
        "│  └─ … 5 deeper",
        "├─ 7 ! bad  n=1 v=0.00",
    ]


def test_observations() -> None:
    assert draw(TreeView(observations=True))[:4] == [
        "├─ 1 · left  n=3 v=0.50 ×4",
        "│     seen 1",
        "│  ├─ 2 ✓ win  n=1 v=0.00 r=1",
        "│  │     seen 2",
    ]


def test_lines_fit() -> None:
    long = [node(0, None, 0), node(1, 0, 1, "x" * 200, observation="y " * 200)]
    for line in render_tree(long, TreeView(observations=True), width=60):
        assert display_width(click.unstyle(line)) <= 60


def test_deep_nodes_keep_their_room_in_a_narrow_terminal() -> None:
    chain = [node(0, None, 0)]
    for depth in range(1, 40):
        more = {"terminated": depth == 39, "reward": 1.0}
        chain.append(node(depth, depth - 1, depth, f"go to place {depth}", **more))
    view = TreeView(observations=True)
    narrow = [click.unstyle(line) for line in render_tree(chain, view, width=80)]
    wide = [click.unstyle(line) for line in render_tree(chain, view)]
    assert max(map(display_width, narrow)) <= 80 < max(map(display_width, wide))
    assert not any("⋯" in line for line in wide)
    said = narrow[::2]
    assert all(f"go to place {depth}  n=1" in line for depth, line in enumerate(said, 1))
    assert said[-1].endswith("r=1")
    # What is left out is said, and lines of one stretch go in by a level each.
    first = next(at for at, line in enumerate(said) if line.startswith("⋯"))
    assert said[first].startswith(f"⋯{first} ") and said[first].index("└") == 4
    assert [line.index("└") for line in said[first : first + 5]] == [4, 7, 10, 13, 16]


def test_a_chain_deeper_than_python_s_stack() -> None:
    chain = [node(0, None, 0)] + [node(i, i - 1, i, "go") for i in range(1, 3_000)]
    assert sum(1 for _ in render_tree(chain, width=80)) == 2_999
