"""A run that begins with demonstrations: cut and resumed, it ends as if it had not been cut."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.cli import main
from agentr_lite.core.rounds import reference_round, round_name
from agentr_lite.envs import registry as environments
from agentr_lite.runs.equipment import adapter_in_use
from agentr_lite.runs.pipeline import planned_stages
from agentr_lite.store import Store, evals, runs, splices
from agentr_lite.store.demonstrations import Demonstration, add_demonstrations, list_demonstrations
from agentr_lite.train import lora
from tests.runs.test_pipeline import cut
from tests.support import corridor, loop_case
from tests.support.command_line import Call


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return loop_case.write_recipe(tmp_path / "case", loop_case.IMITATION)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The database of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        loop_case.install(patch.setattr)
        patch.setenv("AGENTR_LITE_HOME", str(folder))
        db = folder / "runs.db"
        path = loop_case.write_recipe(folder / "case", loop_case.IMITATION)
        with pytest.raises(SystemExit) as caught:
            main(["run", str(path), "-d", str(db)])
        assert not caught.value.code
        yield db


def test_the_rounds_of_a_run_with_imitation() -> None:
    plan = [(number, stage.name) for number, stage in planned_stages(1, imitates=True)]
    assert plan == [
        (-1, "eval"),
        (0, "imitate"),
        (0, "eval"),
        *((1, name) for name in ("search", "splice", "train", "eval")),
    ]
    assert [round_name(n, imitates=True) for n in (-1, 0, 1)] == ["base", "imitation", "round 1"]
    assert [reference_round(n, imitates=True) for n in (-1, 0, 1, 2)] == [None, -1, 0, 0]
    assert [reference_round(n, imitates=False) for n in (0, 1, 2)] == [None, 0, 0]


def test_what_a_run_with_imitation_leaves(finished: Path) -> None:
    with Store.open(finished, create=False) as store:
        run = runs.get_run(store, "latest")
        stages = [(row.round, row.stage) for row in runs.list_stages(store, run.id)]
        summary = runs.stage_status(store, run.id, 0, "imitate").summary
        [dataset] = splices.list_datasets(store, run.id, round_index=0)
        items = splices.list_dataset_items(store, dataset.id)
        demonstrations = {row.id: row for row in list_demonstrations(store)}
        modes = {(row.round, row.mode) for row in evals.list_evals(store, run.id)}
        greedy = {row.round: row.summary for row in evals.list_evals(store, run.id, mode="greedy")}
        losses = runs.list_metrics(store, run.id, name="train_loss")
        worn = [adapter_in_use(store, run.id, number) for number in (-1, 0, 1, 2)]
        trained = {row.round: Path(row.gguf_path) for row in splices.list_adapters(store, run.id)}

    assert stages == [(number, stage.name) for number, stage in planned_stages(2, imitates=True)]
    assert (summary["demonstration"], summary["missing"], len(items)) == (4, 0, 4)
    assert {item.kind for item in items} == {"demonstration"}
    assert {demonstrations[item.demonstration_id or 0].task.split for item in items} == {"train"}
    assert len({demonstrations[item.demonstration_id or 0].task.name for item in items}) == 4
    assert worn == [None, 0, 1, 2]
    # Recovery begins in the failures of what self-training starts from.
    assert (-1, "recovery") not in modes
    assert {(-1, "greedy"), (-1, "sampled"), (0, "recovery"), (2, "recovery")} <= modes
    assert greedy[-1]["versus_base"] is None
    assert greedy[0]["versus_base"] is not None
    assert greedy[0]["success"]["value"] > greedy[-1]["success"]["value"]
    assert {row.round for row in losses} == {0, 1, 2}
    # Each round's training starts from the imitation, not from the round before.
    assert trained[0].parent.name == "round-0"
    first = trained[0].read_text()
    assert "2 epochs" in first or "2.0 epochs" in first
    for number in (1, 2):
        assert trained[number].read_text().endswith(f" after {first}")
        assert trained[number].read_text().count("after") == 1


@pytest.mark.parametrize(
    ("point", "number"),
    [
        ("generate", 1),  # before anything is known
        ("save_eval_items", 2),  # the base is half evaluated
        ("add_demonstrations", 3),  # inside the transaction of a demonstration
        ("build_imitation_set", 1),
        ("train_lora", 1),  # the data set is there, the adapter is not
        ("save_adapter", 1),  # the adapter's file is there, its row is not
        ("stage_finished", 2),  # trained, but not said to be done
        ("save_eval_items", 6),  # evaluating what was trained
        ("save_tree", 1),  # in round 1
    ],
)
def test_killed_and_resumed_is_uninterrupted(
    loop: Call, recipe: Path, db: Path, finished: Path, point: str, number: int
) -> None:
    killed = cut(point, number, signal.SIGKILL, "run", recipe, "-d", db)
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    code, _, err = loop("run", "--resume", "latest", "-d", db)

    assert code == 0, err
    assert loop_case.contents(db) == loop_case.contents(finished)


def test_stage_by_stage_is_the_same_as_the_whole_loop(
    loop: Call, recipe: Path, db: Path, finished: Path
) -> None:
    commands: list[list[object]] = [
        ["imitate", recipe],
        ["eval", "latest", "--round", -1],
        ["eval", "latest"],
        *([verb, "latest"] for verb in ("search", "splice", "train")),
    ]
    for words in commands:
        code, _, err = loop(*words, "-d", db)
        assert code == 0, err
    with Store.open(db, create=False) as store:
        run_id = runs.get_run(store, "latest").id
        mine = [(row.round, row.stage) for row in runs.list_stages(store, run_id)]
    assert (0, "imitate") in mine and (1, "train") in mine
    whole, stages = loop_case.contents(finished), loop_case.contents(db)
    evaluated = [row for row in map(json.loads, whole) if row[:2] == [0, "greedy"]]
    assert evaluated == [row for row in map(json.loads, stages) if row[:2] == [0, "greedy"]]


def test_an_imitation_that_was_cut_and_goes_on_is_finished(
    loop: Call, recipe: Path, db: Path
) -> None:
    killed = cut("train_lora", 1, signal.SIGKILL, "imitate", recipe, "-d", db)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert json.loads(loop_case.contents(db)[0]) == "running"
    assert loop("imitate", "latest", "-d", db)[0] == 0
    assert json.loads(loop_case.contents(db)[0]) == "finished"


def test_redo_and_other_settings(loop: Call, recipe: Path, db: Path) -> None:
    assert loop("imitate", recipe, "-d", db)[0] == 0
    code, out, _ = loop("imitate", "latest", "--json", "-d", db)
    first = json.loads(out)
    assert (code, first["round"], first["imitate"]["demonstration"]) == (0, 0, 4)

    code, out, err = loop("imitate", "latest", "--tasks", 6, "--json", "-d", db)
    assert code == 0, err
    assert json.loads(out)["imitate"]["demonstration"] == 6

    code, _, err = loop("imitate", "latest", "--set", "rounds=1", "-d", db)
    assert code == 2 and "rounds cannot be changed" in err
    assert loop("imitate", "latest", "--redo", "-d", db)[0] == 0


def test_a_run_without_imitation_cannot_get_one(loop: Call, tmp_path: Path, db: Path) -> None:
    plain = loop_case.write_recipe(tmp_path / "plain")
    assert loop("search", plain, "-d", db)[0] == 0
    code, _, err = loop("imitate", "latest", "-d", db)
    assert code == 2
    assert "was begun without imitation" in err


def test_round_one_waits_for_the_imitation(loop: Call, recipe: Path, db: Path) -> None:
    code, _, err = loop("search", recipe, "-d", db)
    assert code == 2
    assert f"`agentr-lite imitate {recipe}`" in err
    assert not db.exists()

    # A run whose imitation has begun but not ended.
    assert cut("train_lora", 1, signal.SIGKILL, "imitate", recipe, "-d", db).returncode
    code, _, err = loop("search", "latest", "-d", db)
    assert code == 2
    assert "`agentr-lite imitate corridor-" in err


class Unsolved(corridor.Corridor):
    """Knows no solution, but for those that a person plays."""

    def solve(self, task: Any) -> list[str]:
        raise NotImplementedError("no oracle")


def test_without_any_demonstration_the_run_says_why(
    loop: Call, recipe: Path, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {**environments._BUILT_IN, "corridor": "tests.runs.test_imitation:Unsolved"}
    monkeypatch.setattr(environments, "_BUILT_IN", known)
    code, _, err = loop("imitate", recipe, "-d", db)
    assert code == 1
    assert "nothing to imitate" in err and "corridor has no" in err


def test_stored_demonstrations_are_learnt_where_there_is_no_oracle(
    loop: Call, recipe: Path, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = corridor.Corridor()
    task = env.tasks("train")[2]
    with Store.open(db) as store:
        opening, _ = env.reset(task)
        steps = [loop_case.taken(env, action) for action in env.solve(task)]
        person = Demonstration(task, "person", 1.0, env.instructions(), opening, steps)
        add_demonstrations(store, "corridor", [person])
    known = {**environments._BUILT_IN, "corridor": "tests.runs.test_imitation:Unsolved"}
    monkeypatch.setattr(environments, "_BUILT_IN", known)

    code, out, err = loop("imitate", recipe, "--json", "-d", db)

    assert code == 0, err
    summary = json.loads(out)["imitate"]
    assert (summary["demonstration"], summary["missing"]) == (1, 7)


def test_the_training_settings_are_those_of_imitation(
    loop: Call, recipe: Path, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def training(model_dir: Path, train: Any, valid: Any, settings: Any, **rest: Any) -> Any:
        seen.append((settings.epochs, settings.learning_rate, settings.rank, rest["start_adapter"]))
        return loop_case.fake_training(model_dir, train, valid, settings, **rest)

    monkeypatch.setattr(lora, "train_lora", training)
    assert loop("imitate", recipe, "--set", "train.rank=4", "-d", db)[0] == 0
    zeros = ["--set", "imitation.epochs=0", "--set", "imitation.learning_rate=0"]
    assert loop("imitate", recipe, "--set", "train.learning_rate=0.01", *zeros, "-d", db)[0] == 0
    assert seen == [(2.0, 0.001, 4, None), (1.0, 0.01, 16, None)]


def test_the_plan_and_the_tables_name_it(loop: Call, recipe: Path, finished: Path) -> None:
    code, out, _ = loop("run", recipe, "--plan")
    assert code == 0
    assert "  imitate  demonstrations of 4 tasks → train LoRA r=16 → evaluate" in out

    code, out, _ = loop("report", "latest", "-d", finished)
    assert code == 0
    assert "vs start" in out and "vs base" not in out
    assert "imitation is compared with the base, rounds with imitation" in out
    assert "from the beginnings of imitation's" in out
    for row in ("base eval", "imitation eval", "round 1 search"):
        assert row in out

    code, out, _ = loop("report", "latest", "--json", "-d", finished)
    lines = json.loads(out)["evals"]
    names = {(line["round"], line["name"], line["versus"]) for line in lines}
    assert {(-1, "base", "base"), (0, "imitation", "base"), (1, "round 1", "imitation")} <= names
