"""``agentr-lite splice`` and ``export`` as a user meets them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.actors import registry as actors
from agentr_lite.cli import main
from agentr_lite.core.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE
from agentr_lite.core.messages import Message
from agentr_lite.envs import registry as envs
from agentr_lite.envs.base import StepResult
from agentr_lite.recipe.groups import SearchSettings, SpliceSettings
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store, runs
from tests.support.corridor import Corridor
from tests.support.splice_cases import RuleActor, actions, plant

GOOD = "forward, take, forward, open"


def policy(messages: Sequence[Message], seed: int) -> str:
    done = actions(messages)
    return ["back", "take", "forward", "forward", "open"][len(done) - 1 - done.index("reflect")]


class Fragile(Corridor):
    """Breaks when the key is thrown."""

    name = "corridor"

    def step(self, action: str) -> StepResult:
        if action == "throw":
            raise RuntimeError("socket closed")
        return super().step(action)


class Cli:
    """Runs commands with a rule in place of a model."""

    def __init__(self, db: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        self.db = db
        self.actor = RuleActor(["throw"], policy)
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(actors, "open_actor", lambda recipe: self.actor)
        monkeypatch.setitem(envs._BUILT_IN, "corridor", f"{Corridor.__module__}:Corridor")

    def break_environment(self) -> None:
        self._monkeypatch.setitem(envs._BUILT_IN, "corridor", f"{__name__}:Fragile")

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        full = [*arguments, "-d", str(self.db)]
        self._monkeypatch.setattr(sys, "argv", ["agentr-lite", *full])
        with pytest.raises(SystemExit) as caught:
            main(full)
        out, err = self._capsys.readouterr()
        return int(caught.value.code or 0), out, err


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Cli:
    """A run with one searched tree."""
    made = Cli(tmp_path / "runs.db", monkeypatch, capsys)
    settings = Recipe(
        env=(EnvironmentSettings("corridor"),),
        search=SearchSettings(depth=8),
        splice=SpliceSettings((1.0,)),
    )
    with Store.open(made.db) as store:
        run_id = create_run(store, settings)
        env = Corridor()
        plant(store, run_id, env, env.tasks("train")[0], [GOOD, "forward, take, throw, forward"])
        runs.stage_started(store, run_id, 1, "search")
        runs.stage_finished(store, run_id, 1, "search")
    return made


def test_a_round_is_spliced_and_exported(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("splice")

    assert code == 0
    assert "naive splices that failed their replay" in out
    assert "100.0%" in out
    assert "recovered" in out
    assert "agentr-lite export" in err
    out_file = tmp_path / "out.jsonl"
    assert cli("export", "latest", "-o", str(out_file))[0] == 0
    [line] = out_file.read_text().splitlines()
    assert "reflect" in actions(json.loads(line)["messages"])


def test_json_is_one_document(cli: Cli) -> None:
    code, out, _ = cli("splice", "--json")

    assert code == 0
    data = json.loads(out)
    assert data["round"] == 1
    assert data["splice"]["accepted"] == {"recovered": 1}
    assert data["splice"]["naive_failed_share"] == 1.0


def test_done_is_done_until_redone_with_other_settings(cli: Cli) -> None:
    cli("splice")
    batches = len(cli.actor.batches)

    code, _, err = cli("splice")
    assert (code, len(cli.actor.batches)) == (0, batches)
    assert "spliced already" in err
    code, _, err = cli("splice", "--verify", "off")
    assert code == EXIT_USAGE
    assert "--redo" in err
    code, out, _ = cli("splice", "--verify", "off", "--redo", "--json")
    assert code == 0
    assert json.loads(out)["splice"]["accepted"] == {"naive": 1}


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("search.width=2", "cannot be changed"),
        ("splice.data=good", "chooses what is trained on"),
        ("splice.contested=false", "chooses what is trained on"),
        ("splice.betta=1", "did you mean 'splice.beta'"),
        ("splice.critic=maybe", "not one of"),
    ],
)
def test_wrong_settings_are_refused(cli: Cli, override: str, problem: str) -> None:
    code, _, err = cli("splice", "--set", override)

    assert code == EXIT_USAGE
    assert problem in err
    assert cli.actor.batches == []


def test_interrupted_says_how_to_go_on(cli: Cli) -> None:
    cli.actor.stop_after = 1

    code, _, err = cli("splice", "latest", "--critic", "score")

    assert code == EXIT_INTERRUPTED
    assert "agentr-lite splice corridor-" in err
    assert "--set splice.critic=score" in err
    cli.actor.stop_after = -1
    assert cli("splice")[0] == 0


def test_where_every_pair_meets_a_broken_environment_it_ends_with_1(cli: Cli) -> None:
    cli.break_environment()

    code, out, err = cli("splice", "--json")

    assert code == EXIT_FAILED
    assert json.loads(out)["splice"]["rejected"] == {"environment fault": 1}
    assert "1 of 1 pairs" in err


def test_a_run_without_trees_is_an_error(cli: Cli) -> None:
    with Store.open(cli.db) as store:
        run_id = create_run(store, Recipe(env=(EnvironmentSettings("corridor"),)))

    code, _, err = cli("splice", run_id)

    assert code == EXIT_USAGE
    assert "has no trees" in err
    assert f"agentr-lite search {run_id}" in err
    assert cli("splice", "latest", "--round", "7")[0] == EXIT_USAGE
