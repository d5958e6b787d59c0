"""Texts, and every table's round trip."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.core.errors import UsageError
from agentr_lite.core.openings import Opening
from agentr_lite.core.steps import Step
from agentr_lite.core.usage import Usage
from agentr_lite.recipe.settings import Recipe
from agentr_lite.store import Store, evals, runs, splices, summaries, trees
from agentr_lite.store.records import (
    DatasetItemRow,
    EpisodeStep,
    EvalItemRow,
    JudgementRow,
    TaskRow,
)
from tests.support.store_cases import NODES, TASK, new_run, new_tree, node


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "runs.db")


class TestTexts:
    def test_equal_texts_are_stored_once(self, store: Store) -> None:
        first = store.text_id("hello")
        assert store.text_ids(["hello", "other", "hello"])["hello"] == first
        assert store.scalar("SELECT count(*) FROM texts") == 2

    def test_many_at_once(self, store: Store) -> None:
        contents = [f"text {i}" for i in range(1_200)]
        ids = store.text_ids(contents)
        assert store.texts(ids.values()) == {ids[content]: content for content in contents}

    @pytest.mark.parametrize("content", ["", "nul\0inside", "escape \x1b[31m", "grün 木"])
    def test_any_text_comes_back(self, store: Store, content: str) -> None:
        assert store.text(store.text_id(content)) == content

    def test_half_a_surrogate_pair_is_stored_readably(self, store: Store) -> None:
        assert store.text(store.text_id("a\ud83db")) == "a?b"

    def test_unknown_id(self, store: Store) -> None:
        with pytest.raises(KeyError, match="99"):
            store.text(99)


class TestRuns:
    def test_round_trip(self, store: Store) -> None:
        run = runs.get_run(store, new_run(store))
        assert run.status == "running" and run.finished_utc is None
        assert run.recipe == Recipe().to_dict()
        assert run.model_sha256 == "ab" and run.model_description["n"] == 1
        runs.set_run_status(store, run.id, "failed", error="boom")
        failed = runs.get_run(store, run.id)
        assert failed.error == "boom" and failed.finished_utc is not None

    def test_ids_are_readable_sortable_and_unique(self, store: Store) -> None:
        ids = [new_run(store) for _ in range(5)]
        assert len(set(ids)) == 5 and ids == sorted(ids)
        assert [run.id for run in runs.list_runs(store)] == ids[::-1]
        environment, date, moment = ids[0].split("-")
        assert (environment, len(date), len(moment)) == ("textcraft", 8, 4)

    def test_found_by_a_beginning_or_as_latest(self, store: Store) -> None:
        first = new_run(store)
        assert runs.get_run(store, first[:-1]).id == first
        second = new_run(store)
        assert runs.get_run(store, "latest").id == second
        with pytest.raises(UsageError, match="several"):
            runs.get_run(store, "textcraft")
        with pytest.raises(UsageError, match="no run 'webshop-1'"):
            runs.get_run(store, "webshop-1")

    def test_a_cut_stage_keeps_its_cost_and_a_repeated_one_does_not(self, store: Store) -> None:
        run_id = new_run(store)
        cost = Usage(calls=1, prompt_tokens=10, decoded_prompt_tokens=4, output_tokens=3)
        assert runs.stage_status(store, run_id, 1, "search") is None
        runs.stage_started(store, run_id, 1, "search")
        runs.add_stage_usage(store, run_id, 1, "search", usage=cost, wall_s=2.0)
        runs.stage_started(store, run_id, 1, "search")
        runs.stage_finished(
            store, run_id, 1, "search", usage=cost, wall_s=1.0, summary={"trees": 2}
        )
        row = runs.stage_status(store, run_id, 1, "search")
        assert row is not None and row.finished and row.summary == {"trees": 2}
        assert (row.wall_s, row.prompt_tokens, row.output_tokens) == (3.0, 20, 6)
        runs.stage_started(store, run_id, 1, "search")
        [row] = runs.list_stages(store, run_id)
        assert not row.finished and row.wall_s == 0.0 and row.summary == {}

    def test_usage_since(self) -> None:
        before, now = Usage(1, 10, 5, 2, 1.5), Usage(4, 30, 9, 8, 4.0)
        assert runs.usage_since(before, now) == Usage(3, 20, 4, 6, 2.5)

    def test_metrics(self, store: Store) -> None:
        run_id = new_run(store)
        runs.add_metrics(store, run_id, 1, [("loss", 0, 2.0), ("loss", 1, 1.0)])
        runs.add_metrics(store, run_id, 1, [("loss", 1, 0.5), ("other", 0, 9.0)])
        points = runs.list_metrics(store, run_id, name="loss")
        assert [(point.step, point.value) for point in points] == [(0, 2.0), (1, 0.5)]


class TestTrees:
    def test_round_trip(self, store: Store) -> None:
        run_id = new_run(store)
        tree_id = new_tree(store, run_id, error="odd")
        [row] = trees.list_trees(store, run_id)
        assert row == trees.get_tree(store, tree_id)
        assert (row.task.name, row.task.level, row.best_reward) == ("stick", 1, 1.0)
        assert (row.node_count, row.simulations, row.error) == (5, 2, "odd")
        loaded = trees.load_tree(store, tree_id)
        assert all(one.tree_id == tree_id for one in loaded)
        for one, expected in zip(loaded, NODES, strict=True):
            assert one.to_step() == expected.to_step() if expected.idx else one.text == ""
            assert (one.idx, one.parent_idx, one.depth) == (
                expected.idx,
                expected.parent_idx,
                expected.depth,
            )
            assert (one.visits, one.value_sum, one.merged) == (
                expected.visits,
                expected.value_sum,
                expected.merged,
            )
        assert trees.tree_opening(store, tree_id) == Opening("play", "observation 0")
        calls = trees.list_calls(store, tree_id)
        assert [(call.node_idx, tuple(call.seeds)) for call in calls] == [
            (0, (5, 6, 7, 8)),
            (1, (9,)),
        ]

    def test_paths(self, store: Store) -> None:
        tree_id = new_tree(store, new_run(store))
        assert [one.idx for one in trees.path_nodes(store, tree_id, 4)] == [0, 2, 4]
        steps = trees.path_steps(store, tree_id, 3)
        assert [step.action for step in steps] == ["left", "wait"]
        assert steps[1].truncated and steps[1].invalid
        assert trees.path_steps(store, tree_id, 0) == []
        with pytest.raises(KeyError, match="no node 9"):
            trees.path_steps(store, tree_id, 9)

    def test_a_path_is_found_without_reading_the_tree(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tree_id = new_tree(store, new_run(store))
        queries: list[tuple[str, Any]] = []
        rows = store.rows
        monkeypatch.setattr(store, "rows", lambda *query: queries.append(query) or rows(*query))
        trees.path_nodes(store, tree_id, 4)
        [(sql, params)] = queries
        plan = [row["detail"] for row in rows(f"EXPLAIN QUERY PLAN {sql}", params)]
        on_nodes = [line for line in plan if line.startswith(("SEARCH n", "SCAN n"))]
        assert len(on_nodes) == 3 and all("idx=?" in line for line in on_nodes)

    def test_children_in_pages(self, store: Store) -> None:
        tree_id = new_tree(store, new_run(store))
        assert [one.idx for one in trees.load_children(store, tree_id, 0)] == [1, 2]
        assert [one.idx for one in trees.load_children(store, tree_id, 0, limit=1, offset=1)] == [2]
        assert trees.child_counts(store, tree_id) == {0: 2, 1: 1, 2: 1}

    def test_a_tree_that_cannot_be_stored_whole_is_not_stored(self, store: Store) -> None:
        run_id = new_run(store)
        with pytest.raises(sqlite3.IntegrityError):
            new_tree(store, run_id, nodes=[*NODES, node(5, 4, 3, reward=2.0)])
        assert trees.list_trees(store, run_id) == []

    def test_the_view_for_people(self, store: Store) -> None:
        new_tree(store, new_run(store))
        row = store.row("SELECT * FROM node_texts WHERE idx = 4")
        assert row is not None and (row["action"], row["value"]) == ("win", 1.0)

    def test_copies_are_equal_and_their_own(self, store: Store) -> None:
        source, target = new_run(store), new_run(store)
        new_tree(store, source)
        texts = store.scalar("SELECT count(*) FROM texts")
        assert trees.copy_trees(store, source, target, 1) == 1
        assert list(summaries.dump_trees(store, source, 1)) == list(
            summaries.dump_trees(store, target, 1)
        )
        assert store.scalar("SELECT count(*) FROM texts") == texts
        runs.delete_run(store, source)
        assert trees.list_trees(store, target)

    def test_bytes_a_node_do_not_grow_with_depth(self, store: Store, tmp_path: Path) -> None:
        def bytes_a_node(depth: int) -> float:
            with Store.open(tmp_path / f"{depth}.db") as one:
                empty = one.scalar("PRAGMA page_count")
                chain = [node(0, None, 0)] + [
                    node(i, i - 1, i, f"action {i:05}", observation=f"you see thing {i:05} " * 5)
                    for i in range(1, depth)
                ]
                new_tree(one, new_run(one), nodes=chain, calls=[])
                return (one.scalar("PRAGMA page_count") - empty) * 4096 / depth

        shallow, deep = bytes_a_node(500), bytes_a_node(8_000)
        assert deep < shallow * 1.2
        assert deep < 500


class TestSplices:
    def test_round_trip_and_delete(self, store: Store) -> None:
        run_id = new_run(store)
        tree_id = new_tree(store, run_id)
        good = splices.save_trajectory(store, tree_id, 4, kind="good", reward=1.0, steps=2)
        bad = splices.save_trajectory(store, tree_id, 3, kind="bad", reward=0.0, steps=2)
        assert good == splices.save_trajectory(store, tree_id, 4, kind="good", reward=1.0, steps=2)
        assert [row.id for row in splices.list_trajectories(store, run_id, kind="bad")] == [bad]
        verdict = JudgementRow(bad, 0, 1, "bad", "score", scores=[-1.0, -0.5, -2.0])
        words = JudgementRow(bad, 1, 3, "uncertain", "reason", reason="hm")
        splices.save_judgements(store, [verdict, words])
        assert splices.list_judgements(store, run_id, tree_id=tree_id) == [verdict, words]
        messages = [{"role": "user", "content": "go"}, {"role": "assistant", "content": "ok"}]
        values = {
            "run_id": run_id,
            "round_index": 1,
            "good_id": good,
            "bad_id": bad,
            "parting_step": 0,
            "cut_step": 1,
            "reflection": "oops",
            "revision_length": 1,
        }
        revision_id = splices.save_revision(
            store,
            **values,
            naive_reward=1.0,
            status="replayed",
            reason="as good",
            messages=messages,
            loss=[False, True],
        )
        row = splices.get_revision(store, revision_id)
        assert row.messages == messages and row.loss == [False, True]
        assert (row.reflection, row.task, row.naive_reward) == ("oops", "stick", 1.0)
        rejected = splices.save_revision(
            store, **values, naive_reward=0.0, status="rejected", reason="replay failed"
        )
        assert [one.id for one in splices.list_revisions(store, run_id)] == [rejected]
        assert splices.list_revisions(store, run_id, accepted=True) == []
        with pytest.raises(ValueError, match="one loss flag each"):
            splices.save_revision(
                store,
                **values,
                naive_reward=None,
                status="naive",
                reason="",
                messages=messages,
                loss=[True],
            )
        splices.delete_splices(store, run_id, 1, tree_id=tree_id)
        assert splices.list_trajectories(store, run_id) == []
        assert splices.list_revisions(store, run_id) == []

    def test_datasets_and_adapters(self, store: Store) -> None:
        run_id = new_run(store)
        items = [DatasetItemRow(0, "general", "train", general_line=7)]
        dataset = splices.save_dataset(store, run_id, 1, settings={"eta": 0.2}, items=items)
        [row] = splices.list_datasets(store, run_id)
        assert (row.id, row.items, row.settings) == (dataset, 1, {"eta": 0.2})
        assert splices.list_dataset_items(store, dataset) == items
        assert splices.get_adapter(store, run_id, 1) is None
        for digest in ("aa", "bb"):
            splices.save_adapter(
                store,
                run_id=run_id,
                round_index=1,
                dataset_id=dataset,
                mlx_dir="m",
                gguf_path="g",
                gguf_sha256=digest,
                summary={"loss": 1.5},
            )
        adapter = splices.get_adapter(store, run_id, 1)
        assert adapter is not None and adapter.gguf_sha256 == "bb"
        assert splices.list_adapters(store, run_id) == [adapter]


class TestEvals:
    def test_round_trip(self, store: Store) -> None:
        run_id = new_run(store)
        eval_id = evals.open_eval(store, run_id, 0, "greedy", "test")
        assert evals.open_eval(store, run_id, 0, "greedy", "test") == eval_id
        task_id = runs.task_ids(store, "textcraft", [TASK])["stick"]
        task = TaskRow(task_id, "textcraft", "stick", "train", "craft a stick", 1)
        item = EvalItemRow(
            task, 0, 1.0, True, 2, 0, 1, 0, (EpisodeStep(Step("t", "win", "o")),), None
        )
        evals.save_eval_items(store, eval_id, [(task_id, item)])
        evals.save_eval_items(store, eval_id, [(task_id, item)])
        assert evals.list_eval_items(store, eval_id) == [item]
        assert evals.list_eval_items(store, eval_id, with_episodes=False)[0].episode == ()
        evals.set_eval_summary(store, eval_id, {"success": 0.5})
        [row] = evals.list_evals(store, run_id, mode="greedy")
        assert row.summary == {"success": 0.5}


class TestDelete:
    def test_deletes_everything_of_one_run_and_nothing_of_another(self, store: Store) -> None:
        gone, kept = new_run(store), new_run(store)
        new_tree(store, gone, instructions="only in the first")
        tree_id = new_tree(store, kept)
        good = splices.save_trajectory(store, tree_id, 4, kind="good", reward=1.0, steps=2)
        before = list(summaries.dump_trees(store, kept, 1))
        runs.delete_run(store, gone)
        assert [run.id for run in runs.list_runs(store)] == [kept]
        assert list(summaries.dump_trees(store, kept, 1)) == before
        assert [row.id for row in splices.list_trajectories(store, kept)] == [good]
        assert store.scalar("SELECT count(*) FROM nodes") == len(NODES)
        contents = {row[0] for row in store.rows("SELECT content FROM texts")}
        assert "only in the first" not in contents and "play" in contents
        assert store.rows("PRAGMA foreign_key_check") == []
        assert store.scalar("PRAGMA foreign_keys") == 1
