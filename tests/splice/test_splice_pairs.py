"""Pairs: which trajectories count, where they part, which are chosen."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentr_lite.core.steps import Step, StepKind
from agentr_lite.splice.pairs import (
    Pair,
    choose_pairs,
    find_trajectories,
    good_trajectories,
    parting_step,
)
from agentr_lite.store.records import NodeRow


def row(idx: int, parent_idx: int, action: str, *, kind: StepKind = "act") -> NodeRow:
    step = Step(f"Action: {action}", action, "seen", kind=kind, invalid=action.endswith("!"))
    return NodeRow.from_step(step, idx, parent_idx, 1)


def tree(*paths: tuple[str, float, bool]) -> list[NodeRow]:
    """A tree from ``("a b c", reward, terminated)``; paths share nodes as far as they agree.

    A word that ends in "!" is an invalid step, "r" a reflection.
    """
    rows = [NodeRow.root("start")]
    known: dict[tuple[str, ...], int] = {(): 0}
    for words, reward, terminated in paths:
        path = tuple(words.split())
        for length in range(1, len(path) + 1):
            key = path[:length]
            if key not in known:
                known[key] = len(rows)
                word = key[-1]
                kind: StepKind = "reflect" if word == "r" else "act"
                rows.append(row(known[key], known[key[:-1]], word, kind=kind))
        leaf = known[path]
        rows[leaf] = replace(
            rows[leaf], reward=reward, terminated=terminated, truncated=not terminated
        )
    return rows


def words(pair: Pair) -> tuple[str, str, int]:
    return " ".join(pair.good.actions), " ".join(pair.bad.actions), pair.parting_step


def test_only_ended_paths_are_trajectories() -> None:
    rows = tree(("a b c", 1.0, True), ("a x", 0.0, False))
    rows.append(row(len(rows), 0, "never visited"))

    found = find_trajectories(rows)

    assert [(item.actions, item.reward, item.terminated) for item in found] == [
        (("a", "b", "c"), 1.0, True),
        (("a", "x"), 0.0, False),
    ]
    assert found[0].path == (1, 2, 3)


def test_alpha_is_inclusive() -> None:
    found = find_trajectories(tree(("a", 0.5, True), ("b", 0.49, True), ("c", 1.0, True)))

    assert [item.actions[0] for item in good_trajectories(found, 0.5)] == ["c", "a"]
    assert [item.actions[0] for item in good_trajectories(found, 1.0)] == ["c"]


def test_a_reward_of_nothing_is_never_good() -> None:
    assert good_trajectories(find_trajectories(tree(("a", 0.0, True))), 0.0) == []


def test_clean_then_short_good_trajectories_come_first() -> None:
    found = find_trajectories(
        tree(
            ("a b! c", 1.0, True),
            ("a b c d", 1.0, True),
            ("a r d", 1.0, True),
            ("e f", 1.0, True),
        )
    )

    order = [" ".join(item.actions) for item in good_trajectories(found, 1.0)]

    assert order == ["e f", "a b c d", "a b! c", "a r d"]


def test_beta_is_exclusive() -> None:
    found = find_trajectories(tree(("a", 0.75, True), ("b", 0.5, False), ("c", 0.25, False)))

    pairs = choose_pairs(found, alpha=0.75, beta=0.25, limit=9)

    assert [words(pair)[1] for pair in pairs] == ["c"]


@pytest.mark.parametrize(
    ("good", "bad", "shared"),
    [("a b c", "x y", 0), ("a b c", "a x", 1), ("a b c", "a b y z", 2)],
)
def test_parting_node(good: str, bad: str, shared: int) -> None:
    found = find_trajectories(tree((good, 1.0, True), (bad, 0.0, False)))

    assert parting_step(found[0], found[1]) == shared
    [pair] = choose_pairs(found, alpha=1.0, beta=0.2, limit=1)
    assert pair.parting_step == shared
    assert pair.parting_idx == (found[0].path[shared - 1] if shared else 0)
    assert pair.good.path[:shared] == pair.bad.path[:shared]
    assert pair.good.path[shared] != pair.bad.path[shared]


def test_a_bad_trajectory_meets_its_nearest_good_one() -> None:
    found = find_trajectories(
        tree(("g h", 1.0, True), ("a b c d e", 1.0, True), ("a b x", 0.0, False))
    )

    pairs = choose_pairs(found, alpha=1.0, beta=0.2, limit=1)

    assert [words(pair) for pair in pairs] == [("a b c d e", "a b x", 2)]


def test_a_clean_way_on_beats_a_nearer_flawed_one() -> None:
    found = find_trajectories(
        tree(("a b c! d", 1.0, True), ("a e f", 1.0, True), ("a b x", 0.0, False))
    )

    [pair] = choose_pairs(found, alpha=1.0, beta=0.2, limit=1)

    assert words(pair) == ("a e f", "a b x", 1)


def test_new_parting_nodes_come_before_more_of_the_same() -> None:
    found = find_trajectories(
        tree(
            ("a b c", 1.0, True),
            ("x1", 0.0, False),
            ("x2", 0.0, False),
            ("a y", 0.0, False),
            ("a b z", 0.0, False),
        )
    )

    pairs = choose_pairs(found, alpha=1.0, beta=0.2, limit=3)

    assert {pair.parting_step for pair in pairs} == {0, 1, 2}


def test_each_bad_trajectory_once_before_any_twice() -> None:
    found = find_trajectories(
        tree(("a b", 1.0, True), ("c d", 1.0, True), ("a x", 0.0, False), ("c y", 0.0, False))
    )

    two = choose_pairs(found, alpha=1.0, beta=0.2, limit=2)
    four = choose_pairs(found, alpha=1.0, beta=0.2, limit=9)

    assert {words(pair)[1] for pair in two} == {"a x", "c y"}
    assert four[:2] == two
    assert len({(pair.good.leaf_idx, pair.bad.leaf_idx) for pair in four}) == len(four) == 4


def test_near_duplicates_and_idle_bad_trajectories_come_last() -> None:
    found = find_trajectories(
        tree(
            ("g", 1.0, True),
            ("p! p!", 0.0, False),
            ("x y x", 0.0, False),
            ("y x", 0.0, False),
            ("z", 0.0, False),
        )
    )

    pairs = choose_pairs(found, alpha=1.0, beta=0.2, limit=4)

    assert [words(pair)[1] for pair in pairs] == ["z", "y x", "p! p!", "x y x"]


def test_an_error_that_ends_the_episode_looks_for_a_partner_further_up() -> None:
    rows = tree(("a b c", 1.0, True), ("d e", 1.0, True), ("a b x", 0.0, True))
    cut_off = tree(("a b c", 1.0, True), ("d e", 1.0, True), ("a b x", 0.0, False))

    ended = choose_pairs(find_trajectories(rows), alpha=1.0, beta=0.2, limit=9)
    going_on = choose_pairs(find_trajectories(cut_off), alpha=1.0, beta=0.2, limit=1)

    assert [words(pair) for pair in ended] == [("d e", "a b x", 0)]
    assert [words(pair) for pair in going_on] == [("a b c", "a b x", 2)]


def test_no_good_trajectory_no_pair() -> None:
    found = find_trajectories(tree(("a", 0.3, True), ("b", 0.0, False)))

    assert choose_pairs(found, alpha=0.5, beta=0.2, limit=4) == []
    assert choose_pairs(found, alpha=0.3, beta=0.2, limit=0) == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from("abc!r"), min_size=1, max_size=5).map(
                lambda letters: " ".join(x + "!" if x == "!" else x for x in letters)
            ),
            st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0]),
            st.booleans(),
        ),
        max_size=12,
    ),
    st.integers(0, 6),
)
def test_whatever_the_tree_chosen_pairs_are_pairs(
    paths: list[tuple[str, float, bool]], limit: int
) -> None:
    found = find_trajectories(tree(*paths))

    pairs = choose_pairs(found, alpha=0.5, beta=0.2, limit=limit)

    assert pairs == choose_pairs(found, alpha=0.5, beta=0.2, limit=limit)
    assert len(pairs) <= limit
    assert len({(pair.good.leaf_idx, pair.bad.leaf_idx) for pair in pairs}) == len(pairs)
    for pair in pairs:
        shared = pair.parting_step
        assert pair.good.reward >= 0.5
        assert pair.good.reward - pair.bad.reward > 0.2
        assert pair.good.path[:shared] == pair.bad.path[:shared]
        assert pair.good.path[shared] != pair.bad.path[shared]
