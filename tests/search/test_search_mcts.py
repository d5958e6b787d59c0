"""Select, expand and backward against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from agentr_lite.agent.state import State
from agentr_lite.core.steps import Step
from agentr_lite.core.tasks import Task
from agentr_lite.search.mcts import (
    action_key,
    backward,
    close_exhausted,
    merge_candidates,
    open_children,
    samples_wanted,
    select_uct,
    uct_score,
)
from agentr_lite.search.tree import Node, Tree


def turn(action: str) -> str:
    return f"Action: {action}"


def grow(tree: Tree, parent: Node, action: str, *, reward: float = 0.0, end: bool = False) -> Node:
    step = Step(turn(action), action, f"did {action}", reward=reward, terminated=end)
    parent.sampled += 1
    return tree.add(parent, step)


@pytest.fixture
def tree() -> Tree:
    return Tree(Task("t", "train", "goal"), "play", "start")


class TestUct:
    def test_score(self, tree: Tree) -> None:
        child = grow(tree, tree.root, "a")
        tree.root.visits = 10
        child.visits, child.value_sum = 4, 3.0
        # Q = 3/4; c sqrt(ln 10 / 4) = 0.25 * 0.758714
        assert uct_score(child, 0.25) == pytest.approx(0.939678, abs=1e-6)
        assert uct_score(child, 0.0) == 0.75

    def test_one_visit_of_one_has_no_bonus(self, tree: Tree) -> None:
        child = grow(tree, tree.root, "a")
        tree.root.visits = child.visits = 1
        assert uct_score(child, 5.0) == 0.0

    def test_unvisited_first_in_order(self, tree: Tree) -> None:
        first, second, third = (grow(tree, tree.root, name) for name in "abc")
        tree.root.visits = first.visits = 1
        first.value_sum = 1.0
        assert select_uct(tree.root, 0.25) is second
        second.visits = tree.root.visits = 2
        assert select_uct(tree.root, 0.25) is third

    def test_exploration_outweighs_value_only_with_a_large_c(self, tree: Tree) -> None:
        good, rare = grow(tree, tree.root, "good"), grow(tree, tree.root, "rare")
        tree.root.visits = 8
        good.visits, good.value_sum = 7, 3.5
        rare.visits, rare.value_sum = 1, 0.0
        # good: 0.5 + c * 0.545; rare: 0 + c * 1.442: they meet at c = 0.5 / 0.897
        assert select_uct(tree.root, 0.25) is good
        assert select_uct(tree.root, 0.55) is good
        assert select_uct(tree.root, 0.57) is rare

    def test_ties_go_to_the_first(self, tree: Tree) -> None:
        children = [grow(tree, tree.root, name) for name in "abc"]
        tree.root.visits = 3
        for child in children:
            child.visits, child.value_sum = 1, 0.5
        assert select_uct(tree.root, 0.25) is children[0]

    def test_closed_children_are_never_selected(self, tree: Tree) -> None:
        best, other = grow(tree, tree.root, "best"), grow(tree, tree.root, "other")
        best.visits, best.value_sum, best.closed = 1, 1.0, True
        assert select_uct(tree.root, 0.25) is other
        other.closed = True
        with pytest.raises(ValueError, match="no open child"):
            select_uct(tree.root, 0.25)


class TestMerging:
    def test_keys(self) -> None:
        assert action_key("Thought: x\nAction:  get  2   logs ") == ("act", "get 2 logs")
        assert action_key("Action: Get 2 logs") != action_key("Action: get 2 logs")
        assert action_key("no idea") == action_key("") == ("none", "")
        assert action_key("Thought: oh\nAction: Reflect.") == ("reflect", "")

    def test_groups_by_action_and_keeps_the_first_text(self, tree: Tree) -> None:
        texts = ["Thought: one\nAction: go", "Action: stay", "Thought: two\nAction:  go", "hm"]
        assert merge_candidates(tree.root, texts) == [
            ("Thought: one\nAction: go", 2),
            ("Action: stay", 1),
            ("hm", 1),
        ]
        assert tree.root.sampled == 4

    def test_repeats_of_a_child_are_counted_there(self, tree: Tree) -> None:
        child = grow(tree, tree.root, "go")
        assert merge_candidates(tree.root, [turn("go"), turn("go"), turn("stay")]) == [
            (turn("stay"), 1)
        ]
        assert child.merged == 3
        assert tree.root.sampled == 4

    def test_off_keeps_every_candidate_apart(self, tree: Tree) -> None:
        child = grow(tree, tree.root, "go")
        texts = [turn("go"), turn("go"), turn("stay")]
        assert merge_candidates(tree.root, texts, merge=False) == [(text, 1) for text in texts]
        assert child.merged == 1
        assert tree.root.sampled == 4


class TestSamplesWanted:
    def test_paper_expands_every_level(self, tree: Tree) -> None:
        child = grow(tree, tree.root, "go")
        assert samples_wanted(child, 4, "paper") == 4
        child.sampled = 4
        assert samples_wanted(child, 4, "paper") == 0

    def test_textbook_rolls_out_below_the_first_new_node(self, tree: Tree) -> None:
        child = grow(tree, tree.root, "go")
        assert samples_wanted(tree.root, 4, "textbook") == 3
        assert samples_wanted(child, 4, "textbook") == 1
        child.sampled = 1
        assert samples_wanted(child, 4, "textbook") == 0
        child.visits = 1
        assert samples_wanted(child, 4, "textbook") == 3


class TestBackward:
    def test_adds_the_reward_along_the_path_only(self, tree: Tree) -> None:
        middle, aside = grow(tree, tree.root, "a"), grow(tree, tree.root, "b")
        leaf = grow(tree, middle, "end", reward=0.75, end=True)
        backward(leaf)
        assert [(node.visits, node.value_sum) for node in (tree.root, middle, leaf, aside)] == [
            (1, 0.75),
            (1, 0.75),
            (1, 0.75),
            (0, 0.0),
        ]
        assert leaf.closed and not middle.closed

    def test_a_node_closes_with_its_last_child(self, tree: Tree) -> None:
        middle = grow(tree, tree.root, "a")
        grow(tree, tree.root, "b")
        leaves = [grow(tree, middle, name, end=True) for name in ("x", "y")]
        middle.state = State("state", "")
        backward(leaves[0])
        close_exhausted(leaves[0], width=2)
        assert not middle.closed and middle.state == State("state", "")
        backward(leaves[1])
        close_exhausted(leaves[1], width=2)
        assert middle.closed and middle.state is None
        assert not tree.root.closed and [n.idx for n in open_children(tree.root)] == [2]

    def test_a_node_with_fewer_candidates_than_width_stays_open(self, tree: Tree) -> None:
        leaf = grow(tree, tree.root, "a", end=True)
        backward(leaf)
        close_exhausted(leaf, width=4)
        assert not tree.root.closed


def test_a_turn_that_the_environment_never_saw_keeps_what_was_earned(tree: Tree) -> None:
    scored = grow(tree, tree.root, "a", reward=0.4)
    reflected = tree.add(scored, Step(turn("reflect"), "reflect", "Go on.", kind="reflect"))
    assert reflected.reward == 0.4
    assert math.isclose(tree.add(reflected, Step("hm", None, "?", kind="none")).reward, 0.4)
