"""The splice stage over a store: what is kept, what resumes, what is counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.agent.step import take_step
from agentr_lite.core.errors import UsageError
from agentr_lite.core.messages import Message
from agentr_lite.recipe.groups import SearchSettings, SpliceSettings
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.splice.verify import final_reward
from agentr_lite.store import Store, runs, splices, trees
from tests.support.corridor import ACTIONS, Corridor
from tests.support.splice_cases import RuleActor, actions, plant
from tests.support.stages import search_stage, splice_stage

GOOD = "forward, take, forward, open"
PATHS = [
    [GOOD, "forward, take, throw, forward", "forward, take, smash, forward"],
    [GOOD, "forward, take, take, back", "leave"],
    ["jump"],
    ["back, back, back"],
]
"""Trees of tasks that look alike: recovered and rejected; replayed; no good path; no end."""


def policy(messages: Sequence[Message], seed: int) -> str:
    done = actions(messages)
    after = len(done) - 1 - done.index("reflect")
    return ["back", "take", "forward", "forward", "open", "leave"][min(after, 5)]


def actor(**more: Any) -> RuleActor:
    return RuleActor(["throw", "smash", "take"], policy, **more)


class Corridors(Corridor):
    """The corridor with four tasks of the same shape."""

    def tasks(self, split: str) -> Sequence[Any]:
        first = super().tasks(split)[0]
        return [
            type(first)(f"{first.name}-{i}", split, first.goal, 3, first.payload) for i in range(4)
        ]


def recipe(**splice: Any) -> Recipe:
    return Recipe(
        env=(EnvironmentSettings("corridor"),),
        search=SearchSettings(depth=8),
        splice=SpliceSettings((1.0,), **splice),
    )


def make(path: Path) -> tuple[Store, str]:
    store = Store.open(path)
    run_id = create_run(store, recipe())
    env = Corridors()
    for number, (task, paths) in enumerate(zip(env.tasks("train"), PATHS, strict=True)):
        plant(store, run_id, env, task, paths, wave=number // 2)
    return store, run_id


@pytest.fixture
def planted(tmp_path: Path) -> tuple[Store, str]:
    return make(tmp_path / "runs.db")


def dump(store: Store, run_id: str) -> list[Any]:
    """Everything that splicing stores, without ids and times."""
    paths = splices.list_trajectories(store, run_id)
    names = {
        path.id: (trees.get_tree(store, path.tree_id).task.name, path.leaf_idx) for path in paths
    }
    rows: list[Any] = [(names[path.id], path.kind, path.reward, path.steps) for path in paths]
    rows += [
        (names[row.trajectory_id], row.step, row.node_idx, row.verdict, row.scores)
        for row in splices.list_judgements(store, run_id)
    ]
    rows += [
        (
            *(names[row.good_id], names[row.bad_id], row.parting_step, row.cut_step),
            *(row.reflection, row.revision_length, row.naive_reward, row.status, row.reason),
            *(row.messages, row.loss),
        )
        for row in splices.list_revisions(store, run_id)
    ]
    rows += [
        (call.purpose, call.node_idx, tuple(call.seeds), call.prompt_tokens, call.output_tokens)
        for tree in trees.list_trees(store, run_id)
        for call in trees.list_calls(store, tree.id)
    ]
    return rows


def test_every_pair_ends_as_a_row_with_its_reason(planted: tuple[Store, str]) -> None:
    store, run_id = planted

    summary = splice_stage(store, run_id, 1, recipe(), Corridors(), actor())

    assert (summary["trees"], summary["good"], summary["bad"], summary["pairs"]) == (4, 2, 6, 3)
    assert summary["accepted"] == {"recovered": 1, "replayed": 1}
    assert summary["rejected"] == {"no way back": 1}
    assert (summary["naive_replayed"], summary["naive_failed"]) == (3, 2)
    assert summary["naive_failed_share"] == pytest.approx(2 / 3)
    assert summary["cuts"] == {"judged": 2}
    assert summary["revision_length"] == 1.0
    assert summary["judged"] == sum(summary["verdicts"].values()) > 0
    rows = splices.list_revisions(store, run_id)
    assert all(row.reason for row in rows)
    assert all((row.messages is None) == (row.status == "rejected") for row in rows)
    status = runs.stage_status(store, run_id, 1, "splice")
    assert status is not None
    assert status.finished
    assert dict(status.summary) == summary
    assert status.prompt_tokens > 0


def test_calls_are_stored_with_their_purpose(planted: tuple[Store, str]) -> None:
    store, run_id = planted

    splice_stage(store, run_id, 1, recipe(), Corridors(), actor())

    calls = [
        c for tree in trees.list_trees(store, run_id) for c in trees.list_calls(store, tree.id)
    ]
    assert {call.purpose for call in calls} == {"judge", "recover"}
    judged = splices.list_judgements(store, run_id)
    assert sum(call.purpose == "judge" for call in calls) == len(judged)


@pytest.mark.parametrize("stop_after", range(1, 8))
def test_cut_and_resumed_is_the_same_as_not_cut(tmp_path: Path, stop_after: int) -> None:
    whole, run_id = make(tmp_path / "whole.db")
    expected = splice_stage(whole, run_id, 1, recipe(), Corridors(), actor())
    cut, cut_id = make(tmp_path / "cut.db")

    try:
        splice_stage(cut, cut_id, 1, recipe(), Corridors(), actor(stop_after=stop_after))
    except KeyboardInterrupt:
        status = runs.stage_status(cut, cut_id, 1, "splice")
        assert status is not None
        assert not status.finished
    resumed = splice_stage(cut, cut_id, 1, recipe(), Corridors(), actor())

    assert resumed == expected
    assert dump(cut, cut_id) == dump(whole, run_id)


def test_a_wave_is_committed_whole_or_not_at_all(planted: tuple[Store, str]) -> None:
    store, run_id = planted

    with pytest.raises(KeyboardInterrupt):
        splice_stage(store, run_id, 1, recipe(), Corridors(), actor(stop_after=1))

    assert splices.list_trajectories(store, run_id) == []
    assert splices.list_judgements(store, run_id) == []


def test_a_finished_stage_is_left_alone_unless_redone(planted: tuple[Store, str]) -> None:
    store, run_id = planted
    first = splice_stage(store, run_id, 1, recipe(), Corridors(), actor())
    before = dump(store, run_id)
    idle = actor()

    assert splice_stage(store, run_id, 1, recipe(), Corridors(), idle) == first
    assert splice_stage(store, run_id, 1, recipe(data="good"), Corridors(), idle) == first
    with pytest.raises(UsageError, match="other settings"):
        splice_stage(store, run_id, 1, recipe(verify="off"), Corridors(), idle)
    assert idle.batches == []
    naive = splice_stage(store, run_id, 1, recipe(verify="off"), Corridors(), idle, redo=True)
    assert naive["accepted"] == {"naive": 3}
    assert naive["naive_failed_share"] is None
    again = splice_stage(store, run_id, 1, recipe(), Corridors(), actor(), redo=True)

    assert again == first
    assert dump(store, run_id) == before


def test_a_cut_stage_is_not_resumed_with_other_settings(planted: tuple[Store, str]) -> None:
    store, run_id = planted
    with pytest.raises(KeyboardInterrupt):
        splice_stage(store, run_id, 1, recipe(), Corridors(), actor(stop_after=1))

    with pytest.raises(UsageError, match="other settings") as caught:
        splice_stage(store, run_id, 1, recipe(beta=0.4), Corridors(), actor())

    assert "--redo" in caught.value.hint


def test_a_stage_cut_by_an_earlier_version_is_resumed(planted: tuple[Store, str]) -> None:
    """What it has noted of its settings lacks keys of today, and has some that count no more."""
    store, run_id = planted
    with pytest.raises(KeyboardInterrupt):
        splice_stage(store, run_id, 1, recipe(), Corridors(), actor(stop_after=1))
    status = runs.stage_status(store, run_id, 1, "splice")
    assert status is not None
    noted = {**status.summary["settings"], "contested": False}
    del noted["unseen"], noted["critic_margin"]
    runs.set_stage_summary(store, run_id, 1, "splice", {"settings": noted})

    with pytest.raises(UsageError, match="other settings"):
        splice_stage(store, run_id, 1, recipe(unseen="drop"), Corridors(), actor())
    with pytest.raises(UsageError, match="other settings"):
        splice_stage(store, run_id, 1, recipe(critic_margin=0.3), Corridors(), actor())
    assert splice_stage(store, run_id, 1, recipe(), Corridors(), actor())["pairs"]


def test_a_round_without_trees_is_an_error_with_a_hint(planted: tuple[Store, str]) -> None:
    store, run_id = planted

    with pytest.raises(UsageError, match="no trees in round 2") as caught:
        splice_stage(store, run_id, 2, recipe(), Corridors(), actor())

    assert "search" in caught.value.hint


def test_a_task_that_is_gone_is_an_error(planted: tuple[Store, str]) -> None:
    store, run_id = planted

    with pytest.raises(UsageError, match="does not have"):
        splice_stage(store, run_id, 1, recipe(), Corridor(), actor())


def wander(messages: Sequence[Message], seed: int) -> str:
    """Sensible three times out of five."""
    seen = messages[-1]["content"]
    if seed % 5 > 2:
        return ACTIONS[seed // 5 % len(ACTIONS)]
    if "You hold the key." in seen:
        return "open" if "The door is here." in seen else "forward"
    return "take" if "The key is here." in seen else "forward"


@pytest.mark.parametrize("critic", ["score", "none"])
def test_every_revision_of_a_real_search_earns_its_reward(tmp_path: Path, critic: str) -> None:
    settings = Recipe(
        env=(EnvironmentSettings("corridor"),),
        search=SearchSettings(tasks=8, simulations=12, width=4, depth=8, wave=3),
        splice=SpliceSettings((1.0,), critic=critic),
    )
    store, env = Store.open(tmp_path / "runs.db"), Corridor()
    run_id = create_run(store, settings)
    walker = RuleActor(["throw", "smash", "back"], wander)
    search_stage(store, run_id, 1, settings, env, walker)

    summary = splice_stage(store, run_id, 1, settings, env, walker)

    tasks = {task.name: task for task in env.tasks("train")}
    accepted = splices.list_revisions(store, run_id, accepted=True)
    assert summary["pairs"] >= len(accepted) >= 5
    for row in accepted:
        assert row.messages is not None
        first, _ = env.reset(tasks[row.task])
        assert row.messages[1]["content"] == first
        turns = [m["content"] for m in row.messages if m["role"] == "assistant"]
        steps = [take_step(env, text) for text in turns]
        seen = [m["content"] for m in row.messages[3:] if m["role"] == "user"]
        assert [step.observation for step in steps[:-1]] == seen
        assert final_reward(steps) == 1.0
        assert steps[row.cut_step].kind == "reflect"
        assert row.parting_step < row.cut_step
