"""``eval`` and ``report`` as a user calls them, over a staircase and a scripted actor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.actors.base import Capabilities
from agentr_lite.cli import main
from agentr_lite.recipe.groups import EvalSettings
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.store.database import Store
from agentr_lite.store.runs import get_run, list_runs, stage_finished, stage_started
from agentr_lite.store.splices import save_adapter, save_dataset
from tests.support.stairs import Policy, Scripted, Stairs, act, always, noisy

RECIPE = Recipe(
    name="tiny", env=(EnvironmentSettings("stairs"),), eval=EvalSettings(max_steps=4, batch=1)
)


class Model(Scripted):
    """An actor that solves everything once it wears an adapter."""

    capabilities = Capabilities(adapters=True)
    description = {"sha256": "f" * 64, "path": "m.gguf"}  # type: ignore[assignment]  # noqa: RUF012

    def use_adapter(self, path: Path | None) -> None:
        assert path == Path("round1.gguf")
        self.policy = always("up")


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AGENTR_LITE_HOME", str(tmp_path))
    return tmp_path / "runs.db"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command gets for an actor and an environment; tests change it."""
    parts: dict[str, Any] = {"policy": noisy, "fail_after": -1, "actors": [], "env": Stairs}

    def open_actor(recipe: Recipe, **_: Any) -> Model:
        actor = Model(parts["policy"], parts["fail_after"])
        parts["actors"].append(actor)
        return actor

    monkeypatch.setattr("agentr_lite.actors.registry.open_actor", open_actor)
    monkeypatch.setattr("agentr_lite.envs.registry.make_env", lambda *_: parts["env"](12))
    return parts


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_info:
        main(list(arguments))
    return int(exit_info.value.code or 0)


def trained_run(db: Path) -> str:
    """A run with an adapter of round 1."""
    with Store.open(db) as store:
        run = create_run(store, RECIPE)
        stage_started(store, run, 1, "train")
        stage_finished(store, run, 1, "train")
        dataset = save_dataset(store, run, 1, settings={}, items=[])
        save_adapter(
            store,
            run_id=run,
            round_index=1,
            dataset_id=dataset,
            mlx_dir="",
            gguf_path="round1.gguf",
            gguf_sha256="",
            summary={},
        )
    return run


def test_base_then_the_trained_round(
    db: Path, machine: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained_run(db)
    assert call("eval", run, "--round", "0", "--json") == 0
    base = json.loads(capsys.readouterr().out)
    assert base["round"] == 0
    assert base["evals"]["greedy"]["successes"] < 12
    assert call("eval", run) == 0  # The last trained round.
    shown = capsys.readouterr()
    assert "round 1  100.0 %" in shown.out
    assert "evaluating round 1" in shown.err
    assert "round 1 solves" in shown.out


def test_what_was_found_is_not_overwritten_by_accident(
    db: Path, machine: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained_run(db)
    assert call("eval", run, "--round", "0") == 0
    assert call("eval", run, "--round", "0", "--tasks", "3") == 2
    assert "--force replaces them" in capsys.readouterr().err
    assert call("eval", run, "--round", "0", "--tasks", "3", "--force", "--json") == 0
    assert json.loads(capsys.readouterr().out)["evals"]["greedy"]["episodes"] == 3


def test_a_recipe_begins_a_run(
    db: Path, machine: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("env: stairs\neval: {max_steps: 4, batch: 4}\n")
    assert call("eval", str(recipe), "--tasks", "6", "--no-recovery", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["evals"]) == ["greedy"]
    assert found["evals"]["greedy"]["episodes"] == 6
    with Store.open(db) as store:
        assert get_run(store, found["run"]).status == "finished"


def test_an_interruption_keeps_finished_groups_and_names_the_command(
    db: Path, machine: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained_run(db)
    machine["fail_after"] = 14
    assert call("eval", run, "--round", "0", "--samples", "1", "-d", str(db)) == 130
    error = capsys.readouterr().err
    command = f"agentr-lite eval {run} -d {db} --round 0 --set eval.samples=1"
    assert f"Go on with: {command}\n" in error
    machine["fail_after"] = -1
    assert call(*command.split()[1:]) == 0
    again = machine["actors"][1]
    assert not any(r.messages[1]["content"].startswith("task0:") for r in again.requests[:4])


@pytest.mark.parametrize("status", ["interrupted", "running"])
def test_an_evaluation_that_was_cut_or_killed_and_goes_on_is_finished(
    db: Path, machine: dict[str, Any], tmp_path: Path, status: str
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("env: stairs\neval: {max_steps: 4, batch: 4}\n")
    machine["fail_after"] = 2
    arguments = ("--tasks", "6", "--no-recovery")
    assert call("eval", str(recipe), *arguments) == 130
    with Store.open(db) as store:
        [run] = list_runs(store)
        assert run.status == "interrupted"
        # A killed process records nothing.
        store.execute("UPDATE runs SET status = ?", (status,))
    machine["fail_after"] = -1
    assert call("eval", run.id) == 0
    with Store.open(db) as store:
        assert get_run(store, run.id).status == "finished"


def test_a_run_of_other_stages_keeps_its_status(db: Path, machine: dict[str, Any]) -> None:
    run = trained_run(db)
    with Store.open(db) as store:
        store.execute("UPDATE runs SET status = 'interrupted'")
    assert call("eval", run, "--round", "0") == 0
    with Store.open(db) as store:
        assert get_run(store, run).status == "interrupted"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--round", "7"], "has not trained round 7"),
        (["--model", "other.gguf"], "model cannot be changed for the existing run"),
        (["--set", "eval.taks=3"], "unknown key 'eval.taks' (did you mean 'eval.tasks'?)"),
        (["--set", "eval.tasks=["], "--set eval.tasks"),
        (["--split", "dev"], "has no tasks in split 'dev'"),
    ],
)
def test_wrong_usage_exits_with_2(
    db: Path,
    machine: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert call("eval", trained_run(db), *arguments) == 2
    assert message in capsys.readouterr().err


def test_another_model_than_the_runs_is_refused(
    db: Path, machine: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(db) as store:
        run = create_run(store, RECIPE, model={"sha256": "0" * 64, "path": "old.gguf"})
    assert call("eval", run) == 3
    assert "not the one that run" in capsys.readouterr().err


def test_a_broken_environment_ends_with_5(
    db: Path, machine: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(messages: Any, seed: int) -> str:
        return act("break" if messages[1]["content"].startswith("task3:") else "up")

    policy: Policy = breaks
    machine["policy"] = policy
    run = trained_run(db)
    assert call("eval", run, "--round", "0", "--json") == 5
    shown = capsys.readouterr()
    assert json.loads(shown.out)["evals"]["greedy"]["faulty"] == 1
    assert "the environment broke in 1 episodes" in shown.err


def test_an_environment_that_breaks_in_all_tasks_ends_with_1(
    db: Path, machine: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    policy: Policy = lambda messages, seed: act("break")  # noqa: E731
    machine["policy"] = policy
    assert call("eval", trained_run(db), "--round", "0", "--json") == 1
    shown = capsys.readouterr()
    figures = json.loads(shown.out)["evals"]["greedy"]
    assert figures["faulty"] == figures["episodes"] > 1


def test_report_of_the_latest_and_of_several_runs(
    db: Path, machine: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = trained_run(db), trained_run(db)
    for run in (first, second):
        assert call("eval", run, "--round", "0") == 0
    capsys.readouterr()
    assert call("report") == 0
    assert capsys.readouterr().out.startswith(f"Run {second}\n")
    assert call("report", first, second, "--md") == 0
    text = capsys.readouterr().out
    assert f"# Run {first}\n" in text
    assert f"\n\n# Run {second}\n" in text
    assert call("report", first, second, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [report["run"]["id"] for report in found] == [first, second]


def test_report_errors(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("report") == 4
    assert "there is no database" in capsys.readouterr().err
    with Store.open(db) as store:
        assert list_runs(store) == []
    assert call("report", "nope", "--json") == 2
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "usage"
    assert call("report", "--md", "--json") == 2
