"""The views for people: they show what the program reports."""

from __future__ import annotations

import json
from pathlib import Path

import agentr_lite as al
from agentr_lite.metrics.episodes import OVERFLOW
from agentr_lite.store import Store
from agentr_lite.store.views import READABLE_VIEWS, VIEW_MEANINGS


def test_the_results_are_those_of_the_report(filled: Path) -> None:
    result = al.load_run(filled)
    with Store.open_to_read(filled) as store:
        rows = store.rows("SELECT * FROM results ORDER BY round, mode")
        episodes = store.rows("SELECT * FROM episodes WHERE mode = 'greedy'")
        steps = store.scalar("SELECT sum(steps) FROM eval_items")
        lines = [len(row["actions"].split("\n")) for row in store.rows("SELECT * FROM episodes")]
    known = {(e.round, e.mode): e for e in result.evaluations}
    assert {(row["round"], row["mode"]) for row in rows} == set(known)
    for row in rows:
        evaluation = known[row["round"], row["mode"]]
        assert evaluation.success is not None
        assert row["success_percent"] == round(100 * evaluation.success, 1)
        assert row["episodes"] == evaluation.episodes
    assert len(episodes) == sum(e.episodes for e in result.evaluations if e.mode == "greedy")
    assert sum(lines) >= steps


def test_first_errors_are_one_a_trajectory_and_count_from_one(filled: Path) -> None:
    with Store.open_to_read(filled) as store:
        rows = store.rows("SELECT * FROM first_errors")
        judged = store.rows(
            "SELECT trajectory_id, min(step) AS step FROM judgements WHERE verdict = 'bad'"
            " GROUP BY trajectory_id"
        )
    expected = {row["trajectory_id"]: row["step"] + 1 for row in judged}
    assert {row["trajectory"]: row["step"] for row in rows} == expected
    assert len(rows) == len(expected)
    assert all(1 <= row["step"] <= row["of_steps"] and row["action"] for row in rows)


def test_revisions_have_their_conversations(filled: Path) -> None:
    with Store.open_to_read(filled) as store:
        rows = store.rows("SELECT * FROM revisions_readable")
        stored = store.rows("SELECT id, messages FROM revisions ORDER BY id")
    assert [row["id"] for row in rows] == [row["id"] for row in stored]
    for row, kept in zip(rows, stored, strict=True):
        if kept["messages"] is None:
            assert row["conversation"] is None
            continue
        turns = json.loads(kept["messages"])["messages"]
        assert row["conversation"].startswith(f"{turns[0]['role'].upper()}: {turns[0]['content']}")
        assert row["reflection"] in row["conversation"]


def test_the_views_are_documented_and_know_what_a_full_context_is(db: Path) -> None:
    with Store.open(db) as store:
        names = {row[0] for row in store.rows("SELECT name FROM sqlite_master WHERE type = 'view'")}
    assert names == set(VIEW_MEANINGS)
    assert OVERFLOW.replace("'", "''") in READABLE_VIEWS
