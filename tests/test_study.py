"""The study command: runs found, shared, resumed, tabulated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import loop_case
import pytest
import study_case
from command_line import Call

from agentr_lite.cli import study_worker
from agentr_lite.cli.claim import is_claimed
from agentr_lite.errors import ModelError, StoreError
from agentr_lite.store import Store
from agentr_lite.store.evals import list_eval_items, list_evals
from agentr_lite.store.runs import (
    create_run,
    get_run,
    list_runs,
    set_run_model,
    stage_status,
)
from agentr_lite.store.splices import list_adapters
from agentr_lite.store.summaries import dump_trees
from agentr_lite.study import reuse, schedule, shared, work
from agentr_lite.study.cells import EQUAL_DATA, study_cells
from agentr_lite.study.recipe import load_study
from agentr_lite.study.schedule import Pool
from agentr_lite.study.shared import Runs, agent_examples
from agentr_lite.study.status import study_status
from agentr_lite.study.write import Writer

CELLS = 6


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    study_case.install(monkeypatch.setattr)
    return tmp_path


@pytest.fixture
def study_file(folder: Path) -> Path:
    return study_case.write_study(folder)


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Ran]


@pytest.fixture
def command(cli: Call) -> Command:
    """`agentr-lite study FILE`, its database and tables beside the file."""

    def call(study_file: Path, *more: str, db: str = "s.db", out: str = "out") -> Ran:
        place = ["--db", study_file.parent / db, "--out", study_file.parent / out]
        return Ran(*cli("study", study_file, *place, *more))

    return call


def contents(db: Path) -> dict[str, list[str]]:
    """(name, seed) of each run to all that it left behind."""
    with Store.open(db, create=False, read_only=True) as store:
        runs = [(f"{run.recipe['name']} {run.seed}", run.id) for run in list_runs(store)]
    return {name: loop_case.contents(db, run_id) for name, run_id in runs}


def without_usage(rows: list[str]) -> list[Any]:
    """What a run left behind, but for what its evaluations cost: that is what it cost elsewhere."""
    # (round, stage, finished, usage, summary)
    return [
        row[:3] + row[4:] if isinstance(row, list) and row[1:2] == ["eval"] else row
        for row in map(json.loads, rows)
    ]


def test_every_cell_is_run_once(command: Command, study_file: Path) -> None:
    done = command(study_file)
    assert done.code == 0, done.err
    names = study_case.run_names(study_file.parent / "s.db")
    assert sorted(names) == sorted(
        (f"corridor-{method}", seed, "finished")
        for method in ("base", "verified", "good")
        for seed in (1, 2)
    )
    again = command(study_file)
    assert again.code == 0
    assert study_case.run_names(study_file.parent / "s.db") == names
    assert again.out == done.out


def test_base_and_first_trees_are_played_once(
    command: Command, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[int] = []
    original = loop_case.trees.save_tree

    def counted(store: Store, **values: Any) -> int:
        searched.append(values["round_index"])
        return original(store, **values)

    monkeypatch.setattr(loop_case.trees, "save_tree", counted)
    done = command(study_file)
    # Five tasks a search; each seed is searched for one of its two methods.
    assert searched == [1] * 10
    assert done.err.count("round 0: greedy") == 1
    # Sampled episodes differ from seed to seed.
    sampled = command(study_file, "--set", "set.eval.samples=1", db="sampled.db")
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


def test_a_shared_start_changes_no_result(command: Command, study_file: Path) -> None:
    assert command(study_file, "--only", "corridor/good/1", db="alone.db").code == 0
    assert command(study_file).code == 0
    whole = contents(study_file.parent / "s.db")["corridor-good 1"]
    alone = contents(study_file.parent / "alone.db")["corridor-good 1"]

    assert without_usage(whole) == without_usage(alone)


@pytest.mark.parametrize(("point", "number"), [("generate", 6), ("save_tree", 7), ("score", 1)])
def test_cut_and_resumed_equals_uninterrupted(
    command: Command, study_file: Path, monkeypatch: pytest.MonkeyPatch, point: str, number: int
) -> None:
    assert command(study_file, db="whole.db").code == 0
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
        cut = command(study_file)
    assert cut.code == 130
    assert "Go on with: agentr-lite study" in cut.err
    assert calls == number
    assert command(study_file).code == 0
    whole, resumed = (contents(study_file.parent / db) for db in ("whole.db", "s.db"))
    assert set(whole) == set(resumed)
    for run, rows in whole.items():
        assert resumed[run] == rows


def test_a_cell_that_fails_costs_itself_alone(
    command: Command, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any, **named: Any) -> Any:
        raise ModelError("out of adapters", hint="Get some.")

    with monkeypatch.context() as patch:
        patch.setattr(loop_case.lora, "train_lora", fails)
        failed = command(study_file, "--only", "corridor/base", "--only", "corridor/*/1")
    assert failed.code == 1
    assert "out of adapters" in failed.err
    assert "corridor/verified/1 and 1 more failed" in failed.err
    assert "goes on where it was: agentr-lite study" in failed.err
    runs = study_case.run_names(study_file.parent / "s.db")
    names = {name: status for name, seed, status in runs if seed == 1}
    assert names == {
        "corridor-base": "finished",
        "corridor-verified": "failed",
        "corridor-good": "failed",
    }
    status = command(study_file, "--status")
    assert "1 failed (3/5), 2 owed" in status.out
    assert "out of adapters" in status.out
    assert command(study_file).code == 0


def test_status_as_data(command: Command, study_file: Path) -> None:
    before = json.loads(command(study_file, "--status", "--json").out)
    assert {cell["state"] for cell in before["cells"]} == {"owed"}
    assert not (study_file.parent / "s.db").exists()
    command(study_file, "--only", "corridor/*/1")
    after = json.loads(command(study_file, "--status", "--json", "--jobs", "2").out)
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


def test_a_run_at_work_shows(command: Command, study_file: Path) -> None:
    command(study_file, "--only", "corridor/base/1")
    recipe = load_study(str(study_file))
    with Store.open(study_file.parent / "s.db") as store:
        cells = study_cells(recipe)
        run = list_runs(store)[0].id
        store.execute("UPDATE runs SET status = 'running' WHERE id = ?", (run,))
        for held, state in ((True, "at work"), (False, "cut")):
            found = study_status(store, cells, is_held=lambda _, run_id, held=held: held)
            assert found.cells[0].state == state
        assert not is_claimed(store, run)
        with study_worker.claimed(store, run):
            assert is_claimed(store, run)


def test_tables_come_as_the_work_does(
    command: Command, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    original = Writer.write

    def watched(self: Writer) -> Any:
        document = original(self)
        seen.append((study_file.parent / "out" / "results.md").read_text())
        return document

    monkeypatch.setattr(Writer, "write", watched)
    assert command(study_file).code == 0
    # After each cell, and once more at the end.
    assert len(seen) == CELLS + 1
    assert "1 of 6 cells are through" in seen[0]
    assert "6 of 6 cells are through" in seen[-1]
    assert "Agent-R, verified, round 1" not in seen[0]
    assert "Agent-R, verified, round 1" in seen[-1]
    assert "### What was trained on" in seen[-1]


def test_what_is_written(command: Command, study_file: Path) -> None:
    done = command(study_file, "--json")
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


def test_a_markdown_file_has_its_plots_beside_it(command: Command, study_file: Path) -> None:
    assert command(study_file, out="docs/answer.md").code == 0
    docs = study_file.parent / "docs"
    assert "](answer/corridor.svg)" in (docs / "answer.md").read_text()
    assert (docs / "answer" / "corridor.svg").exists()
    assert not (docs / "answer.json").exists()


def test_no_run_writes_up_what_is_there(command: Command, study_file: Path) -> None:
    assert command(study_file, "--no-run").code == 4
    Store.open(study_file.parent / "s.db").close()
    nothing = command(study_file, "--no-run")
    assert nothing.code == 2
    assert "holds nothing of study tiny yet" in nothing.err
    command(study_file, "--only", "corridor/*/2")
    some = command(study_file, "--no-run")
    assert some.code == 0
    assert "3 of 6 done" in some.err
    assert len(study_case.run_names(study_file.parent / "s.db")) == 3


def test_the_quick_form_is_a_study_of_its_own(command: Command, study_file: Path) -> None:
    assert command(study_file, "--quick").code == 0
    names = study_case.run_names(study_file.parent / "s.db")
    assert {seed for _, seed, _ in names} == {3}
    assert "Results, coarse" in (study_file.parent / "out" / "results.md").read_text()


def test_an_older_run_of_the_same_settings_counts(command: Command, study_file: Path) -> None:
    """Whatever it is called, and though keys have come since."""
    command(study_file, "--only", "corridor/base/1")
    with Store.open(study_file.parent / "s.db") as store:
        run = list_runs(store)[0]
        old = {**run.recipe, "name": "something else"}
        old["search"] = {k: v for k, v in old["search"].items() if k != "merge"}
        store.execute("UPDATE runs SET recipe = ? WHERE id = ?", (json.dumps(old), run.id))
    command(study_file, "--only", "corridor/base/1")
    assert len(study_case.run_names(study_file.parent / "s.db")) == 1


def test_another_model_makes_every_run_another(
    command: Command, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(study_file, "--only", "corridor/base/1")
    db = study_file.parent / "s.db"
    with Store.open(db) as store:
        set_run_model(store, list_runs(store)[0].id, {"sha256": "a" * 64})
        cells = study_cells(load_study(str(study_file)), ["corridor/base/1"])
        for digest, found in (("a" * 64, True), ("b" * 64, False), (None, True)):
            run = Runs(store).find(cells[0].recipe, digest)
            assert (run is not None) == found


def test_equal_data_takes_as_many_examples(command: Command, folder: Path) -> None:
    text = study_case.STUDY.replace("verified, good", "verified, naive")
    path = study_case.write_study(folder, ablations="{equal_data: true}", text=text)
    path.write_text(path.read_text().replace("ablations:", "ablations:") + "\n")
    data = path.read_text().replace(
        "ablations: {equal_data: true}",
        "ablations: {equal_data: true, critic: false, budget: false, merge: false}",
    )
    path.write_text(data)
    first = command(path, "--only", f"corridor/{EQUAL_DATA}/1")
    assert first.code == 2
    assert "needs round 1 of corridor/verified/1" in first.err
    assert command(path).code == 0
    with Store.open(folder / "s.db", create=False, read_only=True) as store:
        runs = Runs(store)
        digests = work.Digests()
        for seed in (1, 2):
            found = {
                cell.method: work.resolve(store, runs, digests, cell)
                for cell in study_cells(load_study(str(path)), [f"*/*/{seed}"])
            }
            assert all(one.finished for one in found.values())
            equal, verified = found[EQUAL_DATA].run, found["verified"].run
            assert equal is not None
            assert verified is not None
            assert agent_examples(store, equal.id, 1) <= agent_examples(store, verified.id, 1)
    assert "Naive against verified at equal data" in (folder / "out" / "results.md").read_text()


@contextmanager
def pool(study_file: Path, hanging: str, on_cell: Callable[[Any], None]) -> Iterator[Pool]:
    recipe = load_study(str(study_file))
    db = study_file.parent / "s.db"

    def order(cell: Any) -> str:
        told = {"study": str(study_file), "overrides": [], "quick": False}
        return json.dumps({**told, "cell": cell.name, "db": str(db)})

    with Store.open(db) as store:
        yield Pool(
            store,
            study_cells(recipe),
            command=[sys.executable, str(Path(study_case.__file__)), hanging],
            order=order,
            logs=study_file.parent / "logs",
            jobs=2,
            on_cell=on_cell,
        )


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(study_case.__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{here}{os.pathsep}{here.parent}")


@pytest.mark.usefixtures("importable")
def test_processes_come_to_the_same(command: Command, study_file: Path) -> None:
    assert command(study_file, db="one.db").code == 0
    done: list[str] = []
    with pool(study_file, "nobody", lambda cell: done.append(cell.name)) as workers:
        outcome = workers.run()
    assert not outcome.failed
    assert sorted(outcome.finished) == sorted(done)
    assert len(done) == CELLS
    one, several = (contents(study_file.parent / db) for db in ("one.db", "s.db"))
    assert one == several


@pytest.mark.usefixtures("importable")
def test_interrupting_stops_the_processes_and_keeps_their_work(study_file: Path) -> None:
    log = study_file.parent / "logs" / "corridor-verified-1.log"
    processes: list[subprocess.Popen[bytes]] = []

    def interrupt(cell: Any) -> None:
        while not (log.exists() and "hanging" in log.read_text()):
            time.sleep(0.05)
        processes.extend(one.process for one in workers._running)
        raise KeyboardInterrupt

    with pool(study_file, "verified", interrupt) as workers, pytest.raises(KeyboardInterrupt):
        workers.run()
    assert len(processes) == 2
    assert all(process.poll() is not None for process in processes)
    runs = study_case.run_names(study_file.parent / "s.db")
    names = {name: status for name, seed, status in runs if seed == 1}
    assert names == {"corridor-base": "finished", "corridor-verified": "interrupted"}


@pytest.mark.usefixtures("importable")
def test_a_process_leaves_with_the_one_that_started_it(study_file: Path) -> None:
    db = study_file.parent / "s.db"
    Store.open(db).close()
    told = {"study": str(study_file), "overrides": [], "quick": False}
    order = json.dumps({**told, "cell": "corridor/base/1", "db": str(db)})
    process = subprocess.Popen(
        [sys.executable, str(Path(study_case.__file__)), "base"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(f"{order}\n".encode())
    process.stdin.flush()
    while b"hanging" not in process.stderr.readline():
        assert process.poll() is None
    process.stdin.close()
    assert process.wait(timeout=30) == 130
    process.stderr.close()
    with Store.open(db, create=False, read_only=True) as store:
        assert get_run(store, "latest").status == "interrupted"


def test_a_run_that_is_still_held_is_waited_for(
    study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0

    @contextmanager
    def claim(store: Store, run_id: str) -> Iterator[None]:
        nonlocal tried
        tried += 1
        if tried < 3:
            raise StoreError("another process is working on it")
        yield

    monkeypatch.setattr(work.time, "sleep", lambda seconds: None)
    cell = study_cells(load_study(str(study_file)), ["corridor/base/1"])[0]
    tools = study_worker.tools()
    tools = work.Tools(claim, tools.equip, tools.versions)
    with Store.open(study_file.parent / "s.db") as store:
        run_id, _ = work.work_off(store, cell, tools, schedule.Progress(quiet=True))
        assert get_run(store, run_id).status == "finished"
    assert tried == 3
    monkeypatch.setattr(work, "CLAIM_PATIENCE_S", 0.0)
    tried = -10
    with Store.open(study_file.parent / "t.db") as store, pytest.raises(StoreError):
        work.work_off(store, cell, tools, schedule.Progress(quiet=True))


def test_two_at_once_are_refused(command: Command, study_file: Path) -> None:
    with (
        Store.open(study_file.parent / "s.db") as store,
        study_worker.claimed(store, "tiny.study"),
    ):
        refused = command(study_file)
    assert refused.code == 4
    assert "is working on study tiny in" in refused.err


def test_an_environment_that_is_not_to_be_had_is_found_before_hours_are_spent(
    command: Command,
    study_file: Path,
) -> None:
    refused = command(
        study_file,
        "--set",
        "environments.gone.recipe=smoke",
        "--set",
        "environments.gone.set.env=no-such-game",
    )
    assert refused.code == 2
    assert "gone: " in refused.err
    assert "Without it: --only corridor" in refused.err
    assert not study_case.run_names(study_file.parent / "s.db")


def test_flags_that_exclude_each_other(command: Command, study_file: Path) -> None:
    assert command(study_file, "--status", "--no-run").code == 2


def test_the_plan_is_a_study_again(command: Command, study_file: Path) -> None:
    plan = study_file.parent / "again.yaml"
    plan.write_text(command(study_file, "--plan").out)
    assert load_study(str(plan)) == load_study(str(study_file))
    assert json.loads(command(study_file, "--plan", "--json").out)["seeds"] == [1, 2]


def test_copied_starts_equal_the_original(study_file: Path, command: Command) -> None:
    command(study_file, "--only", "corridor/base/1", "--only", "corridor/verified/1")
    recipe = load_study(str(study_file))
    with Store.open(study_file.parent / "s.db") as store:
        source = next(r.id for r in list_runs(store) if r.recipe["rounds"])
        [cell] = study_cells(recipe, ["corridor/good/2"])
        target = create_run(store, cell.recipe)
        reuse.copy_base(store, source, target)
        reuse.copy_first_search(store, source, target)
        grown = [row for row in dump_trees(store, source, 1) if row[0] not in ("judge", "recover")]
        assert list(dump_trees(store, target, 1)) == grown

        def episodes(run: str) -> list[Any]:
            rows = list_evals(store, run, round_index=0)
            return [list_eval_items(store, row.id) for row in rows]

        assert episodes(target) == episodes(source)
        # Whoever looks whether the evaluation is this run's finds its own seed.
        settings = list_evals(store, target, round_index=0)[0].summary["settings"]
        assert settings["seed"] == 2
        assert list_evals(store, source, round_index=0)[0].summary["settings"]["seed"] == 1
        for number, stage in ((0, "eval"), (1, "search")):
            copied = stage_status(store, target, number, stage)  # type: ignore[arg-type]
            assert copied is not None
            assert copied.finished


def test_methods_with_the_same_examples_are_trained_once(
    command: Command, study_file: Path, monkeypatch: pytest.MonkeyPatch
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
    done = command(study_file, *grid)
    assert done.code == 0, done.err
    # Good trajectories do not depend on the pairs; revisions do.
    assert len(trained) == 6
    db = study_file.parent / "s.db"
    with Store.open(db, create=False, read_only=True) as store:
        found = {run.recipe["name"]: run.id for run in list_runs(store)}
        first, second = found["corridor-good"], found["fewer-good"]
        for told in ("round 1 train", "round 1 eval", "round 2 search", "round 2 train"):
            assert f"{told}: the same as in {first}" in done.err
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
    assert command(study_file, *grid, "--only", "fewer/good", db="alone.db").code == 0
    mine, alone = (contents(study_file.parent / name) for name in ("s.db", "alone.db"))
    assert without_usage(mine["fewer-good 1"]) == without_usage(alone["fewer-good 1"])


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux alone deals out cores")
@pytest.mark.parametrize(
    ("cores", "jobs", "shares"),
    [
        ({0, 1, 2, 3, 8}, 2, [{0, 2, 8}, {1, 3}]),
        ({4, 5}, 2, [{4}, {5}]),
        ({4, 5}, 3, []),
        ({4, 5}, 1, []),
    ],
)
def test_cores_are_dealt_out(
    monkeypatch: pytest.MonkeyPatch, cores: set[int], jobs: int, shares: list[set[int]]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: cores)
    assert schedule.share_cores(jobs) == shares


@pytest.mark.parametrize(
    ("cell", "other", "waits"),
    [
        ("corridor/naive/1", "corridor/verified/1", True),
        ("corridor/naive/1", "corridor/verified/2", False),
        ("corridor/naive/1", "corridor/direct/1", False),
        ("corridor/good/1", "corridor/verified/1", False),
    ],
)
def test_who_may_train_on_the_same_waits_for_it(
    study_file: Path, cell: str, other: str, waits: bool
) -> None:
    recipe = load_study(str(study_file), ["methods=[verified, naive, direct, good]"])
    cells = {one.name: one for one in study_cells(recipe)}
    assert schedule.may_come_out_the_same(cells[cell], cells[other]) is waits


def test_what_is_shared_depends_on_what_it_depends_on(study_file: Path) -> None:
    cells = {cell.name: cell for cell in study_cells(load_study(str(study_file)))}

    def parts(of: Callable[[Any], Any], name: str, **changes: Any) -> Any:
        data = cells[name].recipe.to_dict()
        for group, keys in changes.items():
            data[group] |= keys
        return of(data)

    mine, other, base = "corridor/verified/1", "corridor/good/1", "corridor/verified/2"
    for of in (shared.base_parts, shared.search_parts):
        assert parts(of, mine) == parts(of, other)
        assert parts(of, mine) != parts(of, mine, agent={"brief": True})
    assert parts(shared.base_parts, mine) == parts(shared.base_parts, base)
    assert parts(shared.base_parts, mine) == parts(shared.base_parts, mine, search={"width": 9})
    assert parts(shared.base_parts, mine) != parts(shared.base_parts, mine, eval={"tasks": 9})
    assert parts(shared.search_parts, mine) != parts(shared.search_parts, base)
    assert parts(shared.search_parts, mine) != parts(shared.search_parts, mine, search={"c": 9})
    assert parts(shared.search_parts, mine) == parts(shared.search_parts, mine, train={"rank": 9})
