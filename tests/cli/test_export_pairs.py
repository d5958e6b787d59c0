"""Export of preferences: the fields that TRL reads, which pairs, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agentr_lite.cli.export import export
from agentr_lite.core.errors import AgentrError, UsageError
from agentr_lite.store.preferences import list_preferences
from agentr_lite.train.dataset import build_dataset
from tests.support.preference_cases import pair_recipe, planted_run
from tests.support.splice_cases import actions


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A run with 8 pairs of episodes, 8 of steps and 4 of revisions."""
    path = tmp_path / "runs.db"
    planted_run(path, pair_recipe())[0].close()
    return path


def run(database: Path, *arguments: str) -> Any:
    return CliRunner().invoke(
        export,
        ["latest", "-d", str(database), "-o", "-", *arguments],
        catch_exceptions=True,
        standalone_mode=False,
    )


def lines(result: Any) -> list[dict[str, Any]]:
    assert result.exception is None, result.exception
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("kind", "count"), [("all", 20), (None, 20), ("episode", 8), ("step", 8), ("revision", 4)]
)
def test_the_kinds_of_pairs(database: Path, kind: str | None, count: int) -> None:
    result = run(database, "--format", "dpo", *(["--kind", kind] if kind else []))
    rows = lines(result)
    assert len(rows) == count == len({row["id"] for row in rows})
    assert f"{count} pairs of " in result.stderr
    if kind in ("episode", "step", "revision"):
        assert {row["kind"] for row in rows} == {kind}


def test_a_pair_has_a_prompt_and_two_continuations(database: Path) -> None:
    rows = lines(run(database, "--format", "dpo", "--kind", "step"))
    [row] = [
        row
        for row in rows
        if row["id"].startswith("corridor/t0/1/step/") and row["rejected_value"] == 0.0
    ]
    assert [set(turn) for turn in row["prompt"]] == [{"role", "content"}] * 4
    assert row["prompt"][0]["role"] == "system" and row["prompt"][-1]["role"] == "user"
    assert row["chosen"] == [{"role": "assistant", "content": "Thought: on.\nAction: take"}]
    assert row["rejected"] == [{"role": "assistant", "content": "Thought: on.\nAction: jump"}]
    assert (row["chosen_value"], row["rejected_value"]) == (0.625, 0.0)


def test_what_is_exported_is_what_is_trained_on(tmp_path: Path) -> None:
    store, run_id = planted_run(tmp_path / "runs.db", pair_recipe())
    with store:
        trained = build_dataset(store, run_id, 1, pair_recipe(), {}).pairs
        assert len(trained) == len(list_preferences(store, run_id))
    rows = lines(run(tmp_path / "runs.db", "--format", "dpo"))
    key = lambda parts: json.dumps(parts, sort_keys=True)  # noqa: E731
    assert sorted(
        key([row["prompt"], row["chosen"], row["chosen_loss"], row["rejected"]]) for row in rows
    ) == sorted(
        key([pair.messages, pair.chosen, pair.chosen_loss, pair.rejected]) for pair in trained
    )


def test_conversations_and_pairs_have_their_own_kinds(database: Path) -> None:
    for arguments, said in (
        (["--format", "dpo", "--kind", "good"], "one of episode, step, revision, all"),
        (["--kind", "step"], "Pairs need --format dpo"),
    ):
        refused = run(database, *arguments)
        assert isinstance(refused.exception, UsageError) and said in refused.exception.hint
    default = lines(run(database))
    assert len(default) == 4
    assert all("reflect" in actions(row["messages"]) for row in default)


def test_without_pairs_the_hint_says_how_to_make_them(database: Path, tmp_path: Path) -> None:
    planted_run(tmp_path / "none.db", pair_recipe(("step",)))[0].close()
    refused = run(tmp_path / "none.db", "--format", "dpo", "--kind", "revision")
    assert isinstance(refused.exception, AgentrError)
    assert "--redo --set splice.preferences=[step,revision]" in refused.exception.hint
    empty = run(database, "--format", "dpo", "--round", "2")
    assert isinstance(empty.exception, AgentrError)
    assert "splice.preference_margin" in empty.exception.hint
