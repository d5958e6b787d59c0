"""``agentr-lite demos`` and ``play --record`` as a user meets them, in the corridor."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.envs import registry as environments
from agentr_lite.envs.base import PLAIN_THOUGHT
from agentr_lite.runs import demonstrations
from agentr_lite.store import Store
from agentr_lite.store.demonstrations import list_demonstrations
from agentr_lite.store.records import DemonstrationRow
from tests.support.command_line import Call, one_error
from tests.support.corridor import Corridor

TRAIN = Corridor().tasks("train")


def stored(db: Path) -> list[DemonstrationRow]:
    if not db.exists():
        return []
    with Store.open_to_read(db) as store:
        return list_demonstrations(store, split=None)


def data(cli: Call, *arguments: object) -> Any:
    code, out, err = cli(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_an_empty_database_says_how_to_begin(loop: Call, db: Path) -> None:
    Store.open(db).close()
    assert loop("demos", "-d", db) == (
        0,
        "",
        f"No demonstrations in {db}. `agentr-lite demos make ENV` makes some.\n",
    )
    assert data(loop, "demos", "-d", db) == []


def test_an_oracle_demonstrates_training_tasks_once(loop: Call, db: Path) -> None:
    [made] = data(loop, "demos", "make", "corridor", "-d", db, "--tasks", 3)
    assert (made["source"], made["tasks"], made["added"]) == ("solve", 3, 3)
    [made] = data(loop, "demos", "make", "corridor", "-d", db)
    assert (made["tasks"], made["present"], made["added"]) == (len(TRAIN), 3, len(TRAIN) - 3)
    [group] = data(loop, "demos", "-d", db)
    assert (group["env"], group["source"], group["demonstrations"]) == ("corridor", "solve", 8)
    rows = stored(db)
    assert {row.task.name for row in rows} == {task.name for task in TRAIN}
    assert {row.task.split for row in rows} == {"train"}
    assert all(row.reward == 1.0 and PLAIN_THOUGHT in row.steps[0].text for row in rows)


def test_an_environment_without_an_expert_says_so(loop: Call, db: Path) -> None:
    code, _, err = loop("demos", "make", "corridor", "-d", db, "--source", "expert")
    assert code == 2 and one_error(err) == "Error: corridor has no expert"
    code, _, err = loop("demos", "make", "corridor", "--source", "solve", "--model", "starter")
    assert code == 2 and "not for --model" in one_error(err)


def test_an_environment_without_an_oracle_says_what_else_there_is(
    cli: Call, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(Corridor):
        def solve(self, task: Any) -> list[str]:
            raise NotImplementedError

    monkeypatch.setattr(sys.modules[__name__], "Silent", Silent, raising=False)
    known = {**environments._BUILT_IN, "silent": f"{__name__}:Silent"}
    monkeypatch.setattr(environments, "_BUILT_IN", known)
    code, _, err = cli("demos", "make", "silent", "-d", db)
    assert code == 2 and one_error(err) == "Error: corridor has no oracle"
    assert "`play --record`" in err and stored(db) == []


def test_data_and_an_error_are_not_two_documents(
    loop: Call, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(env: Any, action: str) -> Any:
        raise ValueError("a bug")

    monkeypatch.setattr(Corridor, "step", broken)
    code, out, err = loop("demos", "make", "corridor", "--tasks", 2, "-d", db, "--json")
    [made] = json.loads(out)
    assert code == 1 and made["added"] == 0 and len(made["refused"]) == 2
    assert one_error(err) == "Error: no task gave a demonstration"


def test_another_models_successes_are_kept(loop: Call, db: Path) -> None:
    make = ("demos", "make", "corridor", "-d", db, "--model", "/models/big.gguf", "--seed", 5)
    [made] = data(loop, *make, "--attempts", 3)
    assert made["source"] == "model:big.gguf"
    assert 0 < made["added"] < len(TRAIN)
    assert made["added"] + len(made["refused"]) == len(TRAIN)
    rows = stored(db)
    assert len(rows) == made["added"] and {row.task.split for row in rows} == {"train"}
    assert not {row.task.name for row in rows} & set(made["refused"])
    # Again: only what is missing is played.
    [again] = data(loop, *make)
    assert again["present"] == made["added"]


def test_the_name_of_a_models_source() -> None:
    named = {
        "starter": "model:starter",
        "/m/big-q8.gguf": "model:big-q8.gguf",
        "mlx:/m/big": "model:big",
        "openai:http://h:1/v1#org/big": "model:big",
    }
    assert {model: demonstrations.model_source(model) for model in named} == named


def test_an_export_can_be_imported(loop: Call, db: Path, tmp_path: Path) -> None:
    data(loop, "demos", "make", "corridor", "-d", db)
    for layout in ("openai", "sharegpt", "agent-r"):
        file = tmp_path / f"{layout}.json"
        code, out, err = loop("demos", "export", "-d", db, "-o", file, "--format", layout)
        assert (code, out) == (0, "") and "8 demonstrations in" in err
        other = tmp_path / f"{layout}.db"
        counts = data(loop, "demos", "import", file, "--env", "corridor", "-d", other)
        assert (counts["conversations"], counts["kept"], counts["new"]) == (8, 8, 8)
        assert counts["refused"] == []
        before, after = stored(db), stored(other)
        assert [(row.task.name, row.steps) for row in before] == [
            (row.task.name, row.steps) for row in after
        ]
        assert {row.source for row in after} == {f"import:{file.name}"}
    code, _, err = loop("demos", "export", "-d", db, "-o", file)
    assert code == 2 and "exists" in one_error(err)


def test_an_import_says_of_each_line_why_it_is_not_kept(
    loop: Call, db: Path, tmp_path: Path
) -> None:
    env = Corridor()
    lines = []
    for task in (TRAIN[0], env.tasks("dev")[0], env.tasks("test")[0]):
        turns = [{"role": "user", "content": env.reset(task)[0]}]
        turns += [{"role": "assistant", "content": turn} for turn in env.demonstrate(task)]
        lines.append(json.dumps({"messages": turns}))
    file = tmp_path / "chats.jsonl"
    file.write_text("\n".join([*lines, "{"]), "utf-8")
    code, out, err = loop("demos", "import", file, "--env", "corridor", "-d", db, "--name", "mine")
    assert code == 0 and "1 of 4 conversations are kept." in err
    assert "its task is of the dev split; only training tasks are demonstrated" in out
    assert "its task is of the test split; only training tasks are demonstrated" in out
    assert "line 4" in out and "it is not JSON" in out
    [row] = stored(db)
    assert (row.task.name, row.source) == (TRAIN[0].name, "import:mine")
    code, _, err = loop("demos", "import", file, "--env", "corridor", "-d", db, "--name", "mine")
    assert code == 0 and "1 of them were there before" in err
    file.write_text("\n".join(lines[1:]), "utf-8")
    code, _, err = loop("demos", "import", file, "--env", "corridor", "-d", db)
    assert code == 1 and "is a demonstration of corridor" in one_error(err)


def test_show_and_delete(loop: Call, db: Path) -> None:
    data(loop, "demos", "make", "corridor", "-d", db, "--tasks", 2)
    rows = data(loop, "demos", "list", "-d", db, "--each")
    shown = data(loop, "demos", "show", rows[0]["id"], "-d", db)
    assert shown["task"]["name"] == rows[0]["task"] and len(shown["steps"]) == rows[0]["steps"]
    code, out, _ = loop("demos", "show", rows[0]["id"], "-d", db)
    assert code == 0 and PLAIN_THOUGHT in out and "The door opens." in out
    code, _, err = loop("demos", "show", 99, "-d", db)
    assert code == 2 and one_error(err) == "Error: there is no demonstration 99"
    code, _, err = loop("demos", "delete", "-d", db)
    assert code == 2 and "needs a yes" in one_error(err)
    code, _, err = loop("demos", "delete", "-d", db, "--source", "person", "--yes")
    assert code == 2 and "no such demonstrations" in one_error(err)
    assert data(loop, "demos", "delete", "-d", db, "--task", rows[0]["task"], "--yes") == {
        "deleted": 1
    }
    assert [row.task.name for row in stored(db)] == [rows[1]["task"]]


def play(loop: Call, monkeypatch: pytest.MonkeyPatch, lines: list[str], *more: object) -> Any:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(line + "\n" for line in lines)))
    return loop("play", "corridor", "--record", *more)


def test_a_solved_game_is_recorded_with_its_thoughts(
    loop: Call, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = TRAIN[0]
    lines = ["forward", ":undo", ":think The key is ahead.", *Corridor().solve(task)]
    code, _, err = play(loop, monkeypatch, lines, "--task", task.name, "-d", db)
    assert code == 0 and "Kept as a demonstration." in err
    [row] = stored(db)
    assert (row.task.name, row.source, row.reward) == (task.name, "person", 1.0)
    assert row.steps[0].text == "Thought: The key is ahead.\nAction: forward"
    assert row.steps[1].text == f"Thought: {PLAIN_THOUGHT}\nAction: take"
    _, _, err = play(loop, monkeypatch, lines, "--task", task.name, "-d", db)
    assert "You have shown this before; it is kept once." in err
    assert len(stored(db)) == 1


@pytest.mark.parametrize("lines", [[], ["forward", ":quit"], ["leave"], ["fly", "jump"]])
def test_other_games_are_not_recorded(
    loop: Call, db: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    code, _, err = play(loop, monkeypatch, lines, "--task", TRAIN[0].name, "-d", db)
    assert code == 0 and "Not kept: " in err
    assert stored(db) == []


@pytest.mark.parametrize("split", ["dev", "test"])
def test_held_out_tasks_are_not_recorded(
    loop: Call, db: Path, monkeypatch: pytest.MonkeyPatch, split: str
) -> None:
    task = Corridor().tasks(split)[0]
    for more in (("--split", split), ("--task", task.name)):
        code, out, err = play(loop, monkeypatch, Corridor().solve(task), *more, "-d", db)
        assert code == 2 and out == ""
        assert f"is a {split} task; only training tasks may be demonstrated" in one_error(err)
    assert stored(db) == []
