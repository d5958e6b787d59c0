"""The views for people: they show what the program reports."""

from __future__ import annotations

import json
from pathlib import Path

import agentr_lite as al
from agentr_lite.metrics.episodes import OVERFLOW
from agentr_lite.store import Store
from agentr_lite.store.labels import set_name
from agentr_lite.store.runs import get_run
from agentr_lite.store.views import SHORTER_VIEWS, VIEW_MEANINGS


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


def test_results_have_the_names_of_runs(filled: Path) -> None:
    with Store.open(filled) as store:
        assert {row["name"] for row in store.rows("SELECT * FROM results")} == {""}
        set_name(store, get_run(store, "latest").id, "wide search")
        assert {row["name"] for row in store.rows("SELECT * FROM results")} == {"wide search"}


def test_actions_are_numbered_and_invalid_ones_say_so(filled: Path) -> None:
    with Store.open_to_read(filled) as store:
        rows = store.rows("SELECT mode, actions, invalid_actions FROM episodes")
    assert rows
    for row in rows:
        # An action has one line here: the corridor knows no others.
        lines = row["actions"].split("\n") if row["actions"] else []
        assert [line.partition(". ")[0] for line in lines] == [
            str(number) for number in range(1, len(lines) + 1)
        ]
        if row["mode"] != "recovery":  # There, the given steps do not count.
            assert sum(line.endswith(" (invalid)") for line in lines) == row["invalid_actions"]


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


def test_revisions_have_their_turns_and_conversations(filled: Path) -> None:
    with Store.open_to_read(filled) as store:
        rows = store.rows("SELECT * FROM revisions_readable ORDER BY id")
        stored = store.rows("SELECT id, messages FROM revisions ORDER BY id")
        said = store.rows("SELECT * FROM conversations ORDER BY revision, message")
    assert [row["id"] for row in rows] == [row["id"] for row in stored]
    assert any(kept["messages"] for kept in stored)
    for row, kept in zip(rows, stored, strict=True):
        mine = [message for message in said if message["revision"] == row["id"]]
        if kept["messages"] is None:
            assert (row["turns_before"], row["turns_learnt"], mine) == (None, None, [])
            continue
        whole = json.loads(kept["messages"])
        assert [(m["role"], m["text"]) for m in mine] == [
            (m["role"], m["content"]) for m in whole["messages"]
        ]
        assert [m["learnt"] == "yes" for m in mine] == [bool(flag) for flag in whole["loss"]]
        turns = [m for m in mine if m["role"] == "assistant"]
        learnt = [m["text"] for m in turns if m["learnt"]]
        assert row["turns_learnt"] == "\n\n".join(learnt)
        assert row["turns_before"] == "\n\n".join(m["text"] for m in turns if not m["learnt"])
        assert row["reflection"] in row["turns_learnt"]


def test_the_views_are_documented_and_know_what_a_full_context_is(db: Path) -> None:
    with Store.open(db) as store:
        names = {row[0] for row in store.rows("SELECT name FROM sqlite_master WHERE type = 'view'")}
    assert names == set(VIEW_MEANINGS)
    assert OVERFLOW.replace("'", "''") in SHORTER_VIEWS
