"""Evaluation: what is played, what is counted, and what survives an interruption."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.actors.base import Sampling
from agentr_lite.agent.turns import PLAIN
from agentr_lite.console.progress import Progress
from agentr_lite.core.errors import UsageError
from agentr_lite.core.messages import Message
from agentr_lite.core.tasks import Task
from agentr_lite.evaluate.episodes import Start, run_episodes
from agentr_lite.evaluate.starts import eval_tasks
from agentr_lite.metrics.episodes import Endings, count_endings
from agentr_lite.recipe.groups import EvalSettings
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.store.database import Store
from agentr_lite.store.evals import list_eval_items, list_evals
from agentr_lite.store.runs import stage_status
from tests.support.stages import eval_stage
from tests.support.stairs import Policy, Scripted, Stairs, act, always, noisy


def by_task(actions: dict[str, str], default: str) -> Policy:
    return lambda messages, seed: act(
        actions.get(messages[1]["content"].partition(":")[0], default)
    )


def play(policy: Policy, tasks: Sequence[Task], **overrides: Any) -> tuple[list[Any], Scripted]:
    actor = Scripted(policy)
    settings: dict[str, Any] = {
        "instructions": "Climb.",
        "form": PLAIN,
        "max_steps": 5,
        "sampling": Sampling(temperature=0),
        "batch": 4,
    }
    starts = [Start(task, 7 + i) for i, task in enumerate(tasks)]
    settings.update(overrides)
    return run_episodes(Stairs(), actor, settings.pop("starts", starts), **settings), actor


# Playing


def test_episodes_end_by_success_failure_and_step_limit() -> None:
    tasks = Stairs().tasks("test")[:3]
    episodes, _ = play(by_task({"task1": "jump", "task2": "rest"}, "up"), tasks)
    assert [e.success for e in episodes] == [True, False, False]
    assert [len(e.steps) for e in episodes] == [1, 1, 5]
    assert [e.task.name for e in episodes] == ["task0", "task1", "task2"]


def test_the_last_step_of_an_episode_at_the_step_limit_is_truncated() -> None:
    tasks = Stairs().tasks("test")[:3]
    policy = by_task({"task1": "jump", "task2": "rest"}, "up")
    episodes, _ = play(policy, tasks, max_steps=2)
    assert [[s.truncated for s in e.steps] for e in episodes] == [[False], [False], [False, True]]
    # A success with the last step is not cut.
    [solved], _ = play(always("up"), [tasks[1]], max_steps=2)
    assert solved.success and not solved.steps[-1].truncated


def test_a_given_step_is_never_marked_as_cut() -> None:
    start = Start(Stairs().tasks("test")[2], 1, prefix=[act("rest")] * 3)
    [episode], _ = play(always("rest"), [], starts=[start], max_steps=2)
    assert [s.truncated for s in episode.steps] == [False] * 4 + [True]


def test_a_finished_episodes_place_goes_to_the_next_task() -> None:
    tasks = Stairs().tasks("test")  # Levels 1, 2, 3, 1, 2, 3: twelve steps in all.
    episodes, actor = play(always("up"), tasks, batch=2)
    assert all(e.success for e in episodes)
    assert actor.batches == [2, 2, 2, 2, 2, 1, 1]  # The last task has no one to share with.


def test_width_of_the_batch_changes_nothing_that_was_played() -> None:
    def policy(messages: Sequence[Message], seed: int) -> str:
        return act(["up", "rest", "jump", "?"][seed % 4])

    tasks = Stairs().tasks("test")
    narrow, _ = play(policy, tasks, batch=1)
    wide, _ = play(policy, tasks, batch=6)
    assert narrow == wide


def test_a_broken_environment_costs_its_episode_only() -> None:
    episodes, _ = play(by_task({"task0": "break"}, "up"), Stairs().tasks("test")[:2])
    assert re.fullmatch(
        r"environment 'stairs': step\('break'\) raised ZeroDivisionError: plank"
        r" \(stairs\.py:\d+, in step\)",
        episodes[0].error,
    )
    assert episodes[0].faulty
    assert episodes[1].success


def test_a_broken_reset_costs_its_episode_only() -> None:
    class Broken(Stairs):
        def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
            if task.name == "task1":
                raise OSError("gone")
            return super().reset(task, seed=seed)

    episodes = run_episodes(
        Broken(),
        Scripted(always("up")),
        [Start(task, 1) for task in Stairs().tasks("test")[:3]],
        instructions="",
        form=PLAIN,
        max_steps=5,
        sampling=Sampling(temperature=0),
        batch=1,
    )
    assert [e.success for e in episodes] == [True, False, True]
    assert re.fullmatch(
        r"environment 'stairs': reset\('task1'\) raised OSError: gone"
        r" \(test_evaluate\.py:\d+, in reset\)",
        episodes[1].error,
    )


def test_a_full_context_ends_the_episode_as_a_failure_of_the_actor() -> None:
    episodes, _ = play(lambda messages, seed: "overflow", Stairs().tasks("test")[:1])
    assert not episodes[0].faulty
    assert episodes[0].error is not None
    assert episodes[0].error.startswith("overflow")


def test_a_reflection_is_answered_by_the_agent_loop_and_costs_a_step() -> None:
    def policy(messages: Sequence[Message], seed: int) -> str:
        return act("up") if messages[-1]["content"] == "Go on." else act("reflect")

    episodes, _ = play(policy, Stairs().tasks("test")[:1])
    assert [s.kind for s in episodes[0].steps] == ["reflect", "act"]
    assert episodes[0].success
    assert episodes[0].reflections == 1


def test_a_prefix_is_carried_out_and_not_counted() -> None:
    task = Stairs().tasks("test")[2]
    start = Start(task, 1, prefix=[act("up"), act("??")])
    episodes, actor = play(always("up"), [], starts=[start], max_steps=2)
    assert [s.observation for s in episodes[0].steps] == [
        "Stair 1.",
        "What?",
        "Stair 2.",
        "Stair 3.",
    ]
    assert episodes[0].success
    assert (episodes[0].invalid_actions, len(episodes[0].played)) == (0, 2)
    assert len(actor.requests[0].messages) == 6


# The stage


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "runs.db")


def recipe_of(**settings: Any) -> Recipe:
    return Recipe(
        env=(EnvironmentSettings("stairs"),),
        eval=EvalSettings(**{"max_steps": 4, "batch": 2, **settings}),
    )


def dump(store: Store, run_id: str) -> list[Any]:
    return [
        (e.round, e.mode, e.summary, list_eval_items(store, e.id))
        for e in list_evals(store, run_id)
    ]


def test_stage_stores_greedy_sampled_and_recovery(store: Store) -> None:
    recipe = recipe_of(samples=3)
    run = create_run(store, recipe)
    base = eval_stage(store, run, 0, recipe, Stairs(), Scripted(noisy))
    assert list(base) == ["greedy", "sampled", "recovery"]
    assert base["sampled"]["episodes"] == 18
    failed = base["greedy"]["episodes"] - base["greedy"]["successes"]
    assert 0 < failed < 6
    assert base["recovery"]["episodes"] == failed
    assert base["greedy"]["versus_base"] is None
    later = eval_stage(store, run, 1, recipe, Stairs(), Scripted(always("up")))
    assert later["greedy"]["success"]["value"] == 1.0
    assert later["greedy"]["versus_base"]["gained"] == failed
    assert later["recovery"]["success"]["value"] == 1.0
    stage = stage_status(store, run, 1, "eval")
    assert stage is not None
    assert stage.finished
    assert stage.output_tokens > 0
    assert stage.summary == later


def test_recovery_prefixes_are_the_bases_in_every_round(store: Store) -> None:
    recipe = recipe_of(recovery_prefix=0.5, recovery_steps=9)
    run = create_run(store, recipe)
    eval_stage(store, run, 0, recipe, Stairs(), Scripted(always("rest")))
    eval_stage(store, run, 1, recipe, Stairs(), Scripted(always("up")))
    recovery = list_evals(store, run, round_index=1, mode="recovery")[0]
    for item in list_eval_items(store, recovery.id):
        given = [played.step.action for played in item.episode if played.given]
        assert given == ["rest", "rest"]
        assert item.success
        assert item.steps == item.task.level


def test_how_an_episode_ended_is_stored(store: Store) -> None:
    recipe = recipe_of(recovery=False)
    run = create_run(store, recipe)
    policy = by_task({"task0": "dive", "task1": "rest"}, "up")
    eval_stage(store, run, 0, recipe, Stairs(), Scripted(policy))
    [row] = list_evals(store, run)
    whole = list_eval_items(store, row.id)
    last = list_eval_items(store, row.id, last_step_only=True)
    assert [list(item.episode) for item in last] == [list(item.episode[-1:]) for item in whole]
    steps = [item.episode[0].step for item in last]
    assert [(s.disaster, s.truncated) for s in steps[:3]] == [
        *((True, False), (False, True), (False, False))
    ]
    assert count_endings(last) == count_endings(whole) == Endings(cut=1, disasters=1)


def test_a_cut_base_episode_gives_its_whole_prefix(store: Store) -> None:
    recipe = recipe_of(recovery_prefix=1.0, tasks=1)
    run = create_run(store, recipe)
    eval_stage(store, run, 0, recipe, Stairs(), Scripted(always("rest")))
    later = eval_stage(store, run, 1, recipe, Stairs(), Scripted(always("up")))
    recovery = list_evals(store, run, round_index=1, mode="recovery")[0]
    [item] = list_eval_items(store, recovery.id)
    assert sum(played.given for played in item.episode) == 4
    assert later["recovery"]["success"]["value"] == 1.0


def test_a_prefix_never_holds_the_step_that_ended_the_episode(store: Store) -> None:
    recipe = recipe_of(recovery_prefix=1.0)
    run = create_run(store, recipe)
    eval_stage(store, run, 0, recipe, Stairs(), Scripted(always("jump")))
    later = eval_stage(store, run, 1, recipe, Stairs(), Scripted(always("up")))
    assert later["recovery"]["success"]["value"] == 1.0


def test_greedy_asks_for_temperature_zero_and_rounds_share_their_draws(store: Store) -> None:
    recipe = recipe_of(samples=1, recovery=False, temperature=0.6)
    run = create_run(store, recipe)
    first, second = Scripted(always("up")), Scripted(always("up"))
    eval_stage(store, run, 0, recipe, Stairs(), first)
    eval_stage(store, run, 1, recipe, Stairs(), second)
    assert {r.sampling.temperature for r in first.requests} == {0.0, 0.6}
    assert [r.seeds for r in first.requests] == [r.seeds for r in second.requests]


@pytest.mark.parametrize("cut", [0, 3, 9, 14])
def test_interrupted_and_resumed_equals_uninterrupted(store: Store, cut: int) -> None:
    recipe = recipe_of(samples=3, batch=1)
    env = Stairs(per_split=7)
    whole = create_run(store, recipe)
    eval_stage(store, whole, 0, recipe, env, Scripted(noisy))
    torn = create_run(store, recipe)
    with pytest.raises(KeyboardInterrupt):
        eval_stage(store, torn, 0, recipe, env, Scripted(noisy, fail_after=cut))
    eval_stage(store, torn, 0, recipe, env, Scripted(noisy))
    assert dump(store, torn) == dump(store, whole)


def test_a_committed_group_is_not_played_again(store: Store) -> None:
    recipe = recipe_of(batch=1, recovery=False)
    run = create_run(store, recipe)
    env = Stairs(per_split=6)  # One group of four tasks, one of two.
    with pytest.raises(KeyboardInterrupt):
        eval_stage(store, run, 0, recipe, env, Scripted(always("up"), fail_after=8))
    rest = Scripted(always("up"))
    eval_stage(store, run, 0, recipe, env, rest)
    assert {r.messages[1]["content"].partition(":")[0] for r in rest.requests} == {
        "task4",
        "task5",
    }


def test_a_finished_stage_is_not_played_again(store: Store) -> None:
    recipe = recipe_of()
    run = create_run(store, recipe)
    first = eval_stage(store, run, 0, recipe, Stairs(), Scripted(noisy))
    again = Scripted(noisy)
    assert eval_stage(store, run, 0, recipe, Stairs(), again) == first
    assert again.batches == []


def test_other_settings_replace_nothing_unless_told_to(store: Store) -> None:
    recipe = recipe_of()
    run = create_run(store, recipe)
    eval_stage(store, run, 0, recipe, Stairs(), Scripted(noisy))
    before, stage = dump(store, run), stage_status(store, run, 0, "eval")
    longer = replace(recipe, eval=replace(recipe.eval, max_steps=9))
    actor = Scripted(always("rest"))
    with pytest.raises(UsageError, match=r"with other settings \(max_steps=4\)"):
        eval_stage(store, run, 0, longer, Stairs(), actor)
    assert dump(store, run) == before
    found = eval_stage(store, run, 0, longer, Stairs(), actor, replace=True)
    assert found["greedy"]["steps"] == 9
    # What it cost is no part of the round's cost.
    assert stage_status(store, run, 0, "eval") == stage


def test_more_samples_leave_the_greedy_episodes_alone(store: Store) -> None:
    recipe = recipe_of(recovery=False)
    run = create_run(store, recipe)
    eval_stage(store, run, 0, recipe, Stairs(), Scripted(noisy))
    sampled = replace(recipe, eval=replace(recipe.eval, samples=2))
    actor = Scripted(noisy)
    found = eval_stage(store, run, 0, sampled, Stairs(), actor)
    assert found["sampled"]["episodes"] == 12
    assert {request.sampling.temperature for request in actor.requests} == {1.0}


def test_without_a_base_there_is_no_recovery_and_no_difference(store: Store) -> None:
    recipe = recipe_of()
    run = create_run(store, recipe)
    found = eval_stage(store, run, 1, recipe, Stairs(), Scripted(noisy))
    assert list(found) == ["greedy"]
    assert found["greedy"]["versus_base"] is None


def test_a_base_that_comes_later_is_compared_with_all_the_same(store: Store) -> None:
    recipe = recipe_of()
    run, usual = create_run(store, recipe), create_run(store, recipe)
    for number, policy in enumerate([noisy, always("up")]):
        eval_stage(store, usual, number, recipe, Stairs(), Scripted(policy))
    eval_stage(store, run, 1, recipe, Stairs(), Scripted(always("up")))
    eval_stage(store, run, 0, recipe, Stairs(), Scripted(noisy))
    assert list_evals(store, run, mode="greedy")[1].summary["versus_base"] is not None
    again = Scripted(always("up"))
    eval_stage(store, run, 1, recipe, Stairs(), again)
    # Only the base's failures, from their beginnings.
    assert sum(again.batches) > 0 and dump(store, run) == dump(store, usual)


def test_recovery_can_be_asked_for_later(store: Store) -> None:
    recipe = recipe_of()
    without = replace(recipe, eval=replace(recipe.eval, recovery=False))
    run = create_run(store, recipe)
    for settings in (without, recipe):
        for number, policy in enumerate([noisy, always("up")]):
            found = eval_stage(store, run, number, settings, Stairs(), Scripted(policy))
            assert ("recovery" in found) == settings.eval.recovery


def test_half_a_base_is_no_base(store: Store) -> None:
    recipe = recipe_of(batch=1)
    run = create_run(store, recipe)

    class Cut(Exception):
        pass

    def stops(messages: Sequence[Message], seed: int) -> str:
        if messages[1]["content"].startswith("task5"):
            raise Cut
        return act("jump")

    with pytest.raises(Cut):
        eval_stage(store, run, 0, recipe, Stairs(), Scripted(stops))
    found = eval_stage(store, run, 1, recipe, Stairs(), Scripted(always("up")))
    assert list(found) == ["greedy"] and found["greedy"]["versus_base"] is None


def test_another_base_takes_the_recoveries_from_the_old_one_with_it(store: Store) -> None:
    recipe = recipe_of()
    run = create_run(store, recipe)
    for number, policy in enumerate([noisy, always("up")]):
        eval_stage(store, run, number, recipe, Stairs(), Scripted(policy))
    assert len(list_evals(store, run, mode="recovery")) == 2
    longer = replace(recipe, eval=replace(recipe.eval, max_steps=9, recovery=False))
    eval_stage(store, run, 0, longer, Stairs(), Scripted(noisy), replace=True)
    assert list_evals(store, run, mode="recovery") == []


def test_a_models_odd_characters_are_stored(store: Store) -> None:
    recipe = recipe_of(recovery=False, tasks=1, max_steps=1)
    run = create_run(store, recipe)
    eval_stage(store, run, 0, recipe, Stairs(), Scripted(always("\ud800 \x00 \x1b[2J")))
    item = list_eval_items(store, list_evals(store, run)[0].id)[0]
    assert item.episode[0].step.action == "? \x00 \x1b[2J"


def test_fewer_tasks_are_evenly_spaced() -> None:
    tasks = eval_tasks(Stairs(per_split=9), EvalSettings(tasks=3))
    assert [task.name for task in tasks] == ["task0", "task3", "task6"]


def test_an_empty_split_is_the_users_error(store: Store) -> None:
    with pytest.raises(UsageError, match="no tasks in split 'dev'"):
        eval_tasks(Stairs(), EvalSettings(split="dev"))


def test_solved_episodes_are_counted_over_all_groups_and_sittings(store: Store) -> None:
    notes: list[str] = []

    class Noted(Progress):
        def advance(self, n: int = 1, note: str = "") -> None:
            notes.append(note)

    recipe = recipe_of(batch=1, recovery=False)
    env, run = Stairs(per_split=9), create_run(store, recipe_of())
    with pytest.raises(KeyboardInterrupt):
        eval_stage(store, run, 0, recipe, env, Scripted(always("up"), fail_after=15))
    [row] = list_evals(store, run)
    kept = len(list_eval_items(store, row.id))
    assert 0 < kept < 9, "the first group is through, the second is not"
    eval_stage(store, run, 0, recipe, env, Scripted(always("up")), progress=Noted(quiet=True))
    # Between two ends of episodes, the notes say what is played.
    ended = [note for note in notes if "now" not in note]
    assert ended == [f"{number} solved" for number in range(kept + 1, 10)]
