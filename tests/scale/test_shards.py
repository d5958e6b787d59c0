"""Shares of a search or a study on machines that share nothing, and their merge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.core.errors import UsageError
from agentr_lite.runs.shards import Shard
from agentr_lite.store import Store, runs, trees
from tests.support import loop_case, study_case
from tests.support.command_line import Call


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/0", "1", "1/3/5", "a/b", "-1/3", "1/12345", ""])
def test_no_shard(text: str) -> None:
    with pytest.raises(UsageError, match="is no shard"):
        Shard.parse(text)


def test_shares_are_disjoint_and_keep_groups_together() -> None:
    items = [(env, seed, method) for seed in (1, 2) for env in "abc" for method in "xyz"]
    shares = [Shard.parse(f"{k}/4").share(items, lambda item: item[:2]) for k in (1, 2, 3, 4)]
    assert sorted(item for share in shares for item in share) == sorted(items)
    groups = [{item[:2] for item in share} for share in shares]
    assert [len(group) for group in groups] == [2, 2, 1, 1]
    assert sum(map(len, groups)) == 6


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Five tasks in three waves."""
    return loop_case.write_recipe(tmp_path / "case")


def searched(loop: Call, recipe: Path, db: Path, shard: str, *more: str) -> None:
    code, _, err = loop("search", recipe, "-d", db, "--shard", shard, *more)
    assert code == 0, err
    assert "runs merge FILE..." in err


def merged(loop: Call, target: Path, *files: Path) -> Any:
    code, out, err = loop("runs", "merge", *files, "-d", target, "--json")
    assert code == 0, err
    return json.loads(out)


def test_a_search_in_shards_goes_on_as_one_run(loop: Call, recipe: Path, tmp_path: Path) -> None:
    whole, target = tmp_path / "whole.db", tmp_path / "all.db"
    assert loop("search", recipe, "-d", whole)[0] == 0
    files = [tmp_path / f"{k}.db" for k in (1, 2)]
    for k, file in enumerate(files, 1):
        searched(loop, recipe, file, f"{k}/2")
    code, _, err = loop("splice", "latest", "-d", files[0])
    assert code == 2
    assert "is a shard" in err
    first = merged(loop, target, files[0])
    assert not first["joined"]
    assert [*first["waiting"].values()] == [["2/2"]]
    second = merged(loop, target, files[1])
    (run,) = second["joined"]
    assert "of2" not in run
    assert not second["waiting"]
    for words in (["splice", "latest"], ["train", "latest"], ["eval", "latest"]):
        for db in (whole, target):
            assert loop(*words, "-d", db)[0] == 0
    assert loop_case.contents(target) == loop_case.contents(whole)
    with Store.open(target, create=False, read_only=True) as store:
        assert [row.id for row in runs.list_runs(store)] == [run]
        waves = [tree.wave for tree in sorted(trees.list_trees(store, run), key=lambda t: t.id)]
        assert waves == [0, 0, 1, 1, 2]
    again = merged(loop, target, *files)
    assert not again["joined"]
    assert not again["waiting"]
    assert not again["copied"]
    assert len(again["known"]) == 2
    assert loop_case.contents(target) == loop_case.contents(whole)


def test_a_shard_that_was_cut_goes_on(
    loop: Call, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, other, target = (tmp_path / name for name in ("a.db", "b.db", "all.db"))
    saved, count = trees.save_tree, 0

    def cut(*arguments: Any, **named: Any) -> int:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return saved(*arguments, **named)

    monkeypatch.setattr(trees, "save_tree", cut)
    code, _, err = loop("search", recipe, "-d", db, "--shard", "1/2")
    assert code == 130, err
    searched(loop, recipe, other, "2/2")
    assert [*merged(loop, target, db, other)["waiting"].values()] == [["1/2"], ["1/2"]]
    code, _, err = loop("search", "latest", "-d", db, "--shard", "2/2")
    assert code == 2
    assert "is shard 1/2" in err
    # What the run was begun as need not be said again.
    assert loop("search", "latest", "-d", db)[0] == 0
    # The target has the beginning of the very run whose rest comes now.
    done = merged(loop, target, db, other)
    assert len(done["joined"]) == 1
    assert len(done["copied"]) == len(done["known"]) == 1
    assert not merged(loop, target, db, other)["joined"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE models SET sha256 = 'other'", "model (SHA-256)"),
        ("UPDATE runs SET versions = json_set(versions, '$.mlx', '0')", "versions"),
        (
            "UPDATE rounds SET summary = json_set(summary, '$.waves', 4) WHERE stage = 'search'",
            "number of waves",
        ),
    ],
)
def test_what_contradicts_is_refused(
    loop: Call, recipe: Path, tmp_path: Path, change: str, what: str
) -> None:
    files = [tmp_path / f"{k}.db" for k in (1, 2)]
    for k, file in enumerate(files, 1):
        searched(loop, recipe, file, f"{k}/2")
    with Store.open(files[1], create=False) as store:
        store.execute(change)
    code, _, err = loop("runs", "merge", *files, "-d", tmp_path / "all.db")
    assert code == 2
    assert what in err
    assert not (tmp_path / "all.db").exists()


def test_the_same_share_with_other_trees_is_refused(
    loop: Call, recipe: Path, tmp_path: Path
) -> None:
    files = [tmp_path / f"{k}.db" for k in (1, 2)]
    for file in files:
        searched(loop, recipe, file, "1/2")
    with Store.open(files[1], create=False) as store:
        store.execute("UPDATE nodes SET visits = visits + 1 WHERE idx = 0")
    code, _, err = loop("runs", "merge", *files, "-d", tmp_path / "all.db")
    assert code == 2
    assert "both shard 1/2" in err


def test_shards_of_other_searches_do_not_meet(loop: Call, recipe: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{k}.db" for k in (1, 2)]
    for k, file in enumerate(files, 1):
        searched(loop, recipe, file, f"{k}/2", "--seed", str(k))
    done = merged(loop, tmp_path / "all.db", *files)
    assert not done["joined"]
    assert sorted(done["waiting"].values()) == [["1/2"], ["2/2"]]


def test_a_share_without_a_wave_is_refused(loop: Call, recipe: Path, db: Path) -> None:
    code, _, err = loop("search", recipe, "-d", db, "--shard", "4/4")
    assert code == 2
    assert "has no wave: the round has 3" in err
    assert not db.exists()


def test_a_run_that_is_no_shard_is_not_searched_as_one(loop: Call, recipe: Path, db: Path) -> None:
    assert loop("search", recipe, "-d", db)[0] == 0
    code, _, err = loop("search", "latest", "--round", "1", "-d", db, "--shard", "1/2")
    assert code == 2
    assert "not a shard" in err


def test_a_study_in_shards_has_the_tables_of_one(
    loop: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_case.install(monkeypatch.setattr)
    file = study_case.write_study(tmp_path / "study")
    shards = [tmp_path / f"{k}.db" for k in (1, 2)]
    whole, target = tmp_path / "whole.db", tmp_path / "all.db"
    assert loop("study", file, "-d", whole, "--out", tmp_path / "whole")[0] == 0
    for k, db in enumerate(shards, 1):
        words = ("--shard", f"{k}/2", "--out", tmp_path / str(k))
        assert loop("study", file, "-d", db, *words)[0] == 0
    assert len(merged(loop, target, *shards)["copied"]) == study_case.CELLS
    assert not merged(loop, target, *shards)["copied"]
    assert loop("study", file, "--no-run", "-d", target, "--out", tmp_path / "all")[0] == 0
    assert _results(target) == _results(whole)
    code, _, err = loop("study", file, "-d", tmp_path / "3.db", "--shard", "3/3")
    assert code == 2
    assert "has no cells" in err


def _results(db: Path) -> dict[str, list[Any]]:
    """What each run stored. An evaluation that another run has played names that run's seed, and
    costs nothing."""
    return {
        name: [str(row).replace("'seed': 2", "'seed': 1") for row in study_case.without_usage(rows)]
        for name, rows in study_case.contents(db).items()
    }
