"""Which rows of a tree are in sight."""

from __future__ import annotations

import random

import pytest
from agentr_lite_tui.tree_rows import SORTS, TreeRows

from agentr_lite.store.inspection import TERMINATED, TreeShape


def shape_of(
    parents: list[int],
    *,
    visits: list[int] | None = None,
    value: list[float] | None = None,
    reward: dict[int, float] | None = None,
) -> TreeShape:
    """A tree given by its parents; nodes in ``reward`` are ends."""
    n = len(parents)
    reward = reward or {}
    return TreeShape(
        parents,
        visits or [1] * n,
        value or [0.0] * n,
        [reward.get(i, 0.0) for i in range(n)],
        [0] + [1] * (n - 1),
        [TERMINATED if i in reward else 0 for i in range(n)],
    )


#      0
#    1   2
#   3 4   5
#   6
SMALL = [-1, 0, 0, 1, 1, 2, 3]


def test_opening_inserts_and_closing_removes() -> None:
    rows = TreeRows(shape_of(SMALL))
    assert rows.rows == [0, 1, 2]
    assert rows.expand(1) == 2
    assert rows.rows == [0, 1, 3, 4, 2]
    rows.expand(2)
    assert rows.rows == [0, 1, 3, 6, 4, 2]
    assert rows.collapse(1) == 3
    assert rows.rows == [0, 1, 2]
    rows.expand(1)
    assert rows.rows == [0, 1, 3, 6, 4, 2], "what was open below stays open"


def test_leaves_and_open_nodes_do_not_open() -> None:
    rows = TreeRows(shape_of(SMALL))
    rows.reveal(5)
    before = list(rows.rows)
    assert rows.expand(rows.rows.index(5)) == 0
    assert rows.expand(rows.rows.index(2)) == 0
    assert rows.collapse(rows.rows.index(5)) == 0
    assert rows.rows == before


def test_siblings_come_in_pages() -> None:
    rows = TreeRows(shape_of([-1] + [0] * 112))
    assert rows.rows == [0, *range(1, 51), ~0]
    assert rows.hidden(0) == 62
    assert rows.show_more(51) == 50
    assert rows.hidden(0) == 12
    assert rows.rows[-1] == ~0
    assert rows.show_more(len(rows.rows) - 1) == 12
    assert rows.rows == list(range(113))
    assert rows.show_more(3) == 0


def test_a_node_behind_the_page_is_revealed() -> None:
    parents = [-1] + [0] * 112 + [100]
    rows = TreeRows(shape_of(parents))
    assert rows.position(113) is None
    at = rows.reveal(113)
    assert rows.rows[at] == 113
    assert rows.hidden(0) == 12


def test_order_of_siblings() -> None:
    rows = TreeRows(
        shape_of([-1, 0, 0, 0, 0], visits=[9, 1, 5, 0, 3], value=[0.0, 1.0, 0.2, 0.0, 0.0])
    )
    orders = {}
    for sort in SORTS:
        rows.set_sort(sort)
        orders[sort] = rows.rows[1:]
    assert orders == {"order": [1, 2, 3, 4], "visits": [2, 4, 1, 3], "value": [1, 2, 4, 3]}


def test_guides() -> None:
    rows = TreeRows(shape_of(SMALL))
    rows.reveal(6)
    drawn = [rows.guide(at, 99) for at in range(len(rows.rows))]
    assert dict(zip(rows.rows, drawn, strict=True)) == {
        0: "",
        1: "├─",
        3: "│ ├─",
        6: "│ │ └─",
        4: "│ └─",
        2: "└─",
    }
    assert rows.guide(rows.rows.index(6), 1) == "└─"
    assert rows.guide(rows.rows.index(6), 0) == ""


def test_ends_in_the_order_of_the_picture() -> None:
    rows = TreeRows(shape_of(SMALL, reward={4: 0.0, 5: 1.0, 6: 1.0}))
    good, bad = rows.leaves(good=True, alpha=1.0), rows.leaves(good=False, alpha=1.0)
    assert (good, bad) == ([5, 6], [4])
    # In the picture 6 comes before 5, though it was made later.
    assert rows.next_of(good, 0) == 6
    assert rows.next_of(good, 6) == 5
    assert rows.next_of(good, 5) == 6, "round to the first"
    assert rows.next_of(good, 6, back=True) == 5
    assert rows.next_of(good, 4, back=True) == 6
    assert rows.next_of([], 0) is None


def test_the_best_end_is_the_shortest_of_the_best() -> None:
    assert TreeRows(shape_of(SMALL, reward={4: 0.5, 5: 1.0, 6: 1.0})).best_leaf() == 5
    assert TreeRows(shape_of(SMALL, reward={4: 0.0})).best_leaf() is None


def test_all_below_up_to_a_limit() -> None:
    rows = TreeRows(shape_of(SMALL))
    assert rows.expand_below(0, 100)
    assert len(rows.rows) == len(SMALL)
    rows.collapse_all()
    assert rows.rows == [0, 1, 2]
    assert not rows.expand_below(0, 3)
    assert rows.rows == [0, 1, 2]


def test_a_grown_tree_keeps_what_is_open() -> None:
    rows = TreeRows(shape_of(SMALL))
    rows.reveal(6)
    rows.refresh(shape_of([*SMALL, 3, 0]))
    assert rows.rows == [0, 1, 3, 6, 7, 4, 2, 8]


def test_an_empty_tree() -> None:
    rows = TreeRows(TreeShape())
    assert rows.rows == []
    assert rows.best_leaf() is None


def test_depth_is_no_matter() -> None:
    rows = TreeRows(shape_of(list(range(-1, 5000)), reward={5000: 1.0}))
    assert rows.best_leaf() == 5000
    rows.reveal(5000)
    assert len(rows.rows) == 5001
    assert rows.guide(5000, 3) == "    └─"
    assert rows.descend(0) == 5000
    assert rows.next_of([5000], 0) == 5000
    rows.collapse(1)
    assert len(rows.rows) == 2


@pytest.mark.parametrize("seed", range(10))
def test_any_walk_leaves_a_consistent_picture(seed: int) -> None:
    draw = random.Random(seed)
    parents = [-1] + [draw.randrange(max(0, i - 9), i) for i in range(1, 300)]
    visits = [draw.randrange(5) for _ in parents]
    rows = TreeRows(shape_of(parents, visits=visits), page=4)
    for _ in range(200):
        at = draw.randrange(len(rows.rows))
        move = draw.choice([rows.expand, rows.collapse, rows.show_more, "reveal", "sort"])
        if move == "reveal":
            target = draw.randrange(300)
            assert rows.rows[rows.reveal(target)] == target
        elif move == "sort":
            rows.set_sort(draw.choice(SORTS))
        else:
            move(at)  # type: ignore[operator]
        # What changed in place is what a fresh drawing of the same state would show.
        changed = list(rows.rows)
        rows.refresh(rows.shape)
        assert rows.rows == changed
        assert len(set(changed)) == len(changed)
