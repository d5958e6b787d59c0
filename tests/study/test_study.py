"""The study command: it makes runs, resumes them and writes their tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.actors import registry as actors
from agentr_lite.actors.mock import MockActor
from agentr_lite.core.errors import ModelError
from agentr_lite.store import Store
from agentr_lite.study.jobs import model_digests
from agentr_lite.study.recipe import load_study
from agentr_lite.study.writeup.writer import Writer
from tests.support import loop_case, study_case
from tests.support.study_case import Command


def test_every_cell_is_run_once(study: Command, study_file: Path) -> None:
    done = study(study_file)
    assert done.code == 0, done.err
    names = study_case.run_names(study_file.parent / "s.db")
    assert sorted(names) == sorted(
        (f"corridor-{method}", seed, "finished")
        for method in ("base", "verified", "good")
        for seed in (1, 2)
    )
    again = study(study_file)
    assert again.code == 0
    assert study_case.run_names(study_file.parent / "s.db") == names
    assert again.out == done.out


@pytest.mark.parametrize(("point", "number"), [("generate", 6), ("save_tree", 7), ("score", 1)])
def test_cut_and_resumed_equals_uninterrupted(
    study: Command, study_file: Path, monkeypatch: pytest.MonkeyPatch, point: str, number: int
) -> None:
    assert study(study_file, db="whole.db").code == 0
    owner, name = loop_case.POINTS[point]
    original = getattr(owner, name)
    calls = 0

    def armed(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            raise KeyboardInterrupt
        return original(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, armed)
        cut = study(study_file)
    assert cut.code == 130
    assert "Go on with: agentr-lite study" in cut.err
    assert calls == number
    assert study(study_file).code == 0
    whole, resumed = (study_case.contents(study_file.parent / db) for db in ("whole.db", "s.db"))
    assert set(whole) == set(resumed)
    for run, rows in whole.items():
        assert resumed[run] == rows


def test_a_cell_that_fails_does_not_stop_the_others(
    study: Command, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any, **named: Any) -> Any:
        raise ModelError("out of adapters", hint="Get some.")

    with monkeypatch.context() as patch:
        patch.setattr(loop_case.lora, "train_lora", fails)
        failed = study(study_file, "--only", "corridor/base", "--only", "corridor/*/1")
    assert failed.code == 1
    assert "out of adapters" in failed.err
    assert "corridor/verified/1 and 1 more failed" in failed.err
    assert "go on with: agentr-lite study" in failed.err
    runs = study_case.run_names(study_file.parent / "s.db")
    names = {name: status for name, seed, status in runs if seed == 1}
    assert names == {
        "corridor-base": "finished",
        "corridor-verified": "failed",
        "corridor-good": "failed",
    }
    status = study(study_file, "--status")
    assert "1 failed (3/5), 2 owed" in status.out
    assert "out of adapters" in status.out
    assert study(study_file).code == 0


def test_a_method_that_finds_nothing_is_told_once_and_not_tried_again(
    study: Command, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = 0

    def mumbler(recipe: Any) -> MockActor:
        nonlocal opened
        opened += 1
        return MockActor(lambda *_: "Well.")

    monkeypatch.setattr(actors, "open_actor", mumbler)
    done = study(study_file, "--only", "corridor/*/1")
    assert done.code == 1
    assert "nothing to learn in round 1" in done.err and "agent.grammar" in done.err
    assert opened > 0
    opened = 0
    again = study(study_file, "--only", "corridor/*/1")
    assert again.code == 0 and opened == 0
    assert "corridor/verified/1 was left out: found nothing to learn: " in again.err
    status = json.loads(study(study_file, "--status", "--json", "--only", "corridor/*/1").out)
    states = {cell["method"]: cell["state"] for cell in status["cells"]}
    assert states == {"base": "done", "verified": "impossible", "good": "impossible"}


def test_stored_results_are_shown_without_the_model(
    study: Command, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert study(study_file).code == 0

    def missing(recipe: Any) -> str:
        raise ModelError("no model of that name")

    monkeypatch.setattr(model_digests, "model_digest", missing)
    assert "6 of 6 done" in study(study_file, "--status").err
    assert study(study_file, "--no-run").code == 0


def test_the_status_of_some_cells_counts_what_others_have_computed(
    study: Command, study_file: Path
) -> None:
    assert study(study_file).code == 0

    def spent(*only: str) -> float:
        data = json.loads(study(study_file, "--status", "--json", *only).out)
        return sum(cell["wall_s"] for cell in data["cells"] if cell["method"] == "good")

    # The first trees were searched for the other method.
    assert spent("--only", "corridor/good") == spent()


def test_status_as_data(study: Command, study_file: Path) -> None:
    before = json.loads(study(study_file, "--status", "--json").out)
    assert {cell["state"] for cell in before["cells"]} == {"owed"}
    assert not (study_file.parent / "s.db").exists()
    study(study_file, "--only", "corridor/*/1")
    after = json.loads(study(study_file, "--status", "--json", "--jobs", "2").out)
    states = {cell["cell"]: cell["state"] for cell in after["cells"]}
    assert states == {
        f"corridor/{method}/{seed}": "done" if seed == 1 else "owed"
        for method in ("base", "verified", "good")
        for seed in (1, 2)
    }
    left = {cell["cell"]: cell["left_s"] for cell in after["cells"]}
    assert left["corridor/verified/1"] == 0
    # The base of seed 2 is a copy; its first method searches, the second shares that search.
    assert left["corridor/base/2"] == 0
    assert left["corridor/verified/2"] > left["corridor/good/2"] > 0
    assert after["left_s"] == pytest.approx(sum(left.values()) / 2)


def test_tables_are_written_after_each_cell(
    study: Command, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    original = Writer.write

    def watched(self: Writer) -> Any:
        document = original(self)
        seen.append((study_file.parent / "out" / "results.md").read_text())
        return document

    monkeypatch.setattr(Writer, "write", watched)
    assert study(study_file).code == 0
    # After each cell, and once more at the end.
    assert len(seen) == study_case.CELLS + 1
    assert "1 of 6 cells are finished" in seen[0]
    assert "6 of 6 cells are finished" in seen[-1]
    assert "Agent-R, verified, round 1" not in seen[0]
    assert "Agent-R, verified, round 1" in seen[-1]
    assert "### What was trained on" in seen[-1]


def test_what_is_written(study: Command, study_file: Path) -> None:
    done = study(study_file, "--json")
    out = study_file.parent / "out"
    text = (out / "results.md").read_text()
    assert "![corridor: results by round and method](results/corridor.svg)" in text
    assert (out / "results" / "corridor.svg").read_text().startswith("<svg")
    assert json.loads(done.out) == json.loads((out / "results.json").read_text())
    cells = json.loads(done.out)["cells"]
    base = next(c for c in cells if (c["method"], c["measure"]) == ("base", "reward"))
    assert (base["n"], base["seeds"]) == (4, [1, 2])
    # Nothing of this machine but what the user typed.
    assert str(study_file.parent) not in text.replace(str(study_file), "").replace(
        "recipe: ", ""
    ).replace(f"`agentr-lite study {study_file}`", "")


def test_a_markdown_file_has_its_plots_beside_it(study: Command, study_file: Path) -> None:
    assert study(study_file, out="docs/answer.md").code == 0
    docs = study_file.parent / "docs"
    assert "](answer/corridor.svg)" in (docs / "answer.md").read_text()
    assert (docs / "answer" / "corridor.svg").exists()
    assert not (docs / "answer.json").exists()


def test_no_run_writes_up_the_stored_results(study: Command, study_file: Path) -> None:
    assert study(study_file, "--no-run").code == 4
    Store.open(study_file.parent / "s.db").close()
    nothing = study(study_file, "--no-run")
    assert nothing.code == 2
    assert "holds nothing of study tiny yet" in nothing.err
    study(study_file, "--only", "corridor/*/2")
    some = study(study_file, "--no-run")
    assert some.code == 0
    assert "3 of 6 done" in some.err
    assert len(study_case.run_names(study_file.parent / "s.db")) == 3


def test_the_quick_form_is_a_separate_study(study: Command, study_file: Path) -> None:
    assert study(study_file, "--quick").code == 0
    names = study_case.run_names(study_file.parent / "s.db")
    assert {seed for _, seed, _ in names} == {3}
    assert "Results, coarse" in (study_file.parent / "out" / "results.md").read_text()


def test_a_missing_environment_is_reported_before_hours_are_spent(
    study: Command,
    study_file: Path,
) -> None:
    refused = study(
        study_file,
        "--set",
        "environments.gone.recipe=smoke",
        "--set",
        "environments.gone.set.env=no-such-game",
    )
    assert refused.code == 2
    assert "gone: " in refused.err
    assert "Without it: --only corridor" in refused.err
    assert not (study_file.parent / "s.db").exists()


def test_the_plan_of_a_study_says_what_the_study_would(
    study: Command, study_file: Path, tmp_path: Path
) -> None:
    missing = ("--set", "environments.corridor.set.train.general=none.jsonl")
    planned = study(study_file, "--plan", *missing)
    assert planned.code == 2 and planned.err == ""
    assert "#   refused  corridor general data: cannot read" in planned.out
    assert planned.out.splitlines()[-1] == "# the study would be refused, with exit code 2"
    data = json.loads(study(study_file, "--plan", "--json", *missing).out)
    assert data["exit_code"] == 2 and "none.jsonl" in data["error"]["message"]
    ended = study(study_file, *missing)
    assert ended.code == 2 and "corridor: cannot read the general data" in ended.err
    assert not (study_file.parent / "s.db").exists()
    assert not list(study_file.parent.glob("*artifacts"))


def test_flags_that_exclude_each_other(study: Command, study_file: Path) -> None:
    assert study(study_file, "--status", "--no-run").code == 2


def test_the_plan_is_a_study_again(study: Command, study_file: Path) -> None:
    plan = study_file.parent / "again.yaml"
    plan.write_text(study(study_file, "--plan").out)
    assert load_study(str(plan)) == load_study(str(study_file))
    assert json.loads(study(study_file, "--plan", "--json").out)["seeds"] == [1, 2]
