"""Preferences and late cuts in a run's report."""

from __future__ import annotations

import json
from pathlib import Path

from agentr_lite.report import render_run
from agentr_lite.store import Store, splices
from agentr_lite.train.dataset import build_dataset
from tests.support.preference_cases import GOOD, pair_recipe, planted_run

LONG = "forward, take, jump high, shout, shout, leave"


def words(text: str) -> str:
    return " ".join(text.split())


def test_pairs_are_counted_by_round_and_kind_with_an_example_of_each(tmp_path: Path) -> None:
    store, run_id = planted_run(tmp_path / "runs.db", pair_recipe())
    with store:
        build_dataset(store, run_id, 1, pair_recipe(), {})
        text = words(render_run(store, run_id, "text"))
        data = json.loads(render_run(store, run_id, "json"))
        markdown = render_run(store, run_id, "markdown")
    assert "round 1, episode 8 4 1.000 0.125 0.875" in text
    assert "round 1, step 8 4 0.812 0.125 0.688" in text
    assert "round 1, revision 4 4 1.000 0.250 0.750" in text
    assert (
        "(step): in t0, after “take”, “forward” (1.00) is preferred to “jump high” (0.25)" in text
    )
    assert "after “jump high”, the reflection (1.00) is preferred to “shout” (0.25)" in text
    assert [line["pairs"] for line in data["preferences"]] == [8, 8, 4]
    assert "## Preferences" in markdown
    [training] = data["training"]
    assert training["examples"] == {"preference": 20}


def test_a_run_without_pairs_has_no_such_table(tmp_path: Path) -> None:
    store, run_id = planted_run(tmp_path / "runs.db", pair_recipe(()))
    with store:
        build_dataset(store, run_id, 1, pair_recipe((), objective="sft"), {})
        text = render_run(store, run_id, "text")
    assert "Preference" not in text and "after the first error" not in text


def test_late_cuts_are_told_apart(tmp_path: Path) -> None:
    recipe = pair_recipe((), splice={"late_cuts": 0.6})
    store, run_id = planted_run(tmp_path / "runs.db", recipe, (GOOD, LONG))
    with store:
        rows = splices.list_revisions(store, run_id, accepted=True)
        late = [row for row in rows if row.first_error is not None]
        text = words(render_run(store, run_id, "text"))
    assert 0 < len(late) < len(rows) == 4
    assert all(row.first_error == 3 < row.cut_step for row in late)
    assert f"{len(late)} of 4 revisions come after the first error" in text


def test_markup_in_an_action_stays_text(tmp_path: Path) -> None:
    store, run_id = planted_run(tmp_path / "runs.db", pair_recipe(("step",)))
    with store:
        store.execute("UPDATE nodes SET action = '<b>*x*\x1b[5m' WHERE action = 'jump high'")
        markdown = render_run(store, run_id, "markdown")
        text = render_run(store, run_id, "text")
    assert "<b>" not in markdown
    assert "\x1b[5m" not in text + markdown


def test_a_store_that_is_reopened_shows_the_same(tmp_path: Path) -> None:
    store, run_id = planted_run(tmp_path / "runs.db", pair_recipe())
    with store:
        before = render_run(store, run_id, "json")
    with Store.open_to_read(tmp_path / "runs.db") as again:
        assert render_run(again, run_id, "json") == before
