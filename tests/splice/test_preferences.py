"""Preferences of a tree: which continuations are compared, and what of them is learnt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentr_lite.core.steps import Step
from agentr_lite.splice.pairs import find_trajectories
from agentr_lite.splice.preferences import (
    Preference,
    episode_preferences,
    preference_chat,
    step_preferences,
)
from agentr_lite.store import splices, trees
from agentr_lite.store.preferences import list_preferences
from agentr_lite.store.records import NodeRow, PreferenceRow
from tests.support.corridor import Corridor
from tests.support.preference_cases import (
    BAD,
    GOOD,
    PATHS,
    WORSE,
    Corridors,
    pair_recipe,
    planted_run,
    valued,
)
from tests.support.splice_cases import RuleActor, actions, walk
from tests.support.stages import splice_stage


def child(
    idx: int, value: float, visits: int = 1, action: str | None = None, parent: int = 0, **more: Any
) -> NodeRow:
    """A node with a mean value."""
    step = Step(f"turn {idx}", action or f"action {idx}", "seen", **more)
    return NodeRow.from_step(step, idx, parent, 1, visits=visits, value_sum=value * visits)


def steps_of(*children: NodeRow, margin: float = 0.25, visits: int = 1, limit: int = 0) -> Any:
    nodes = [NodeRow.root("start"), *children]
    found = step_preferences(nodes, margin=margin, visits=visits, limit=limit)
    return [(pair.parting_idx, pair.chosen_idx, pair.rejected_idx) for pair in found]


class TestSteps:
    def test_a_state_gives_its_best_against_its_worst_action(self) -> None:
        nodes = [NodeRow.root("start"), child(1, 0.5), child(2, 0.75, 4), child(3, 0.25, 2)]
        [pair] = step_preferences(nodes, margin=0.25, visits=1, limit=0)
        assert pair == Preference("step", 0, 2, 3, 0.75, 0.25)

    @pytest.mark.parametrize(
        ("worse", "margin", "pairs"),
        [(0.5, 0.25, 1), (0.5, 0.26, 0), (0.75, 0.0, 0), (0.74, 0.0, 1)],
    )
    def test_the_values_differ_by_the_margin_and_are_not_equal(
        self, worse: float, margin: float, pairs: int
    ) -> None:
        assert len(steps_of(child(1, 0.75), child(2, worse), margin=margin)) == pairs

    def test_actions_that_were_visited_too_seldom_are_not_compared(self) -> None:
        # A node that was never visited has the value 0, which says nothing of it.
        assert steps_of(child(1, 1.0), child(2, 0.0, visits=0)) == []
        both = child(1, 1.0, 3), child(2, 0.0, 2)
        assert steps_of(*both, visits=2) == [(0, 1, 2)]
        assert steps_of(*both, visits=3) == []

    def test_the_same_action_twice_is_no_pair(self) -> None:
        twice = child(1, 1.0, action="go on"), child(2, 0.0, action="go  on ")
        assert steps_of(*twice) == []
        assert steps_of(*twice, child(3, 0.5)) == [(0, 1, 3)]

    def test_of_equal_values_the_one_with_more_visits_counts_then_the_first(self) -> None:
        worst = child(9, 0.0, 1)
        equal = child(1, 1.0, 2), child(2, 1.0, 3), child(3, 1.0, 3)
        assert steps_of(*equal, worst) == [(0, 2, 9)]
        assert steps_of(child(1, 1.0), child(2, 0.0), child(3, 0.0, 5)) == [(0, 1, 3)]

    def test_what_is_no_action_is_never_preferred(self) -> None:
        invalid = child(1, 1.0, invalid=True)
        none = child(2, 1.0, kind="none")
        assert steps_of(invalid, none, child(3, 0.5), child(4, 0.0)) == [(0, 3, 4)]
        assert steps_of(invalid, child(4, 0.0)) == []
        # But it is what an action may be preferred to.
        assert steps_of(child(3, 0.5), child(4, 0.0, kind="none")) == [(0, 3, 4)]

    def test_reflections_are_not_compared(self) -> None:
        low, high = child(1, 0.0, kind="reflect"), child(2, 1.0, kind="reflect")
        assert steps_of(low, high, child(3, 0.5)) == []

    def test_the_pairs_that_differ_most_are_kept(self) -> None:
        nodes = [
            child(1, 0.9, parent=0), child(2, 0.4, parent=0),
            child(3, 1.0, parent=1), child(4, 0.0, parent=1),
            child(5, 0.8, parent=2), child(6, 0.3, parent=2),
        ]  # fmt: skip
        assert steps_of(*nodes) == [(1, 3, 4), (0, 1, 2), (2, 5, 6)]
        assert steps_of(*nodes, limit=2) == [(1, 3, 4), (0, 1, 2)]

    @settings(deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.floats(0, 1), st.integers(0, 3), st.sampled_from("abc"), st.sampled_from("an")
            ),
            max_size=8,
        ),
        st.floats(0, 1),
    )
    def test_what_holds_of_every_pair(
        self, values: list[tuple[float, int, str, str]], margin: float
    ) -> None:
        children = [
            child(idx, value, visits, action, kind="act" if kind == "a" else "none")
            for idx, (value, visits, action, kind) in enumerate(values, start=1)
        ]
        nodes = [NodeRow.root("start"), *children]
        for pair in step_preferences(nodes, margin=margin, visits=2, limit=0):
            better, worse = nodes[pair.chosen_idx], nodes[pair.rejected_idx]
            assert min(better.visits, worse.visits) >= 2
            assert better.action != worse.action and better.kind == "act"
            assert better.value > worse.value and better.value - worse.value >= margin
            assert (pair.chosen_value, pair.rejected_value) == (better.value, worse.value)


class TestEpisodes:
    def found(self, *paths: str, limit: int = 0) -> list[tuple[int, str, str]]:
        env = Corridor()
        nodes = walk(env, env.tasks("train")[0], paths)
        by_leaf = {item.leaf_idx: item for item in find_trajectories(nodes)}
        return [
            (
                pair.parting_idx,
                ", ".join(by_leaf[pair.chosen_idx].actions),
                ", ".join(by_leaf[pair.rejected_idx].actions),
            )
            for pair in episode_preferences(
                list(by_leaf.values()), alpha=1.0, beta=0.2, limit=limit
            )
        ]

    def test_each_failed_episode_meets_a_successful_one_where_they_part(self) -> None:
        assert sorted(self.found(GOOD, BAD, WORSE)) == [(1, GOOD, WORSE), (2, GOOD, BAD)]
        assert len(self.found(GOOD, BAD, WORSE, limit=1)) == 1

    def test_an_episode_may_fail_with_the_step_in_which_it_parts(self) -> None:
        # There is nothing left to revise in it, but it can be compared.
        assert self.found(GOOD, WORSE) == [(1, GOOD, WORSE)]

    def test_without_success_or_failure_there_is_nothing_to_compare(self) -> None:
        assert self.found(BAD, WORSE) == []
        assert self.found(GOOD, "forward, take, back, forward, forward, open") == []


def chats(tmp_path: Path, kind: str, paths: tuple[str, ...] = PATHS, **splice: Any) -> list[Any]:
    store, run_id = planted_run(tmp_path / "runs.db", pair_recipe(splice=splice), paths)
    with store:
        tree = trees.list_trees(store, run_id)[0].id
        rows = list_preferences(store, run_id, tree_id=tree)
        return [(row, preference_chat(store, row)) for row in rows if row.kind == kind]


def turns(chat: Any) -> tuple[str, str, str]:
    """Actions of the shared part and of the two continuations."""
    parts = chat.messages, chat.chosen, chat.rejected
    return tuple(", ".join(actions(part)) for part in parts)  # type: ignore[return-value]


class TestChats:
    def test_an_episode_is_compared_from_the_parting_on(self, tmp_path: Path) -> None:
        found = {turns(chat): chat for _, chat in chats(tmp_path, "episode")}
        assert set(found) == {
            ("forward, take", "forward, open", "jump high, shout, leave"),
            ("forward", "take, forward, open", "jump"),
        }
        chat = found["forward, take", "forward, open", "jump high, shout, leave"]
        assert chat.messages[-1]["role"] == "user"
        assert chat.chosen[0]["role"] == chat.chosen[-1]["role"] == "assistant"
        assert chat.chosen_loss == [True, False, True]
        assert chat.rejected_loss == [True, False, True, False, True]

    def test_steps_are_single_turns_with_the_values_of_the_search(self, tmp_path: Path) -> None:
        found = {turns(chat): (row, chat) for row, chat in chats(tmp_path, "step")}
        assert set(found) == {
            ("forward", "take", "jump"),
            ("forward, take", "forward", "jump high"),
        }
        row, chat = found["forward", "take", "jump"]
        # `leave` earns a quarter in the middle of the corridor: two episodes went through `take`.
        assert (row.chosen_value, row.rejected_value) == (0.625, 0.0)
        assert (chat.chosen_loss, chat.rejected_loss) == ([True], [True])

    def test_a_revision_is_compared_with_going_on(self, tmp_path: Path) -> None:
        [(row, chat)] = chats(tmp_path, "revision")
        assert turns(chat) == (
            "forward, take, jump high", "reflect, forward, open", "shout, leave",
        )  # fmt: skip
        assert chat.chosen_loss == [True, False, True, False, True]
        assert chat.rejected_loss == [True, False, True]
        assert (row.chosen_value, row.rejected_value) == (1.0, 0.25)

    def test_a_revision_at_the_end_of_its_bad_trajectory_has_nothing_to_compare_with(
        self, tmp_path: Path
    ) -> None:
        paths = (GOOD, "forward, take, jump high, shout")
        assert len(chats(tmp_path, "revision", paths)) == 1
        assert chats(tmp_path / "direct", "revision", paths, critic="none") == []

    def test_rejected_revisions_are_not_compared(self, tmp_path: Path) -> None:
        paths = (GOOD, "forward, take, jump high, smash, back")
        assert len(chats(tmp_path, "revision", paths)) == 1
        store, run_id = planted_run(
            tmp_path / "spoilt.db",
            pair_recipe(splice={"critic": "none", "recovery_attempts": 0}),
            (GOOD, "forward, take, smash, leave"),
        )
        [*revisions] = splices.list_revisions(store, run_id)
        assert {row.status for row in revisions} == {"rejected"}
        assert [row.kind for row in list_preferences(store, run_id)].count("revision") == 0

    def test_flaws_and_reflections_are_left_out_of_what_is_learnt(self, tmp_path: Path) -> None:
        flawed = "forward, take, jump high, forward, open"
        found = chats(tmp_path, "episode", (flawed, "forward, take, forward, leave"))
        [(_, chat)] = found
        assert turns(chat)[1:] == ("jump high, forward, open", "forward, leave")
        # What led to the flaw is no better than what it is compared with.
        assert chat.chosen_loss == [False, False, True, False, True]

    def test_a_pair_without_a_turn_to_learn_gives_nothing(self, tmp_path: Path) -> None:
        store, run_id = planted_run(tmp_path / "runs.db", pair_recipe())
        row = list_preferences(store, run_id, kinds=["step"])[0]
        assert preference_chat(store, row) is not None
        store.execute(
            "UPDATE nodes SET kind = 'reflect' WHERE tree_id = ? AND idx = ?",
            (row.tree_id, row.rejected_idx),
        )
        assert preference_chat(store, row) is None


def test_a_stage_makes_the_kinds_that_are_wanted(tmp_path: Path) -> None:
    for kinds in ((), ("step",), ("episode", "revision")):
        store, run_id = planted_run(tmp_path / f"{len(kinds)}.db", pair_recipe(kinds))
        with store:
            assert {row.kind for row in list_preferences(store, run_id)} == set(kinds)


def test_a_stage_that_is_done_again_makes_the_same_pairs(tmp_path: Path) -> None:
    def content(row: PreferenceRow) -> PreferenceRow:
        return replace(row, id=0, revision_id=None)

    store, run_id = planted_run(tmp_path / "runs.db", pair_recipe())
    before = [content(row) for row in list_preferences(store, run_id)]
    actor = RuleActor(["jump high"])
    summary = splice_stage(store, run_id, 1, pair_recipe(), Corridors(), actor, redo=True)
    assert [content(row) for row in list_preferences(store, run_id)] == before
    assert summary["preferences"] == {"episode": 8, "step": 8, "revision": 4}


def test_an_environment_that_answers_otherwise_gives_no_pair_of_a_revision(
    tmp_path: Path,
) -> None:
    store, run_id = planted_run(tmp_path / "runs.db", pair_recipe())
    # The tree was searched when the corridor said something else.
    other = store.text_id("You see nothing.")
    store.execute("UPDATE nodes SET observation_id = ? WHERE idx = 1", (other,))
    splice_stage(store, run_id, 1, pair_recipe(), Corridors(), RuleActor(["jump high"]), redo=True)
    assert {row.status for row in splices.list_revisions(store, run_id)} == {"replayed"}
    kinds = [row.kind for row in list_preferences(store, run_id)]
    assert kinds.count("revision") == 0 and kinds.count("episode") == 8


def test_values_are_those_of_the_search() -> None:
    env = Corridors()
    nodes = valued(walk(env, env.tasks("train")[0], PATHS))
    assert [(node.visits, node.value_sum) for node in nodes[:3]] == [
        (3, 1.25),
        (3, 1.25),
        (2, 1.25),
    ]
