"""Stages that runs share are found and copied, as if each run had computed them itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store
from agentr_lite.store.evals import list_eval_items, list_evals
from agentr_lite.store.records import Stage
from agentr_lite.store.runs import list_runs, set_run_model, stage_status
from agentr_lite.store.splices import list_adapters
from agentr_lite.store.summaries import dump_trees
from agentr_lite.study.jobs import resolution
from agentr_lite.study.jobs.cells import EQUAL_DATA, Cell, study_cells
from agentr_lite.study.jobs.model_digests import ModelDigests
from agentr_lite.study.jobs.resolution import Resolution, agent_examples, resolve_cell
from agentr_lite.study.jobs.run_index import RunIndex
from agentr_lite.study.jobs.stage_cache import copy_cached_stage
from agentr_lite.study.jobs.stage_inputs import eval_inputs, search_inputs
from agentr_lite.study.outcomes.records import OutcomeReader
from agentr_lite.study.outcomes.results import study_results
from agentr_lite.study.recipe import load_study
from tests.support import loop_case, study_case
from tests.support.study_case import Command


def test_base_and_first_trees_are_played_once(
    study: Command, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[int] = []
    original = loop_case.trees.save_tree

    def counted(store: Store, **values: Any) -> int:
        searched.append(values["round_index"])
        return original(store, **values)

    monkeypatch.setattr(loop_case.trees, "save_tree", counted)
    done = study(study_file)
    # Five tasks a search; each seed is searched for one of its two methods.
    assert searched == [1] * 10
    assert done.err.count("round 0: greedy") == 1
    # Sampled episodes differ from seed to seed.
    sampled = study(study_file, "--set", "set.eval.samples=1", db="sampled.db")
    assert sampled.err.count("round 0: greedy") == 2
    db = study_file.parent / "s.db"
    with Store.open(db, create=False, read_only=True) as store:
        runs = {f"{r.recipe['name']} {r.seed}": r.id for r in list_runs(store)}
        mine, theirs = runs["corridor-verified 2"], runs["corridor-good 2"]
        assert list(dump_trees(store, mine, 1)) == list(dump_trees(store, theirs, 1))
        assert len(list(dump_trees(store, mine, 1))) > 5
        for run_id in runs.values():
            stage = stage_status(store, run_id, 0, "eval")
            assert stage is not None
            assert stage.finished


def test_a_shared_start_changes_no_result(study: Command, study_file: Path) -> None:
    assert study(study_file, "--only", "corridor/good/1", db="alone.db").code == 0
    assert study(study_file).code == 0
    whole = study_case.contents(study_file.parent / "s.db")["corridor-good 1"]
    alone = study_case.contents(study_file.parent / "alone.db")["corridor-good 1"]

    assert study_case.without_usage(whole) == study_case.without_usage(alone)


def test_an_older_run_of_the_same_settings_counts(study: Command, study_file: Path) -> None:
    """Whatever it is called, and though keys have come since."""
    study(study_file, "--only", "corridor/base/1")
    with Store.open(study_file.parent / "s.db") as store:
        run = list_runs(store)[0]
        old = {**run.recipe, "name": "something else"}
        old["search"] = {k: v for k, v in old["search"].items() if k != "merge"}
        # How many processes train changes no result.
        old["train"] = {**old["train"], "workers": 2}
        store.execute("UPDATE runs SET recipe = ? WHERE id = ?", (json.dumps(old), run.id))
    study(study_file, "--only", "corridor/base/1")
    assert len(study_case.run_names(study_file.parent / "s.db")) == 1


def test_another_model_makes_every_run_another(
    study: Command, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(study_file, "--only", "corridor/base/1")
    db = study_file.parent / "s.db"
    with Store.open(db) as store:
        set_run_model(store, list_runs(store)[0].id, {"sha256": "a" * 64})
        cells = study_cells(load_study(str(study_file)), ["corridor/base/1"])
        for digest, expected in (("a" * 64, True), ("b" * 64, False), (None, True)):
            run = RunIndex(store).find(cells[0].recipe, digest)
            assert (run is not None) == expected


def test_equal_data_takes_as_many_examples(study: Command, study_file: Path) -> None:
    folder = study_file.parent / "equal"
    path = study_case.write_study(
        folder,
        ablations="{equal_data: true, flawless: false, critic: false, budget: false, merge: false}",
        text=study_case.STUDY.replace("verified, good", "verified, naive"),
    )
    first = study(path, "--only", f"corridor/{EQUAL_DATA}/1")
    assert first.code == 2
    assert "needs round 1 of corridor/verified/1" in first.err
    assert study(path).code == 0
    with Store.open(folder / "s.db", create=False, read_only=True) as store:
        index, digests = RunIndex(store), ModelDigests()
        for seed in (1, 2):
            resolutions = {
                cell.method: resolve_cell(store, index, digests, cell)
                for cell in study_cells(load_study(str(path)), [f"*/*/{seed}"])
            }
            assert all(resolved.finished for resolved in resolutions.values())
            equal, verified = resolutions[EQUAL_DATA].run, resolutions["verified"].run
            assert equal is not None
            assert verified is not None
            assert agent_examples(store, equal.id, 1) <= agent_examples(store, verified.id, 1)
    assert "Naive against verified at equal data" in (folder / "out" / "results.md").read_text()


def test_a_naive_run_answers_for_equal_data_once_it_is_evaluated(
    study: Command, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = study_file.parent / "equal"
    path = study_case.write_study(
        folder,
        ablations="{equal_data: true, flawless: false, critic: false, budget: false, merge: false}",
        text=study_case.STUDY.replace("verified, good", "verified, naive"),
    )
    assert study(path, "--set", "rounds=2").code == 0
    # As where both have made as many.
    monkeypatch.setattr(resolution, "agent_examples", lambda *_: 5)
    naive, equal = study_cells(
        load_study(str(path), ["rounds=2"]), ["corridor/naive/1", f"corridor/{EQUAL_DATA}/1"]
    )
    with Store.open(folder / "s.db") as store:

        def resolve(cell: Cell) -> Resolution:
            return resolve_cell(store, RunIndex(store), ModelDigests(), cell)

        run = resolve(naive).run
        assert run is not None and resolve(equal).run == run
        # The ablation does not use the run's later rounds.
        assert (naive.recipe.rounds, equal.recipe.rounds) == (2, 1)
        reader = OutcomeReader(store, load_study(str(path), ["rounds=2"]), command="study")
        [results] = study_results(reader.records(), folder).environments
        lasts = {(result.method, result.seed): result.last_round for result in results.runs}
        assert (lasts["naive", 1], lasts[EQUAL_DATA, 1]) == (2, 1)
        store.execute(
            "UPDATE rounds SET finished_utc = NULL WHERE run_id = ? AND round = 1"
            " AND stage = 'eval'",
            (run.id,),
        )
        assert not resolve(equal).finished
        assert resolve(equal).reason == "needs round 1 of corridor/naive/1"


def test_copied_starts_equal_the_original(study_file: Path, study: Command) -> None:
    study(study_file, "--only", "corridor/base/1", "--only", "corridor/verified/1")
    with Store.open(study_file.parent / "s.db") as store:
        source = next(run.id for run in list_runs(store) if run.recipe["rounds"])
        cells = study_cells(load_study(str(study_file)), ["corridor/good"])
        first, second = (create_run(store, cell.recipe) for cell in cells)

        def is_copied(run: str, seed: int, number: int, stage: Stage) -> bool:
            original = copy_cached_stage(
                store, RunIndex(store), run, cells[seed - 1].recipe, None, number, stage
            )
            row = stage_status(store, run, number, stage)
            assert (original is not None) == (row is not None and row.finished)
            return original is not None

        # Another seed's base serves as well; its trees do not.
        assert is_copied(first, 1, 0, "eval")
        assert is_copied(second, 2, 0, "eval")
        assert is_copied(first, 1, 1, "search")
        assert not is_copied(second, 2, 1, "search")
        grown = [row for row in dump_trees(store, source, 1) if row[0] not in ("judge", "recover")]
        assert list(dump_trees(store, first, 1)) == grown

        def episodes(run: str) -> list[Any]:
            rows = list_evals(store, run, round_index=0)
            return [list_eval_items(store, row.id) for row in rows]

        assert episodes(first) == episodes(second) == episodes(source)
        # The copy names the seed of its own run.
        for run, seed in ((first, 1), (second, 2), (source, 1)):
            assert list_evals(store, run, round_index=0)[0].summary["settings"]["seed"] == seed


def test_methods_with_the_same_examples_are_trained_once(
    study: Command, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Path] = []
    original = loop_case.lora.train_lora

    def counted(*arguments: Any, **named: Any) -> Any:
        trained.append(named["out_dir"])
        return original(*arguments, **named)

    monkeypatch.setattr(loop_case.lora, "train_lora", counted)
    environments = study_file.read_text().replace(
        "methods:",
        f"  fewer: {{recipe: {study_file.parent / 'loop.yaml'},"
        " set: {splice: {pairs_per_task: 1}}}\nmethods:",
    )
    study_file.write_text(environments)
    grid = ("--set", "methods=[good, verified]", "--set", "seeds=[1]", "--set", "rounds=2")
    done = study(study_file, *grid)
    assert done.code == 0, done.err
    # Good trajectories do not depend on the pairs; revisions do.
    assert len(trained) == 6
    db = study_file.parent / "s.db"
    with Store.open(db, create=False, read_only=True) as store:
        runs = {run.recipe["name"]: run.id for run in list_runs(store)}
        first, second = runs["corridor-good"], runs["fewer-good"]
        for stage_name in ("round 1 train", "round 1 eval", "round 2 search", "round 2 train"):
            assert f"{stage_name}: the same as in {first}" in done.err
        adapters = [list_adapters(store, run_id) for run_id in (first, second)]
        assert [row.gguf_sha256 for row in adapters[0]] == [row.gguf_sha256 for row in adapters[1]]
        assert [row.round for row in adapters[1]] == [1, 2]
        for row in adapters[1]:
            assert second in row.mlx_dir
            assert Path(row.gguf_path).is_file()
            stage = stage_status(store, second, row.round, "train")
            assert stage is not None
            assert stage.summary["dataset_id"] == row.dataset_id
    # By itself it comes to the same.
    assert study(study_file, *grid, "--only", "fewer/good", db="alone.db").code == 0
    mine, alone = (study_case.contents(study_file.parent / name) for name in ("s.db", "alone.db"))
    assert study_case.without_usage(mine["fewer-good 1"]) == study_case.without_usage(
        alone["fewer-good 1"]
    )


def test_a_stage_is_shared_by_runs_with_equal_inputs(study_file: Path) -> None:
    cells = {cell.name: cell for cell in study_cells(load_study(str(study_file)))}

    def inputs(of_stage: Callable[[Any], Any], name: str, **changes: Any) -> Any:
        data = cells[name].recipe.to_dict()
        for group, keys in changes.items():
            data[group] |= keys
        return of_stage(data)

    mine, other, base = "corridor/verified/1", "corridor/good/1", "corridor/verified/2"
    for stage in (eval_inputs, search_inputs):
        assert inputs(stage, mine) == inputs(stage, other)
        assert inputs(stage, mine) != inputs(stage, mine, agent={"brief": True})
    assert inputs(eval_inputs, mine) == inputs(eval_inputs, base)
    assert inputs(eval_inputs, mine) == inputs(eval_inputs, mine, search={"width": 9})
    assert inputs(eval_inputs, mine) != inputs(eval_inputs, mine, eval={"tasks": 9})
    assert inputs(search_inputs, mine) != inputs(search_inputs, base)
    assert inputs(search_inputs, mine) != inputs(search_inputs, mine, search={"c": 9})
    assert inputs(search_inputs, mine) == inputs(search_inputs, mine, train={"rank": 9})
