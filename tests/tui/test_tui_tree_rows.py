"""Which rows of a tree are in sight."""

from __future__ import annotations

import random

import numpy as np
import pytest
from agentr_lite_tui.layout.node_set import NodeSet
from agentr_lite_tui.layout.tree_order import SORTS, _distinct
from agentr_lite_tui.layout.tree_rows import TreeRows

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


def plain(shape: TreeShape, **settings: object) -> TreeRows:
    """Rows without folded chains."""
    return TreeRows(shape, compact=False, **settings)  # type: ignore[arg-type]


#      0
#    1   2
#   3 4   5
#   6
SMALL = [-1, 0, 0, 1, 1, 2, 3]


def test_opening_inserts_and_closing_removes() -> None:
    rows = plain(shape_of(SMALL))
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
    rows = plain(shape_of(SMALL))
    rows.reveal(5)
    before = list(rows.rows)
    assert rows.expand(rows.rows.index(5)) == 0
    assert rows.expand(rows.rows.index(2)) == 0
    assert rows.collapse(rows.rows.index(5)) == 0
    assert rows.rows == before


def test_siblings_come_in_pages() -> None:
    rows = plain(shape_of([-1] + [0] * 112))
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
    rows = plain(shape_of(parents))
    assert rows.position(113) is None
    at = rows.reveal(113)
    assert rows.rows[at] == 113
    assert rows.hidden(0) == 12


def test_order_of_siblings() -> None:
    rows = plain(
        shape_of([-1, 0, 0, 0, 0], visits=[9, 1, 5, 0, 3], value=[0.0, 1.0, 0.2, 0.0, 0.0])
    )
    orders = {}
    for sort in SORTS:
        rows.set_sort(sort)
        orders[sort] = rows.rows[1:]
    assert orders == {"order": [1, 2, 3, 4], "visits": [2, 4, 1, 3], "value": [1, 2, 4, 3]}


def test_guides() -> None:
    rows = plain(shape_of(SMALL))
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
    rows = plain(shape_of(SMALL, reward={4: 0.0, 5: 1.0, 6: 1.0}))
    good, bad = rows.leaves(good=True, alpha=1.0), rows.leaves(good=False, alpha=1.0)
    assert (list(good), list(bad)) == ([5, 6], [4])
    # In the picture 6 comes before 5, though it was made later.
    assert rows.next_of(good, 0) == 6
    assert rows.next_of(good, 6) == 5
    assert rows.next_of(good, 5) == 6, "round to the first"
    assert rows.next_of(good, 6, back=True) == 5
    assert rows.next_of(good, 4, back=True) == 6
    assert rows.next_of(NodeSet.of([], 7), 0) is None


@pytest.mark.parametrize("seed", range(6))
def test_the_next_of_some_is_the_one_that_an_open_tree_shows_next(seed: int) -> None:
    draw = random.Random(seed)
    size = 80
    parents = [-1] + [draw.randrange(max(0, i - 9), i) for i in range(1, size)]
    visits = [draw.randrange(4) for _ in parents]
    rows = plain(shape_of(parents, visits=visits), sort=SORTS[seed % 3], page=size)
    rows.expand_below(0, size)
    picture = list(rows.rows)
    assert sorted(picture) == list(range(size))
    for count in (1, 2, 20, size):
        wanted = set(draw.sample(range(size), count))
        found = NodeSet.of(wanted, size)
        assert (set(found), len(found)) == (wanted, count)
        for at, idx in enumerate(picture):
            round_to = picture[at + 1 :] + picture[: at + 1]
            assert rows.next_of(found, idx) == next(i for i in round_to if i in wanted)
            back_to = (picture[at:] + picture[:at])[::-1]
            assert rows.next_of(found, idx, back=True) == next(i for i in back_to if i in wanted)


def test_children_are_those_that_name_the_node_as_their_parent() -> None:
    draw = random.Random(4)
    parents = [-1, *(draw.randrange(min(i, 40)) for i in range(1, 300))]
    rows = plain(shape_of(parents))
    for node in range(len(parents)):
        wanted = [idx for idx, parent in enumerate(parents) if parent == node]
        assert list(rows.children(node)) == wanted and rows.child_count(node) == len(wanted)
        assert rows.only_child(node) == (wanted[0] if len(wanted) == 1 else -1)


@pytest.mark.parametrize("width", [1, 2, 40])
def test_hundreds_of_targets_are_gone_through_in_the_order_of_the_picture(width: int) -> None:
    draw = random.Random(width)
    parents = [-1, *(max(0, i - draw.randint(1, width)) for i in range(1, 900))]
    targets = sorted(draw.sample(range(1, 900), 300))
    rows = plain(shape_of(parents))
    pictured: list[int] = []
    stack = [0]
    while stack:
        node = stack.pop()
        pictured.append(node)
        stack += reversed(rows.children(node))
    node, visited = 0, []
    for _ in targets:
        found = rows.next_of(NodeSet.of(targets, 900), node)
        assert found is not None
        visited.append(node := found)
    assert visited == [idx for idx in pictured if idx in set(targets)]


def test_what_was_found_before_the_tree_grew_stays_found() -> None:
    rows = plain(shape_of(SMALL))
    found = NodeSet.of([6, 2], 7)
    rows.refresh(shape_of([*SMALL, 3, 0]))
    assert [rows.next_of(found, idx) for idx in (0, 6, 8)] == [6, 2, 6]
    rows.refresh(shape_of(SMALL[:6]))
    assert rows.next_of(found, 0) == 2


def test_the_best_end_is_the_shortest_of_the_best() -> None:
    assert plain(shape_of(SMALL, reward={4: 0.5, 5: 1.0, 6: 1.0})).best_leaf() == 5
    assert plain(shape_of(SMALL, reward={4: 0.0})).best_leaf() is None


def test_all_below_up_to_a_limit() -> None:
    rows = plain(shape_of(SMALL))
    assert rows.expand_below(0, 100)
    assert len(rows.rows) == len(SMALL)
    rows.collapse_all()
    assert rows.rows == [0, 1, 2]
    assert not rows.expand_below(0, 3)
    assert rows.rows == [0, 1, 2]


def test_a_grown_tree_keeps_what_is_open() -> None:
    rows = plain(shape_of(SMALL))
    rows.reveal(6)
    rows.refresh(shape_of([*SMALL, 3, 0]))
    assert rows.rows == [0, 1, 3, 6, 7, 4, 2, 8]


def test_an_empty_tree() -> None:
    rows = TreeRows(TreeShape())
    assert rows.rows == []
    assert rows.best_leaf() is None


def test_depth_is_no_matter() -> None:
    rows = plain(shape_of(list(range(-1, 5000)), reward={5000: 1.0}))
    assert rows.best_leaf() == 5000
    rows.reveal(5000)
    assert len(rows.rows) == 5001
    assert rows.guide(5000, 3) == "    └─"
    assert rows.descend(0) == 5000
    assert rows.next_of(NodeSet.of([5000], 5001), 0) == 5000
    rows.collapse(1)
    assert len(rows.rows) == 2


#  0 ─ 1 ─ 2 ─ 3 ─ 4 and 5 below 3, 6 ─ 7 below 4; nodes 1, 2, 3 were visited equally often.
CHAINS = [-1, 0, 1, 2, 3, 3, 4, 6]
CHAIN_VISITS = [9, 4, 4, 4, 2, 2, 2, 1]


def test_a_chain_is_one_row_under_its_end() -> None:
    rows = TreeRows(shape_of(CHAINS, visits=CHAIN_VISITS))
    assert rows.rows == [0, 3]
    assert rows.chain(3) == [1, 2, 3]
    assert (rows.parent_row(3), rows.row_of(2), rows.inside(2), rows.inside(1)) == (0, 3, True, 0)
    assert rows.expand(1) == 2
    assert rows.rows == [0, 3, 6, 5], "4 and 6 were visited equally often, 7 less"
    assert rows.levels == [0, 1, 2, 2]
    assert [rows.guide(at, 9) for at in range(4)] == ["", "└─", "  ├─", "  └─"]
    assert rows.collapse(1) == 2
    assert rows.rows == [0, 3]


def test_chains_unfold_one_by_one_and_all() -> None:
    rows = TreeRows(shape_of(CHAINS, visits=CHAIN_VISITS))
    assert rows.unfold(1)
    assert rows.rows == [0, 1, 2, 3]
    assert not rows.unfold(1)
    assert rows.fold(0) is None
    assert rows.fold(2) == 3
    assert rows.rows == [0, 3]
    rows.set_compact(False)
    assert rows.rows == [0, 1, 2, 3], "what was in sight stays in sight"
    rows.set_compact(True)
    assert rows.rows == [0, 3]


def test_a_node_inside_a_chain_is_revealed() -> None:
    rows = TreeRows(shape_of(CHAINS, visits=CHAIN_VISITS))
    assert rows.position(2) is None
    assert rows.rows[rows.reveal(2)] == 2
    assert rows.rows == [0, 1, 2, 3]
    assert rows.rows[rows.reveal(4)] == 4
    assert rows.rows == [0, 1, 2, 3, 4, 6, 5]


def test_the_seldom_visited_are_hidden_and_counted() -> None:
    rows = TreeRows(shape_of([-1, 0, 0, 0, 0, 0], visits=[9, 1, 5, 0, 3, 1]))
    rows.set_least_visits(2)
    assert rows.rows == [0, 2, 4, ~0]
    assert (rows.hidden(0), rows.rare(0)) == (3, True)
    assert rows.rows[rows.reveal(3)] == 3, "what is looked for is shown"
    rows.set_least_visits(4)
    assert rows.rows == [0, 2, ~0]
    assert rows.show_more(2) == 4
    assert (rows.hidden(0), rows.rare(0)) == (0, False)
    rows.set_least_visits(0)
    assert rows.rows == [0, 1, 2, 3, 4, 5]


def test_pages_and_seldom_visited_ones_together() -> None:
    rows = TreeRows(shape_of([-1] + [0] * 9, visits=[9, *([5] * 6), 1, 1, 1]), page=4)
    rows.set_least_visits(2)
    assert (len(rows.rows), rows.hidden(0), rows.rare(0)) == (6, 5, False)
    assert rows.show_more(5) == 2
    assert (len(rows.rows), rows.hidden(0), rows.rare(0)) == (8, 3, True)
    assert rows.show_more(7) == 3
    assert rows.rows == list(range(10))


def test_a_long_chain_costs_one_row() -> None:
    rows = TreeRows(shape_of(list(range(-1, 5000)), reward={5000: 1.0}))
    assert rows.rows == [0, 5000]
    assert len(rows.chain(5000)) == 5000
    assert rows.unfold(1)
    assert len(rows.rows) == 5001


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("compact", [True, False])
def test_any_walk_leaves_a_consistent_picture(seed: int, compact: bool) -> None:
    draw = random.Random(seed)
    parents = [-1] + [draw.randrange(max(0, i - 9), i) for i in range(1, 300)]
    visits = [draw.randrange(2 if compact else 5) for _ in parents]
    rows = TreeRows(shape_of(parents, visits=visits), page=4, compact=compact)
    moves = [rows.expand, rows.collapse, rows.show_more, rows.unfold]
    for _ in range(200):
        at = draw.randrange(len(rows.rows))
        move = draw.choice([*moves, "reveal", "sort", "fold", "hide", "compact"])
        if move == "reveal":
            target = draw.randrange(300)
            assert rows.rows[rows.reveal(target)] == target
        elif move == "sort":
            rows.set_sort(draw.choice(SORTS))
        elif move == "fold":
            rows.fold(max(0, rows.rows[at]))
        elif move == "hide":
            rows.set_least_visits(draw.randrange(4))
        elif move == "compact":
            rows.set_compact(compact and draw.random() < 0.5)
        else:
            move(at)  # type: ignore[operator]
        # What changed in place is what a fresh drawing of the same state would show.
        changed = (list(rows.rows), list(rows.levels))
        rows.refresh(rows.shape)
        assert (rows.rows, rows.levels) == changed
        assert len(set(changed[0])) == len(changed[0])
        # Every row hangs below the one that the guide lines connect it with.
        for row, level in zip(*changed, strict=True):
            parent = rows.parent_row(row)
            assert parent == -1 or changed[1][changed[0].index(parent)] == level - 1


@pytest.mark.parametrize("seed", range(3))
def test_each_number_once(seed: int) -> None:
    ids = np.random.default_rng(seed).integers(-1, 40, 200).astype(np.int32)
    assert _distinct(ids).tolist() == np.unique(ids).tolist()
