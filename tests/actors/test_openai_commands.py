"""The commands with a server's model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.envs import registry
from tests.support.command_line import Call, one_error
from tests.support.openai_server import (
    KEY,
    FakeServer,
)


@pytest.fixture
def player(server: FakeServer) -> FakeServer:
    """A server that plays the corridor badly and judges everything to be good."""

    def reply(body: dict[str, Any], seed: int) -> str:
        if "Judgement" in body["messages"][-1]["content"]:
            return "Fine.\nJudgement: good"
        return f"Thought: on.\nAction: {('forward', 'take', 'open')[seed % 3]}"

    server.reply = reply
    return server


def test_search_splice_and_eval_work_and_training_is_refused(
    player: FakeServer,
    url: str,
    cli: Call,
    tmp_path: Path,
    db: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {**registry._BUILT_IN, "corridor": "tests.support.corridor:Corridor"}
    monkeypatch.setattr(registry, "_BUILT_IN", known)
    monkeypatch.setenv("AGENTR_LITE_API_KEY", KEY)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "env: corridor\nsearch: {tasks: 2, simulations: 2, width: 3, depth: 4}\n"
        f"eval: {{tasks: 2, max_steps: 3}}\nmodel: 'openai:{url}#toy'\n"
    )
    code, _, err = cli("run", recipe, "-d", db)
    assert code == 3
    assert "server's model" in one_error(err)
    code, out, err = cli("search", recipe, "-d", db, "--json")
    assert code == 0, err
    assert "critic of this run will reason" in err
    run = json.loads(out)["run"]
    code, out, err = cli("splice", run, "-d", db, "--json")
    assert code == 0, err
    code, out, err = cli("eval", run, "-d", db, "--json")
    assert code == 0, err
    code, out, err = cli("run", recipe, "--set", "rounds=0", "-d", db)
    assert code == 0, err
    code, out, err = cli("train", run, "-d", db)
    assert code == 3
    # Neither the database nor anything beside it holds the key.
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY.encode() not in written


def test_another_model_under_the_old_address_is_noticed(
    player: FakeServer, url: str, cli: Call, db: Path
) -> None:
    player.models = [{"id": "toy", "owned_by": "llamacpp", "meta": {"n_params": 1000}}]
    arguments = ("eval", "textcraft", "--model", f"openai:{url}#toy", "--tasks", "1")
    arguments += ("--no-recovery", "--max-steps", "1", "-d", db, "--json")
    code, out, err = cli(*arguments)
    assert code == 0, err
    player.models = [{"id": "toy", "owned_by": "llamacpp", "meta": {"n_params": 2000}}]
    code, _, err = cli("eval", json.loads(out)["run"], "-d", db)
    assert code == 3
    assert "n_params 2000 instead of" in one_error(err)
