"""Names, notes and tags of runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from agentr_lite.recipe.loading import load_recipe
from agentr_lite.report.model.comparison import Compared, gather_compared
from agentr_lite.report.tables.comparison import _method_labels
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store
from agentr_lite.store.labels import RunLabels, labels_of
from agentr_lite.store.runs import list_runs
from agentr_lite.store.transfer import copy_run
from tests.support.command_line import Call, one_error
from tests.support.report_case import Page


@pytest.fixture
def two(db: Path) -> list[str]:
    """Ids of two runs that differ in their seed."""
    with Store.open(db) as store:
        return [create_run(store, load_recipe("smoke", [f"seed={seed}"])) for seed in (1, 2)]


def test_a_name_stands_in_lists_and_for_the_run(cli: Call, db: Path, two: list[str]) -> None:
    first, second = two
    assert cli("runs", "name", first, " my first ", "-d", db) == (0, "", "")
    assert cli("runs", "note", first, "a wide search\nof all tasks", "-d", db)[0] == 0
    rows = {row["id"]: row for row in json.loads(cli("runs", "-d", db, "--json")[1])}
    assert (rows[first]["name"], rows[second]["name"]) == ("my first", "")
    assert "my first" in cli("runs", "-d", db)[1]
    assert first in cli("runs", "show", "my first", "-d", db)[1]
    assert cli("runs", "note", "my first", "-d", db)[1] == "a wide search\nof all tasks\n"
    report = cli("report", first, "-d", db)[1]
    assert "name my first" in report and "note a wide search of all tasks" in report
    assert cli("runs", "name", first, "", "-d", db)[0] == 0
    assert "my first" not in cli("runs", "-d", db)[1]


def test_a_name_is_of_one_run_only(cli: Call, db: Path, two: list[str]) -> None:
    first, second = two
    cli("runs", "name", first, "wide", "-d", db)
    for name, message in (
        ("wide", "has this name already"),
        ("latest", "means a run already"),
        ("smoke-or-not", None),
        (second[:9], "means a run already"),
        ("two\nlines", "one line"),
        ("x" * 61, "at most 60"),
    ):
        code, _, err = cli("runs", "name", second, name, "-d", db)
        assert code == (2 if message else 0)
        assert message is None or message in one_error(err)


def test_tags_filter_the_list(cli: Call, db: Path, two: list[str]) -> None:
    first, second = two
    cli("runs", "tag", first, "good", "wide", "-d", db)
    cli("runs", "tag", second, "wide", "-d", db)

    def listed(*tags: str) -> set[str]:
        options = [word for tag in tags for word in ("--tag", tag)]
        return {row["id"] for row in json.loads(cli("runs", *options, "-d", db, "--json")[1])}

    assert listed("wide") == {first, second}
    assert listed("wide", "good") == {first}
    assert listed("none") == set()
    cli("runs", "tag", first, "good", "--remove", "-d", db)
    assert listed("good") == set()


def test_a_copied_or_deleted_run_takes_its_labels_along(
    cli: Call, db: Path, two: list[str], tmp_path: Path
) -> None:
    first, second = two
    cli("runs", "name", first, "mine", "-d", db)
    cli("runs", "tag", first, "a", "b", "-d", db)
    with Store.open(db) as store, Store.open(tmp_path / "copy.db") as copy:
        assert copy_run(store, copy, first)
        assert labels_of(copy, first) == RunLabels("mine", "", ("a", "b"))
        # They do not make the run another one.
        assert not copy_run(store, copy, first)
    assert cli("runs", "delete", first, "--yes", "-d", db)[0] == 0
    with Store.open_to_read(db) as store:
        assert store.scalar("SELECT count(*) FROM run_labels") == 0
        assert store.scalar("SELECT count(*) FROM run_tags") == 0
        assert labels_of(store, second) == RunLabels()


def test_a_comparison_calls_runs_by_their_names(cli: Call, db: Path, two: list[str]) -> None:
    first, second = two
    cli("runs", "name", first, "the first try", "-d", db)
    with Store.open_to_read(db) as store:
        labels = [run.label for run in gather_compared([(store, first), (store, second)])]
    assert labels == ["the first try", "seed 2"]


def test_a_tag_names_the_runs_of_a_report(cli: Call, db: Path, two: list[str]) -> None:
    first, second = two
    for run in two:
        cli("runs", "tag", run, "wide", "-d", db)
    cli("runs", "tag", second, "late", "-d", db)

    def reported(*tags: str) -> list[str]:
        options = [word for tag in tags for word in ("--tag", tag)]
        code, out, err = cli("report", *options, "--json", "-d", db)
        assert code == 0, err
        found = json.loads(out)
        return [one["run"]["id"] for one in (found if isinstance(found, list) else [found])]

    with Store.open_to_read(db) as store:
        oldest_first = [run.id for run in reversed(list_runs(store))]
    assert reported("wide") == oldest_first and set(oldest_first) == {first, second}
    assert reported("wide", "late") == [second]
    code, _, err = cli("report", "--tag", "wid", "-d", db)
    assert code == 2 and "has the tag wid (did you mean 'wide'?)" in err
    assert "The tags there are: late, wide." in err
    code, _, err = cli("report", first, "--tag", "wide", "-d", db)
    assert code == 2 and "exclude each other" in one_error(err)


def test_an_empty_list_says_which_filter_emptied_it(cli: Call, db: Path, two: list[str]) -> None:
    assert "`agentr-lite runs tag RUN TAG`" in cli("runs", "--tag", "wide", "-d", db)[2]
    cli("runs", "tag", two[0], "wide", "-d", db)
    said = cli("runs", "--tag", "wdie", "-d", db)[2]
    assert "No run in" in said and "did you mean 'wide'" in said and "Begin with" not in said
    said = cli("runs", "list", "--env", "textcarft", "-d", db)[2]
    assert "did you mean 'textcraft'" in said and "Its runs are of textcraft." in said


def test_a_mistyped_name_is_known(cli: Call, db: Path, two: list[str]) -> None:
    cli("runs", "name", two[0], "wide search", "-d", db)
    code, _, err = cli("runs", "show", "wide saerch", "-d", db)
    assert code == 2 and "did you mean 'wide search'?" in one_error(err)


def test_tables_of_a_comparison_use_the_names(cli: Call, db: Path, two: list[str]) -> None:
    runs = [
        compared_of(cli, db, two[0], name="the first try"),
        compared_of(cli, db, two[1], method="smoke, width 3"),
    ]
    assert _method_labels(runs) == {"smoke": "the first try", "smoke, width 3": "smoke, width 3"}
    # A name is of one run, a method may have several.
    pooled = [replace(run, method="smoke") for run in runs]
    assert _method_labels(pooled) == {"smoke": "smoke"}


def compared_of(cli: Call, db: Path, run: str, *, name: str = "", method: str = "") -> Compared:
    """A run as a comparison reads it, with a name or as of a method."""
    if name:
        cli("runs", "name", run, name, "-d", db)
    with Store.open_to_read(db) as store:
        [compared] = gather_compared([(store, run)])
    return replace(compared, method=method) if method else compared


def test_a_page_shows_names_tags_and_notes(
    cli: Call, db: Path, two: list[str], tmp_path: Path
) -> None:
    first, second = two
    cli("runs", "name", first, "wide <search>", "-d", db)
    cli("runs", "note", first, "as wide\nas it gets", "-d", db)
    cli("runs", "tag", first, "good", "wide", "-d", db)

    def page(*runs: str) -> Page:
        target = tmp_path / "page.html"
        assert cli("report", *runs, "--html", target, "--force", "-d", db)[0] == 0
        return Page(target.read_text("utf-8"))

    alone, together = page(first), page(first, second)
    assert "<h1>wide &lt;search&gt;</h1>" in alone.source and first in alone.text
    for shown in (alone, together):
        assert len(shown.of("span", "tag")) == 2 and "as wide as it gets" in shown.text
    # Whose tags they are stands before them where there are several runs.
    assert "wide <search> good wide as wide as it gets" in together.text
    assert not page(second).of("p", "remark")


def test_several_runs_are_compared_before_each_is_shown(
    cli: Call, db: Path, two: list[str]
) -> None:
    first, second = two
    cli("runs", "name", first, "the first try", "-d", db)
    shown = cli("report", first, second, "-d", db)[1]
    assert shown.startswith("2 runs compared\n\nThe runs\n")
    comparison, _, each = shown.partition(f"Run {first}\n")
    assert "the first try" in comparison and "seed 2" in comparison
    assert f"Run {second}\n" in each
    assert cli("report", first, second, "--md", "-d", db)[1].startswith("# 2 runs compared\n")
    assert "compared" not in cli("report", first, "-d", db)[1]
