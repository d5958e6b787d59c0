"""The table of outcomes: it holds all that a page shows, and pages are made from it alone."""

from __future__ import annotations

import gzip
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.cli import main
from agentr_lite.envs.textcraft import TextCraft
from agentr_lite.recipe.groups import SearchSettings, SpliceSettings
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store
from agentr_lite.store.evals import list_eval_items, list_evals
from agentr_lite.store.runs import list_runs
from agentr_lite.study.outcomes.critic_accuracy import critic_rounds
from agentr_lite.study.outcomes.file import parse_records, read_records, to_bytes
from agentr_lite.study.outcomes.records import OutcomeReader, portable
from agentr_lite.study.outcomes.results import study_results
from agentr_lite.study.recipe import load_study
from agentr_lite.study.writeup.pages import write_from_outcomes
from tests.support import study_case
from tests.support.command_line import Call
from tests.support.splice_cases import RuleActor, plant
from tests.support.stages import splice_stage

ROOT = Path(__file__).parents[2]
COMMITTED = sorted((ROOT / "docs").glob("*/outcomes.jsonl.gz"))
ALL = (
    "{equal_data: {seeds: [1]}, flawless: {seeds: [1]}, critic: false, budget: false, merge: false}"
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that has been run, with all kinds of tables."""
    folder = tmp_path_factory.mktemp("outcomes") / "all"
    text = study_case.STUDY.replace("verified, good", "verified, naive, good")
    path = study_case.write_study(folder, ablations=ALL, text=text)
    with pytest.MonkeyPatch.context() as patch:
        study_case.install(patch.setattr)
        patch.setenv("AGENTR_LITE_HOME", str(folder / "home"))
        with pytest.raises(SystemExit) as caught:
            main(["study", str(path), "--db", str(folder / "s.db"), "--out", str(folder / "out")])
    assert not caught.value.code
    return folder


@pytest.fixture
def played(original: Path, tmp_path: Path) -> Path:
    """A copy of its tables."""
    return Path(shutil.copytree(original / "out", tmp_path / "out"))


def pages(folder: Path) -> dict[str, bytes]:
    """The files of a page but for the outcomes."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in files if path.suffix != ".gz"
    }


def test_the_page_of_the_outcomes_is_that_of_the_database(
    cli: Call, played: Path, tmp_path: Path
) -> None:
    outcomes = played / "results" / "outcomes.jsonl.gz"
    again = tmp_path / "again"
    code, out, err = cli("study", "--from-outcomes", outcomes, "--out", again)
    assert code == 0, err
    assert pages(again) == pages(played)
    text = (again / "results.md").read_text()
    assert "Naive against verified at equal data" in text
    assert "Naive splices that fail their replay" in text
    assert "wrote " in err and "Agent-R, verified" in out
    # Without --out, the page in whose folder the file lies is written anew.
    # A folder stands for the file in it.
    for given in (outcomes, outcomes.parent):
        (played / "results.md").unlink()
        assert cli("study", "--from-outcomes", given)[0] == 0
        assert (played / "results.md").read_text() == text


def test_every_episode_is_in_the_table(original: Path) -> None:
    records = read_records(original / "out" / "results" / "outcomes.jsonl.gz")
    episodes = [record for record in records if record["record"] == "episode"]
    cells = {
        record["run"]: (record["environment"], record["method"], record["seed"])
        for record in records
        if record["record"] == "cell"
    }
    expected = []
    with Store.open(original / "s.db", create=False, read_only=True) as store:
        for run in list_runs(store):
            for row in list_evals(store, run.id):
                expected += [
                    (*cells[run.id], row.round, row.mode, item.task.name, item.reward, item.steps)
                    for item in list_eval_items(store, row.id)
                ]
    keys = ("environment", "method", "seed", "round", "kind", "task", "reward", "steps")
    assert sorted(expected) == sorted(tuple(e[key] for key in keys) for e in episodes)
    assert {record["study"] for record in records} == {"tiny"}
    # Repeated and invalid actions and reflections are counts of the episode.
    assert all({"invalid", "repeated", "reflections", "success"} <= {*e} for e in episodes)
    stages = [record for record in records if record["record"] == "stage"]
    trained = [stage for stage in stages if stage["stage"] == "train"]
    assert trained and all(stage["counts"]["tokens"] == 10 for stage in trained)
    for record in records:
        if record["record"] == "cell" and record["method"] == "verified":
            cost = record["cost"]
            assert (cost["tokens_trained"], cost["tokens_searched"] > 0) == (10, True)
            assert cost["examples"] > 0 and cost["seconds"] > 0
            assert len(record["recipe_sha256"]) == 64
    # What the process held in each stage, at least that of the interpreter.
    assert all(stage["counts"].get("peak_memory_bytes", 0) > 10**7 for stage in stages)


def test_equal_databases_give_equal_bytes_that_name_no_folder(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_case.install(monkeypatch.setattr)
    path = original / "out" / "results" / "outcomes.jsonl.gz"
    study = load_study(str(original / "tiny.yaml"))
    with Store.open(original / "s.db", create=False, read_only=True) as store:
        first, second = (
            to_bytes(OutcomeReader(store, study, command="x").records()) for _ in range(2)
        )
    assert first == second
    text = gzip.decompress(path.read_bytes()).decode()
    # But for the command, which is what the user typed.
    head, *lines = text.splitlines()
    command = json.loads(head)["command"]
    assert str(original) in command
    assert str(original) not in head.replace(json.dumps(command), "")
    assert not any(str(original) in line for line in lines)


def test_models_go_by_the_names_of_their_files() -> None:
    recipe = {"model": "/a/b.gguf", "train_model": "mlx:/a/c", "train": {"general": "/x/g.jsonl"}}
    assert portable(recipe) == {
        "model": "b.gguf",
        "train_model": "mlx:c",
        "train": {"general": "g.jsonl"},
    }
    assert portable({"model": "openai:http://host:1/v1#m"})["model"] == "openai:#m"


def test_verdicts_of_the_critic_come_back_as_they_were(tmp_path: Path) -> None:
    env = TextCraft()
    recipe = Recipe(search=SearchSettings(depth=20), splice=SpliceSettings(alpha=(1.0,)))
    wrong = "get 1 thing that is not there"
    with Store.open(tmp_path / "critic.db") as store:
        run = create_run(store, recipe)
        for index in (0, 7):
            task = env.tasks("train")[index]
            good = env.solve(task)
            bad = [good[0], "inventory", wrong, wrong, "inventory"]
            plant(store, run, env, task, [good, bad], wave=index)  # type: ignore[list-item]
        splice_stage(store, run, 1, recipe, env, RuleActor([wrong]))
        before = critic_rounds(store, run, TextCraft())[1]
        tasks = {row["id"]: row["name"] for row in store.rows("SELECT id, name FROM tasks")}
        records = critic_records(store, run, recipe)
    [results] = study_results(records, tmp_path).environments
    after = results.runs[0].critic[1]
    names = {r["number"]: r["task"] for r in records if r["record"] == "task"}

    def steps(judged: Any, by: dict[int, str]) -> list[tuple[str, str, str]]:
        return sorted((by[step.task], step.critic, step.oracle) for step in judged.steps)

    assert steps(before, tasks) == steps(after, names) and before.steps
    assert [(p.cut, p.error, p.called_bad) for p in after.paths] == [
        (p.cut, p.error, p.called_bad) for p in before.paths
    ]
    assert after.without_error == before.without_error


def critic_records(store: Store, run: str, recipe: Recipe) -> list[Any]:
    """The records of a study of one cell: that run, with an evaluation that has no episodes."""
    from agentr_lite.study.jobs.cells import Cell
    from agentr_lite.study.outcomes import records as module

    study = load_study(str(write_critic_study(Path(store.path).parent)))
    reader = OutcomeReader(store, study, command="x")
    cell = Cell("textcraft", "verified", 1, recipe, "Agent-R, verified")
    rows = [*reader._critic_rows(cell, run, 1)]
    named = module._Tasks(store, [(cell, rows)])
    place = {"study": "c", "environment": "textcraft", "method": "verified", "seed": 1}
    made: list[Any] = [reader._head(), *named.records("c")]
    with_run = module._cell_row(next(row for row in list_runs(store) if row.id == run), {})
    for row in [with_run, *rows]:
        task = {} if row.task is None else {"task": named.name(row.task)}
        made.append({"record": row.kind, **place, **row.before, **task, **row.after})
    return made


def write_critic_study(folder: Path) -> Path:
    path = folder / "c.yaml"
    path.write_text("name: c\nenvironments: [textcraft]\nmethods: [verified]\nseeds: [1]\n")
    return path


def split_table(played: Path, folder: Path, *, methods: set[str]) -> tuple[Path, Path]:
    """The table of a study as two machines would have written it: some methods, and the others."""
    head, *rest = read_records(played / "results" / "outcomes.jsonl.gz")
    paths = folder / "a.gz", folder / "b.gz"
    for path, wanted in zip(paths, (True, False), strict=True):
        own = [r for r in rest if "method" not in r or (r["method"] in methods) == wanted]
        used = {r["task"] for r in own if r["record"] not in ("task", "cell") and "task" in r}
        kept = [r for r in own if r["record"] != "task" or r["task"] in used]
        # Every database numbers its own tasks.
        numbers = itertools.count(1)
        kept = [r if r["record"] != "task" else {**r, "number": next(numbers)} for r in kept]
        path.write_bytes(to_bytes([{**head, "command": f"command of {path.name}"}, *kept]))
    return paths


def test_the_tables_of_several_machines_give_the_page_of_one(
    cli: Call, played: Path, tmp_path: Path
) -> None:
    one, other = split_table(played, tmp_path, methods={"base", "good"})
    both = ("--from-outcomes", one, "--from-outcomes", other)
    code, _, err = cli("study", *both, "--out", tmp_path / "both")
    assert code == 0, err
    was, now = (json.loads((f / "results.json").read_text()) for f in (played, tmp_path / "both"))
    assert now["cells"] == was["cells"] and now["glance"] == was["glance"]
    merged = tmp_path / "both" / "results" / "outcomes.jsonl.gz"
    # Whoever puts it together with its parts again, in any order, gets it again.
    data = merged.read_bytes()
    code, _, err = cli(
        "study", "--from-outcomes", other, "--from-outcomes", merged, *both, "--out", tmp_path / "x"
    )
    assert code == 0, err
    again = (tmp_path / "x" / "results" / "outcomes.jsonl.gz").read_bytes()
    assert gzip.decompress(again).replace(b"of b.gz", b"of a.gz") == gzip.decompress(data)


def test_several_tables_need_a_place_for_their_page(
    cli: Call, played: Path, tmp_path: Path
) -> None:
    one, other = split_table(played, tmp_path, methods={"good"})
    code, _, err = cli("study", "--from-outcomes", one, "--from-outcomes", other)
    assert code == 2 and "need --out" in err
    assert sorted(tmp_path.glob("*.md")) == []


def test_the_finished_cell_wins_and_contradictions_are_refused(
    cli: Call, played: Path, tmp_path: Path
) -> None:
    path = played / "results" / "outcomes.jsonl.gz"
    records = read_records(path)
    good = [n for n, r in enumerate(records) if r.get("method") == "good"]
    other = tmp_path / "other.gz"

    def merged(changed: list[Any]) -> tuple[int, str]:
        other.write_bytes(to_bytes(changed))
        code, _, err = cli(
            "study", "--from-outcomes", other, "--from-outcomes", path, "--out", tmp_path / "both"
        )
        return code, err

    # A machine was cut in the middle of a cell; another one has finished it.
    part = [*records[: good[0]], {**records[good[0]], "status": "running"}]
    assert merged([*part, *records[good[-1] + 1 :]]) == (0, merged(records)[1])
    was, now = (json.loads((f / "results.json").read_text()) for f in (played, tmp_path / "both"))
    assert now["cells"] == was["cells"]
    # Two machines have finished it, and not in the same way.
    at = next(n for n in good if records[n]["record"] == "episode")
    reward = {**records[at], "reward": 0.125}
    code, err = merged([*records[:at], reward, *records[at + 1 :]])
    assert code == 2 and "different results of" in err and "/good/" in err
    # Another model, other settings.
    code, err = merged([{**r, "model_sha256": "f" * 64} if "cost" in r else r for r in records])
    assert code == 2 and "different models" in err
    code, err = merged([{**records[0], "rounds": 7}, *records[1:]])
    assert code == 2 and "they differ in rounds (7 and" in err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: ["nonsense", *lines], "line 1"),
        (lambda lines: lines[1:], "the first record is not that of a study"),
        (lambda lines: [lines[0].replace('"format":1', '"format":2')], "has the format 2"),
        (lambda lines: [*lines[:3], '{"record":"episode"}'], "record 4 is damaged"),
        (lambda lines: [*lines, '{"record":"wish"}'], "no kind of record is called 'wish'"),
        (lambda lines: ["[]"], "line 1 is no JSON object"),
    ],
)
def test_a_damaged_table_is_refused(cli: Call, played: Path, change: Any, message: str) -> None:
    path = played / "results" / "outcomes.jsonl.gz"
    before = pages(played)
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    path.write_bytes(gzip.compress("\n".join(change(lines)).encode()))
    code, _, err = cli("study", "--from-outcomes", path)
    assert code == 2
    assert message in err
    assert pages(played) == before


def test_no_gzip_file_is_refused(cli: Call, tmp_path: Path) -> None:
    path = tmp_path / "outcomes.jsonl.gz"
    assert cli("study", "--from-outcomes", path)[0] == 1
    path.write_text("{}")
    code, _, err = cli("study", "--from-outcomes", path)
    assert code == 2 and "does not hold the outcomes of a study" in err
    path.write_bytes(gzip.compress(b"{}\n" * 1000)[:-9])
    assert cli("study", "--from-outcomes", path)[0] == 2


@pytest.mark.parametrize(
    "more", [("study-small",), ("--plan",), ("--jobs", "2"), ("--set", "rounds=1"), ("--db", "x")]
)
def test_what_the_file_says_cannot_be_said_again(cli: Call, more: tuple[str, ...]) -> None:
    code, _, err = cli("study", "--from-outcomes", "x.gz", *more)
    assert code == 2 and "exclude each other" in err


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_the_committed_pages_are_those_of_the_committed_outcomes(
    path: Path, tmp_path: Path
) -> None:
    name = path.parent.name
    page = path.parent.with_name(f"{name}.md")
    target = tmp_path / page.name
    # Notes by hand are kept, and are no part of the outcomes.
    target.write_text(page.read_text())
    _, written = write_from_outcomes([path], target)
    assert target.read_text() == page.read_text()
    for file in written:
        committed = page.parent / file.relative_to(tmp_path)
        assert file.read_bytes() == committed.read_bytes()


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    records = [{"record": "study", "name": "ü"}, {"record": "task", "value": 0.1 + 0.2}]
    assert parse_records(tmp_path, gzip.decompress(to_bytes(records))) == records
