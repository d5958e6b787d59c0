"""What the Tab key offers."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import BashComplete

from agentr_lite.actors.download.catalog import CATALOG
from agentr_lite.cli import cli as program
from agentr_lite.store import Store
from agentr_lite.store.runs import list_runs
from tests.support.command_line import Call


def offered(line: str) -> list[str]:
    """Completions of the last word of a command line; a blank at the end begins a new word."""
    *words, last = line.split(" ")
    items = BashComplete(program, {}, "agentr-lite", "_X").get_completions(words, last)
    return [item.value for item in items if item.type == "plain"]


@pytest.mark.parametrize(
    "line",
    ["runs show ", "runs delete ", "report ", "trees ", "run --resume ", "splice ", "export "],
)
def test_run_ids(filled: Path, line: str) -> None:
    verb, _, rest = line.partition(" ")
    with Store.open_to_read(filled) as store:
        [run] = [row.id for row in list_runs(store)]
    where = f"-d {filled}"
    whole = f"{verb} {where} {rest}"
    assert offered(whole) == [run, "latest"]
    assert offered(whole + run[:4]) == [run]
    assert offered(whole + "xyz") == []


def test_run_ids_of_the_database_in_the_environment(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTR_LITE_DB", str(filled))
    assert "latest" in offered("runs show ")
    assert offered(f"report {filled}:")[-1] == f"{filled}:latest"


def test_nothing_is_offered_and_nothing_made_where_there_is_no_database(tmp_path: Path) -> None:
    missing, broken = tmp_path / "no.db", tmp_path / "broken.db"
    broken.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    for path in (missing, broken):
        assert offered(f"trees -d {path} ") == []
    assert sorted(tmp_path.glob("*.db*")) == [broken]


def test_environments_and_recipes() -> None:
    assert {"textcraft", "webshop", "smoke", "instruct"} <= set(offered("run "))
    assert offered("run textc") == ["textcraft"]
    assert offered("envs check textc") == ["textcraft"]
    assert "smoke" not in offered("envs check ")
    assert offered("recipes show smo") == offered("run x --recipe smo")
    assert all(name.startswith("study-") for name in offered("study "))


def test_recipe_keys_and_their_values() -> None:
    assert offered("run textcraft --set search.wi") == ["search.width="]
    assert "splice.verify=off" in offered("run textcraft --set splice.verify=")
    assert all(key.startswith("train.") for key in offered("train latest --set "))
    assert offered("run textcraft --set zzz") == []


def test_models(cli: Call, tmp_path: Path) -> None:
    file = Path(__file__).parents[2] / "agentr_lite/starter/model/starter.gguf"
    assert cli("models", "add", "mine", file)[0] == 0
    assert offered("run textcraft --model ") == ["starter", "mine"]
    assert offered("models remove ") == ["mine"]
    assert offered("models pull ") == [item.name for item in CATALOG]


def test_paths_are_left_to_the_shell() -> None:
    items = BashComplete(program, {}, "agentr-lite", "_X").get_completions(["run"], "./ja")
    assert [item.type for item in items] == ["file"]
