"""The study command: pooled figures, shared first rounds, no run done twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from corridor import Corridor
from stairs import Policy, Scripted, Stairs, act, always

from agentr_lite.actors.base import Message
from agentr_lite.evaluate import eval_stage
from agentr_lite.pipeline import PipelineResult
from agentr_lite.recipe import EvalSettings, Recipe, SearchSettings
from agentr_lite.report.results import (
    Study,
    gather_study,
    pooled_rate,
    study_sections,
    versus_arm,
    versus_base,
)
from agentr_lite.search.stage import search_stage
from agentr_lite.store import Store
from agentr_lite.store.evals import list_eval_items, list_evals
from agentr_lite.store.runs import (
    create_run,
    get_run,
    list_runs,
    set_run_model,
    set_run_status,
    stage_status,
)
from agentr_lite.store.summaries import dump_trees
from benchmarks import results

RECIPE = Recipe(env="stairs", rounds=1, eval=EvalSettings(max_steps=4, batch=8))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "study.db")


def solves(share: int, of: int = 10) -> Policy:
    """Solves ``share`` of every ``of`` tasks."""

    def policy(messages: Sequence[Message], seed: int) -> str:
        number = int(messages[1]["content"].partition(":")[0].removeprefix("task"))
        return act("up" if number % of < share else "rest")

    return policy


def finished(store: Store, base: Policy, after: Policy, **changes: Any) -> str:
    run = create_run(store, Recipe(**{**RECIPE.__dict__, **changes}))
    for number, policy in enumerate((base, after)):
        eval_stage(store, run, number, RECIPE, Stairs(per_split=60), Scripted(policy))
    set_run_status(store, run, "finished")
    return run


@pytest.fixture
def study(store: Store) -> Study:
    """Two arms, three seeds: 40 % before, 70 % and 50 % after."""
    runs = {
        (arm, seed): finished(store, solves(4), solves(after), seed=seed)
        for arm, after in (("verified", 7), ("good", 5))
        for seed in (1, 2, 3)
    }
    return gather_study(store, runs, labels={"verified": "Agent-R", "good": "good only"})


def test_pooled_figures(study: Study) -> None:
    rate = pooled_rate(study.of("verified"), "greedy", 1)
    assert rate is not None
    assert (rate["value"], rate["n"]) == (pytest.approx(0.7), 60)
    gain = versus_base(study.of("verified"), "greedy", 1)
    assert gain is not None
    assert gain["value"] == pytest.approx(0.3)
    assert gain["by_seed"] == pytest.approx([0.3, 0.3, 0.3])
    between = versus_arm(study, "verified", "good", "greedy", 1)
    assert between is not None
    assert between["value"] == pytest.approx(0.2)


def test_three_copies_of_the_tasks_are_no_more_certain_than_one(study: Study) -> None:
    one = versus_base(study.of("verified")[:1], "greedy", 1)
    three = versus_base(study.of("verified"), "greedy", 1)
    assert one is not None
    assert three is not None
    assert three["low"] == pytest.approx(one["low"])
    assert three["high"] == pytest.approx(one["high"])


def test_sections_name_the_arms_and_the_noise(study: Study) -> None:
    sections = {section.title: section for section in study_sections(study)}
    success = sections["Success on held-out tasks"]
    assert [str(row[0]) for row in success.rows] == [
        "base",
        "Agent-R, round 1",
        "good only, round 1",
    ]
    assert str(success.rows[1][5]) == "+30.0, +30.0, +30.0"
    assert str(success.notes[0]).startswith("Agent-R solves 30.0 points more than base")
    between = sections["Between the methods, last round"]
    assert str(between.notes[0]).startswith("Agent-R solves 20.0 points more than good only")
    assert len(sections["Seed by seed"].rows) == 6


def test_arms_without_a_difference_are_inside_the_noise(store: Store) -> None:
    runs = {(arm, 1): finished(store, solves(4), solves(6), seed=1) for arm in ("verified", "good")}
    section = next(
        s for s in study_sections(gather_study(store, runs)) if s.title.startswith("Between")
    )
    assert "inside the noise" in str(section.notes[0])


@pytest.fixture
def recipe_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(results, "model_digest", lambda recipe: "a" * 64)
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "env: corridor\nrounds: 1\nsearch: {tasks: 3, simulations: 2, width: 2, depth: 6}\n"
        "eval: {max_steps: 4, batch: 8, recovery: false}\n"
    )
    return path


def test_every_arm_is_a_valid_recipe(recipe_file: Path) -> None:
    for arm in results.ARMS:
        recipe = results.study_recipe(str(recipe_file), arm, 7, ["eval.tasks=2"])
        assert (recipe.name, recipe.seed, recipe.eval.tasks) == (f"tiny-{arm}", 7, 2)


def test_the_first_round_is_shared_by_what_it_depends_on(recipe_file: Path) -> None:
    def parts(arm: str, seed: int, *overrides: str) -> dict[str, Any]:
        return results.shared_parts(results.study_recipe(str(recipe_file), arm, seed, overrides))

    assert parts("verified", 1) == parts("direct", 1)
    assert parts("verified", 1) != parts("verified", 2)
    assert parts("verified", 1) != parts("verified", 1, "search.simulations=3")


def test_a_copied_first_round_equals_the_original(store: Store) -> None:
    recipe = Recipe(env="corridor", search=SearchSettings(tasks=3, simulations=3, width=2, depth=6))
    source = create_run(store, recipe, model={"sha256": "a" * 64})
    eval_stage(store, source, 0, recipe, Corridor(), Scripted(always("forward")))

    def wander(messages: Sequence[Message], seed: int) -> str:
        return act(["forward", "take", "open", "back"][seed % 4])

    class Sampler(Scripted):
        def generate(self, requests: Any) -> Any:
            from agentr_lite.actors.base import Completion, GenerateResult

            return [
                GenerateResult(
                    tuple(Completion(wander(r.messages, s), 1, "stop") for s in r.seeds), 1, 0
                )
                for r in requests
            ]

    search_stage(store, source, 1, recipe, Corridor(), Sampler(wander))
    target = create_run(store, recipe)
    results.copy_first_round(store, source, target)
    assert list(dump_trees(store, target, 1)) == list(dump_trees(store, source, 1))
    assert len(list(dump_trees(store, target, 1))) > 3

    def episodes(run: str) -> list[Any]:
        return [list_eval_items(store, row.id) for row in list_evals(store, run)]

    assert episodes(target) == episodes(source)
    for number, stage in ((0, "eval"), (1, "search")):
        copied = stage_status(store, target, number, stage)  # type: ignore[arg-type]
        assert copied is not None
        assert copied.finished
    assert get_run(store, target).model_sha256 == "a" * 64


def test_the_command_runs_each_arm_once_and_writes_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe_file: Path
) -> None:
    done: list[str] = []
    model = "a" * 64

    def run_pipeline(store: Store, run_id: str, recipe: Recipe, **_: Any) -> PipelineResult:
        done.append(recipe.name)
        after = {"tiny-verified": 7, "tiny-good": 5}[recipe.name]
        set_run_model(store, run_id, {"sha256": model})
        for number, share in enumerate((4, after)):
            eval_stage(store, run_id, number, recipe, Stairs(60), Scripted(solves(share)))
        set_run_status(store, run_id, "finished")
        return PipelineResult()

    monkeypatch.setattr("agentr_lite.pipeline.run_pipeline", run_pipeline)
    out = tmp_path / "docs" / "results.md"
    command = ["--recipe", str(recipe_file), "--seeds", "1", "2", "--arms", "verified", "good"]
    command += ["--db", str(tmp_path / "r.db"), "--out", str(out)]
    assert results.main(command) == 0
    assert done == ["tiny-verified", "tiny-good"] * 2
    text = out.read_text()
    assert "- Agent-R, verified solves 30.0 points more than base" in text
    assert "- Agent-R, verified solves 20.0 points more than good trajectories only" in text
    assert str(tmp_path) not in text.replace(str(recipe_file), "")
    assert results.main([*command, "--json", str(tmp_path / "r.json")]) == 0
    assert len(done) == 4
    assert json.loads((tmp_path / "r.json").read_text())[0]["title"].startswith("Success")
    assert out.read_text() == text
    # Another model under the same name makes every run another run.
    model = "b" * 64
    monkeypatch.setattr(results, "model_digest", lambda recipe: model)
    assert results.main(command) == 0
    assert len(done) == 8


def test_a_cut_run_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe_file: Path
) -> None:
    def cut(store: Store, run_id: str, recipe: Recipe, **_: Any) -> None:
        raise KeyboardInterrupt

    resumed: list[str] = []

    def go_on(store: Store, run_id: str, recipe: Recipe, **_: Any) -> None:
        resumed.append(run_id)
        eval_stage(store, run_id, 0, recipe, Stairs(6), Scripted(solves(4)))
        set_run_status(store, run_id, "finished")

    command = ["--recipe", str(recipe_file), "--seeds", "1", "--arms", "verified"]
    command += ["--db", str(tmp_path / "r.db"), "--out", str(tmp_path / "results.md")]
    monkeypatch.setattr("agentr_lite.pipeline.run_pipeline", cut)
    with pytest.raises(KeyboardInterrupt):
        results.main(command)
    monkeypatch.setattr("agentr_lite.pipeline.run_pipeline", go_on)
    assert results.main(command) == 0
    with Store.open(tmp_path / "r.db") as store:
        assert [run.id for run in list_runs(store)] == resumed


def test_nothing_finished_is_an_error(
    tmp_path: Path, recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Store.open(tmp_path / "r.db").close()
    command = ["--recipe", str(recipe_file), "--db", str(tmp_path / "r.db"), "--no-run"]
    assert results.main(command) == 2
    assert "holds no finished run" in capsys.readouterr().err
