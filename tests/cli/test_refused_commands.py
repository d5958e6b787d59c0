"""A command that is refused leaves nothing behind, and the same mistake has the same exit code."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.support.command_line import Call, one_error


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("run --resume latest -d new/x.db", 4),
        ("run textcraft --model no-such-model -d new/x.db", 3),
        ("search textcraft --model no-such-model -d new/x.db", 3),
        ("eval textcraft --model no-such-model -d new/x.db", 3),
        ("imitate textcraft --model no-such-model -d new/x.db", 3),
        ("demos import chats.jsonl --env textcraft -d new/x.db", 1),
        ("splice latest -d new/x.db", 4),
        ("train latest -d new/x.db", 4),
        ("search latest -d new/x.db", 4),
        ("eval latest -d new/x.db", 4),
        ("export latest -o new/x.jsonl -d {db}", 2),
        ("export latest --round 9 -o x.jsonl -d {db}", 1),
        ("report latest --html new/x.html -d {db}", 2),
        ("demos export -o new/x.jsonl -d {db}", 2),
        ("convert model chats.jsonl -o new/x", 2),
        ("runs export nothing --to new/x.db -d {db}", 2),
        ("runs merge no.db -d new/x.db", 4),
        ("runs -d new/x.db", 4),
        ("runs list -d new/x.db", 4),
        ("runs -d new/x.db list", 4),
        ("runs show latest -d new/x.db", 4),
        ("trees latest -d new/x.db", 4),
        ("report -d new/x.db", 4),
        ("demos -d new/x.db", 4),
        ("demos show 1 -d new/x.db", 4),
        ("demos delete --yes -d new/x.db", 4),
        ("models pull no-such-model", 3),
        ("models remove no-such-model", 3),
        ("models show no-such-model", 3),
    ],
)
def test_nothing_is_left(
    filled: Path,
    cli: Call,
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    code: int,
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    chat = '{"messages": [{"role": "user", "content": "Goal: craft bread."}], "task": "no"}\n'
    (folder / "chats.jsonl").write_text(chat)
    before = sorted([*folder.rglob("*"), *home.rglob("*"), *filled.parent.glob("*.db")])
    ended, _, err = cli(*line.format(db=filled).split())
    assert (ended, one_error(err)[:7]) == (code, "Error: ")
    after = sorted([*folder.rglob("*"), *home.rglob("*"), *filled.parent.glob("*.db")])
    assert after == before


def test_demonstrations_of_a_missing_model_leave_no_database(cli: Call, tmp_path: Path) -> None:
    db = tmp_path / "new" / "x.db"
    model = ["--model", "no-such-model", "--tasks", "1"]
    code, _, err = cli("demos", "make", "textcraft", *model, "-d", db)
    assert (code, one_error(err)[:7]) == (3, "Error: ")
    assert not db.parent.exists()


@pytest.mark.parametrize("env", ["sciworld", "gymnasium:Blackjack-v1"])
def test_a_missing_package_is_wrong_usage_in_every_environment(
    cli: Call, db: Path, monkeypatch: pytest.MonkeyPatch, env: str
) -> None:
    packages, found = ("scienceworld", "gymnasium"), importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name in packages else found(name)
    )
    code, _, err = cli("run", env, "--set", "rounds=0", "-d", db)
    assert code == 2
    assert "is not installed" in one_error(err)
    assert "pip install 'agentr-lite[" in err
    assert not db.exists()


@pytest.mark.parametrize("command", ["runs", "demos"])
def test_before_the_first_run_a_list_is_empty(
    cli: Call, home: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.delenv("AGENTR_LITE_DB", raising=False)
    assert cli(command, "--json")[:2] == (0, "[]\n")
    assert not list(home.rglob("*.db"))


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("run textcraft --rounds 2", "`--set rounds=VALUE`"),
        ("run textcraft --learning-rate 0.1", "`--set train.learning_rate=VALUE`"),
        ("search textcraft --simulations 3", "`--set search.simulations=VALUE`"),
        ("run textcraft --tasks 3", "`--set search.tasks=VALUE` or `--set eval.tasks=VALUE`"),
        ("run textcraft --no-such-thing", "--help` says how it is used"),
        ("runs --rounds 2", "--help` says how it is used"),
    ],
)
def test_a_recipe_key_as_an_option_is_named_with_set(cli: Call, line: str, hint: str) -> None:
    code, _, err = cli(*line.split())
    assert code == 2 and "No such option" in one_error(err)
    assert hint in err
