"""The search stage: waves, lockstep, commits, and resuming to the same trees."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.actors.base import GenerateResult
from agentr_lite.console.progress import Progress
from agentr_lite.core.errors import ModelError, StoreError, UsageError
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import StepResult
from agentr_lite.recipe.groups import SearchSettings
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.runs.stages.tasks import round_tasks, split_waves
from agentr_lite.runs.stages.tree_rows import node_row
from agentr_lite.search.context import search_context
from agentr_lite.search.scheduler import TreeSearch, run_wave
from agentr_lite.store import Store, runs, summaries, trees
from tests.support.corridor import Corridor
from tests.support.policy_actor import PolicyActor, wanderer
from tests.support.stages import search_stage

WALKER = wanderer("forward", "take", "open", "leave", "back", "forward")
RECIPE = Recipe(
    env=(EnvironmentSettings("corridor"),),
    search=SearchSettings(tasks=7, simulations=3, width=3, depth=6, wave=3),
)


def stage(store: Store, run_id: str, actor: PolicyActor, recipe: Recipe = RECIPE, **more) -> Any:
    return search_stage(store, run_id, 1, recipe, more.pop("env", Corridor()), actor, **more)


def new_run(path: Path) -> tuple[Store, str]:
    store = Store.open(path)
    return store, create_run(store, RECIPE)


def uninterrupted(path: Path) -> tuple[list[Any], Any, int]:
    """The trees, the stage's row and the number of batches of a run that nothing cut."""
    store, run_id = new_run(path)
    actor = PolicyActor(WALKER)
    stage(store, run_id, actor)
    dump = list(summaries.dump_trees(store, run_id, 1))
    return dump, runs.stage_status(store, run_id, 1, "search"), len(actor.batches)


class TestLockstep:
    def test_one_batch_a_tick_for_all_trees(self) -> None:
        context = search_context(RECIPE, Corridor(), 1)
        searches = [TreeSearch(task, context) for task in Corridor().tasks("train")]
        actor = PolicyActor(WALKER)
        batches = run_wave(searches, actor)
        calls = [len(search.tree.calls) for search in searches]
        assert batches == len(actor.batches) == max(calls)
        assert len(actor.batches[0]) == len(searches)
        first = [search.tree.calls[0] for search in searches]
        assert {(call.batch_ms, call.batch_size) for call in first} == {(0.0, len(searches))}
        for tick, batch in enumerate(actor.batches):
            assert len(batch) == sum(count > tick for count in calls)
        assert actor.resets == 1

    def test_a_tree_does_not_depend_on_its_neighbours(self) -> None:
        context = search_context(RECIPE, Corridor(), 1)
        tasks = Corridor().tasks("train")
        together = [TreeSearch(task, context) for task in tasks]
        run_wave(together, PolicyActor(WALKER))
        alone = TreeSearch(tasks[3], context)
        run_wave([alone], PolicyActor(WALKER))
        assert [node_row(n) for n in alone.tree.nodes] == [
            node_row(n) for n in together[3].tree.nodes
        ]

    def test_an_actor_that_answers_too_little_is_told_so(self) -> None:
        class Lazy(PolicyActor):
            def _answer(self, request: Any) -> GenerateResult:
                result = super()._answer(request)
                return dataclasses.replace(result, completions=result.completions[:1])

        context = search_context(RECIPE, Corridor(), 1)
        search = TreeSearch(Corridor().tasks("train")[0], context)
        with pytest.raises(ModelError, match="asked for"):
            run_wave([search], Lazy(WALKER))


class TestTasks:
    def test_rounds_take_the_next_ones_and_begin_again(self) -> None:
        tasks = [Task(str(i), "train", "") for i in range(10)]
        recipe = dataclasses.replace(RECIPE, search=SearchSettings(tasks=4))
        shares = [[task.name for task in round_tasks(tasks, recipe, i)] for i in (1, 2, 3, 4)]
        assert all(len(set(share)) == 4 for share in shares)
        everything = shares[0] + shares[1] + shares[2][:2]
        assert sorted(everything) == sorted(task.name for task in tasks)
        assert shares[2][2:] == shares[0][:2]
        assert everything != [task.name for task in tasks]

    def test_the_order_is_the_seed_s(self) -> None:
        tasks = [Task(str(i), "train", "") for i in range(50)]
        one, other = (dataclasses.replace(RECIPE, seed=seed) for seed in (1, 2))
        assert round_tasks(tasks, one, 1) == round_tasks(tasks, one, 1)
        assert round_tasks(tasks, one, 1) != round_tasks(tasks, other, 1)

    @pytest.mark.parametrize("count", [0, 10, 99])
    def test_all_of_them(self, count: int) -> None:
        tasks = [Task(str(i), "train", "") for i in range(10)]
        recipe = dataclasses.replace(RECIPE, search=SearchSettings(tasks=count))
        for index in (1, 2):
            assert len({task.name for task in round_tasks(tasks, recipe, index)}) == 10

    def test_waves(self) -> None:
        assert [len(wave) for wave in split_waves(Corridor().tasks("train"), 3)] == [3, 3, 2]

    def test_an_environment_without_tasks(self, tmp_path: Path) -> None:
        class Empty(Corridor):
            def tasks(self, split: str) -> list[Task]:
                return []

        store, run_id = new_run(tmp_path / "runs.db")
        with pytest.raises(UsageError, match="no training tasks"):
            stage(store, run_id, PolicyActor(WALKER), env=Empty())


class TestStage:
    def test_stores_trees_calls_cost_and_summary(self, tmp_path: Path) -> None:
        store, run_id = new_run(tmp_path / "runs.db")
        actor = PolicyActor(WALKER)
        summary = stage(store, run_id, actor)
        rows = trees.list_trees(store, run_id)
        assert [row.wave for row in rows] == [0, 0, 0, 1, 1, 1, 2]
        assert [row.task.name for row in rows] == [
            task.name for task in round_tasks(Corridor().tasks("train"), RECIPE, 1)
        ]
        assert actor.resets == 3
        assert summary["trees"] == 7 and summary["failed"] == 0
        assert summary["nodes"] == sum(row.node_count for row in rows)
        assert summary["simulations"] == sum(row.simulations for row in rows)
        assert summary["calls"] == actor.usage.calls
        assert summary["output_tokens"] == actor.usage.output_tokens
        assert 0 < summary["valid_samples"] < summary["samples"]
        row = runs.stage_status(store, run_id, 1, "search")
        assert row is not None and row.finished and row.summary == summary
        assert row.output_tokens == actor.usage.output_tokens and row.wall_s > 0

    def test_a_finished_stage_is_not_done_again(self, tmp_path: Path) -> None:
        store, run_id = new_run(tmp_path / "runs.db")
        first = stage(store, run_id, PolicyActor(WALKER))
        idle = PolicyActor(WALKER)
        assert stage(store, run_id, idle) == first and not idle.batches

    def test_a_broken_task_is_a_row(self, tmp_path: Path) -> None:
        class Fragile(Corridor):
            def step(self, action: str) -> StepResult:
                if self._state.length == 5:
                    raise RuntimeError("length five")
                return super().step(action)

        store, run_id = new_run(tmp_path / "runs.db")
        summary = stage(store, run_id, PolicyActor(WALKER), env=Fragile())
        failed = [row for row in trees.list_trees(store, run_id) if row.error]
        assert summary["failed"] == len(failed) > 0 and summary["trees"] == 7
        assert all(row.task.level == 5 and "length five" in (row.error or "") for row in failed)
        assert all(trees.load_tree(store, row.id)[0].observation for row in failed)

    def test_stored_paths_replay(self, tmp_path: Path) -> None:
        store, run_id = new_run(tmp_path / "runs.db")
        stage(store, run_id, PolicyActor(WALKER))
        for row in trees.list_trees(store, run_id):
            for node in trees.load_tree(store, row.id):
                steps = trees.path_steps(store, row.id, node.idx)
                assert len(steps) == node.depth
                if steps:
                    assert steps[-1].observation == node.observation

    def test_progress_counts_every_simulation_once(self, tmp_path: Path) -> None:
        class Log(Progress):
            whole = counted = initial = 0
            ended = ""

            def __init__(self) -> None:
                super().__init__(quiet=True)

            def start(self, label: str, total: int | None = None, *, initial: int = 0) -> None:
                self.counted, self.initial = 0, initial
                self.whole = total or 0

            def advance(self, n: int = 1, note: str = "") -> None:
                self.counted += n

            def finish(self, note: str = "") -> None:
                self.ended = note

        store, run_id = new_run(tmp_path / "runs.db")
        log: Any = Log()
        with pytest.raises(KeyboardInterrupt):
            stage(store, run_id, PolicyActor(WALKER, fail_at=30), progress=log)
        again: Any = Log()
        stage(store, run_id, PolicyActor(WALKER), progress=again)
        assert again.whole == 21 and again.initial + again.counted == 21
        assert again.initial > 0 and "7 trees" in again.ended


class TestResume:
    def test_interrupted_and_resumed_equals_uninterrupted(self, tmp_path: Path) -> None:
        expected, expected_row, batches = uninterrupted(tmp_path / "whole.db")
        assert batches > 20
        for cut in range(0, batches, 4):
            store, run_id = new_run(tmp_path / f"cut-{cut}.db")
            with pytest.raises(KeyboardInterrupt):
                stage(store, run_id, PolicyActor(WALKER, fail_at=cut))
            assert not runs.stage_status(store, run_id, 1, "search").finished
            store.close()
            with Store.open(store.path) as again:
                stage(again, run_id, PolicyActor(WALKER))
                assert list(summaries.dump_trees(again, run_id, 1)) == expected
                row = runs.stage_status(again, run_id, 1, "search")
                assert row.summary == expected_row.summary
                assert row.output_tokens == expected_row.output_tokens
                assert again.rows("PRAGMA foreign_key_check") == []

    def test_killed_and_resumed_equals_uninterrupted(self, tmp_path: Path) -> None:
        expected, _, batches = uninterrupted(tmp_path / "whole.db")
        store, run_id = new_run(tmp_path / "killed.db")
        store.close()
        child = (
            "import os, signal, tests.runs.test_search_stage as t\n"
            "die = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"
            f"actor = t.PolicyActor(t.WALKER, fail_at={batches * 2 // 3}, failure=die)\n"
            f"t.stage(t.Store.open({str(store.path)!r}), {run_id!r}, actor)\n"
        )
        ended = subprocess.run([sys.executable, "-c", child], check=False)
        assert ended.returncode == -signal.SIGKILL
        with Store.open(store.path) as again:
            assert trees.list_trees(again, run_id)
            stage(again, run_id, PolicyActor(WALKER))
            assert list(summaries.dump_trees(again, run_id, 1)) == expected

    def test_cut_twice(self, tmp_path: Path) -> None:
        expected, _, batches = uninterrupted(tmp_path / "whole.db")
        store, run_id = new_run(tmp_path / "cut.db")
        for cut in (batches // 2, 3):
            with pytest.raises(ModelError):
                stage(store, run_id, PolicyActor(WALKER, fail_at=cut, failure=model_gone))
        stage(store, run_id, PolicyActor(WALKER))
        assert list(summaries.dump_trees(store, run_id, 1)) == expected

    def test_whole_waves_are_kept_and_a_cut_one_is_searched_again(self, tmp_path: Path) -> None:
        _, _, batches = uninterrupted(tmp_path / "whole.db")
        store, run_id = new_run(tmp_path / "cut.db")
        with pytest.raises(KeyboardInterrupt):
            stage(store, run_id, PolicyActor(WALKER, fail_at=batches - 1))
        kept = {row.id: row.wave for row in trees.list_trees(store, run_id)}
        assert set(kept.values()) >= {0, 1}
        actor = PolicyActor(WALKER)
        stage(store, run_id, actor)
        assert actor.resets == 1
        after = {row.id for row in trees.list_trees(store, run_id)}
        assert {one for one, wave in kept.items() if wave < 2} <= after

    def test_half_a_surrogate_pair_in_an_action_is_stored_readably(self, tmp_path: Path) -> None:
        store, run_id = new_run(tmp_path / "runs.db")
        stage(store, run_id, PolicyActor(wanderer("\ud83d forward")))
        tree = trees.list_trees(store, run_id)[0]
        assert {"? forward"} == {n.action for n in trees.load_tree(store, tree.id)[1:]}

    def test_a_tree_ended_before_the_cut_can_be_looked_at(self, tmp_path: Path) -> None:
        store, run_id = new_run(tmp_path / "runs.db")
        recipe = dataclasses.replace(RECIPE, search=dataclasses.replace(RECIPE.search, wave=8))
        seen = 0
        for cut in range(100):
            try:
                stage(store, run_id, PolicyActor(WALKER, fail_at=cut), recipe)
            except KeyboardInterrupt:
                committed = trees.list_trees(store, run_id)
                seen = max(seen, len(committed))
                assert all(trees.load_tree(store, row.id) for row in committed)
        assert seen > 0

    def test_a_full_disk_stops_the_stage_and_loses_nothing(self, tmp_path: Path) -> None:
        expected, _, _ = uninterrupted(tmp_path / "whole.db")
        store, run_id = new_run(tmp_path / "full.db")
        store.execute(f"PRAGMA max_page_count = {store.scalar('PRAGMA page_count') + 1}")
        with pytest.raises(StoreError, match="full"):
            stage(store, run_id, PolicyActor(WALKER))
        store.close()
        with Store.open(store.path) as again:
            stage(again, run_id, PolicyActor(WALKER))
            assert list(summaries.dump_trees(again, run_id, 1)) == expected


def model_gone() -> ModelError:
    return ModelError("the model is gone")
