"""``agentr-lite search``, ``runs`` and ``trees`` as a user meets them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.actors import registry as actors
from agentr_lite.cli import main
from agentr_lite.core.config import artifacts_dir
from agentr_lite.envs import registry as envs
from agentr_lite.envs.base import StepResult
from agentr_lite.store import Store, runs, summaries, trees
from tests.support.corridor import Corridor
from tests.support.policy_actor import PolicyActor, wanderer

SETTINGS = [
    "--set",
    "search.tasks=5",
    "--set",
    "search.wave=2",
    "--set",
    "search.depth=6",
    "--set",
    "search.simulations=3",
]
WALKER = wanderer("forward", "take", "open", "leave", "back", "forward", "jump")


class Fragile(Corridor):
    """Breaks in corridors of length 5."""

    def step(self, action: str) -> StepResult:
        if self._state.length == 5:
            raise RuntimeError("length five")
        return super().step(action)


class Cli:
    """Runs commands with a policy in place of a model."""

    def __init__(self, db: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        self.db = db
        self.actor = PolicyActor(WALKER)
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(actors, "open_actor", lambda recipe: self.actor)
        for name in ("Corridor", "Fragile"):
            module = Corridor.__module__ if name == "Corridor" else __name__
            monkeypatch.setitem(envs._BUILT_IN, name.lower(), f"{module}:{name}")

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        full = [*arguments, "-d", str(self.db)]
        self._monkeypatch.setattr(sys, "argv", ["agentr-lite", *full])
        with pytest.raises(SystemExit) as caught:
            main(full)
        out, err = self._capsys.readouterr()
        return int(caught.value.code or 0), out, err

    def json(self, *arguments: str) -> Any:
        code, out, err = self(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Cli:
    return Cli(tmp_path / "runs.db", monkeypatch, capsys)


class TestSearch:
    def test_a_new_run_from_an_environment(self, cli: Cli) -> None:
        found = cli.json("search", "corridor", "--seed", "3", *SETTINGS)
        assert found["round"] == 1 and found["search"]["trees"] == 5
        [run] = cli.json("runs")
        assert (run["id"], run["status"], run["seed"]) == (found["run"], "finished", 3)
        assert (run["trees"], run["last_stage"]) == (5, "search 1")

    def test_says_what_came_of_it_and_what_is_next(self, cli: Cli) -> None:
        code, out, err = cli("search", "corridor", *SETTINGS)
        assert code == 0
        assert "valid actions" in out and "mean reward" in out
        assert "agentr-lite splice corridor-" in err

    def test_interrupted_then_resumed_by_the_command_that_it_names(self, cli: Cli) -> None:
        cli("search", "corridor", *SETTINGS)
        cli.actor = PolicyActor(WALKER, fail_at=20)
        code, _, err = cli("search", "corridor", *SETTINGS)
        assert code == 130
        hint = next(line for line in err.splitlines() if "Go on with" in line)
        command = hint.partition("agentr-lite ")[2].split()
        assert "--set" not in command
        interrupted, whole = cli.json("runs")
        assert interrupted["status"] == "interrupted"
        cli.actor = PolicyActor(WALKER)
        assert cli(*command[: command.index("-d")])[0] == 0
        with Store.open(cli.db) as store:
            first, second = (
                list(summaries.dump_trees(store, one["id"], 1)) for one in (interrupted, whole)
            )
            assert first == second
            assert runs.get_run(store, interrupted["id"]).status == "finished"

    def test_redo(self, cli: Cli) -> None:
        run = cli.json("search", "corridor", *SETTINGS)["run"]
        cli.actor = PolicyActor(WALKER)
        cli.json("search", run, "--round", "1")
        assert not cli.actor.batches
        cli.json("search", run, "--round", "1", "--redo")
        assert cli.actor.batches and len(cli.json("trees", run)) == 5

    def test_the_next_round_needs_the_adapter_of_the_one_before(self, cli: Cli) -> None:
        run = cli.json("search", "corridor", *SETTINGS)["run"]
        code, _, err = cli("search", run)
        assert code == 2 and "adapter of round 1" in err and "agentr-lite train" in err

    def test_settings_of_an_existing_run_are_fixed(self, cli: Cli) -> None:
        run = cli.json("search", "corridor", *SETTINGS)["run"]
        code, _, err = cli("search", run, "--set", "search.width=2")
        assert code == 2 and "fixed" in err

    def test_some_failed_tasks_are_exit_5_and_rows(self, cli: Cli) -> None:
        code, out, err = cli("search", "fragile", "--json", *SETTINGS)
        found = json.loads(out)["search"]
        assert code == 5 and 0 < found["failed"] < found["trees"]
        assert "tasks failed" in err
        _, out, _ = cli("trees")
        assert "length five" in out

    def test_a_model_that_never_acts_is_exit_1_with_every_reason(self, cli: Cli) -> None:
        cli.actor = PolicyActor(lambda *_: "well \x1b[2J then")
        code, out, err = cli("search", "corridor", *SETTINGS)
        assert code == 1 and "5 of 5 tasks failed" in err
        _, out, _ = cli("trees")
        assert out.count("no action in") == 5

    @pytest.mark.parametrize(
        ("arguments", "code", "text"),
        [
            (["search", "nonsense"], 2, "no run, environment or recipe 'nonsense'"),
            (["search", "corridor", "--set", "search.widht=2"], 2, "did you mean 'search.width'"),
            (["search", "corridor", "--set", "search.width=0"], 2, "outside"),
            (["search", "--recipe", "no.yaml", "x"], 2, "no recipe"),
        ],
    )
    def test_wrong_usage(self, cli: Cli, arguments: list[str], code: int, text: str) -> None:
        got, _, err = cli(*arguments)
        assert got == code and text in err
        assert not cli.db.exists()

    def test_not_a_database(self, cli: Cli) -> None:
        cli.db.write_text("no database " * 100)
        code, out, _ = cli("search", "corridor", "--json")
        error = json.loads(out)["error"]
        assert code == 4 and error["kind"] == "store" and error["hint"]


class TestRuns:
    def test_none_yet(self, cli: Cli) -> None:
        code, out, err = cli("runs")
        assert (code, out) == (4, "") and "there is no database" in err
        assert not cli.db.exists()

    def test_list_show_delete(self, cli: Cli) -> None:
        run = cli.json("search", "corridor", *SETTINGS)["run"]
        _, out, _ = cli("runs", "list")
        assert run in out and "search 1" in out
        _, out, _ = cli("runs", "show", run)
        assert "search" in out and "seed" in out
        assert ["trees", "5"] in [line.split() for line in out.splitlines()]
        shown = cli.json("runs", "show")
        assert shown["run"]["recipe"]["search"]["tasks"] == 5
        assert shown["stages"][0]["summary"]["trees"] == 5
        code, _, err = cli("runs", "delete", run)
        assert code == 2 and "--yes" in err
        removed = cli.json("runs", "delete", run, "--yes")
        assert removed == {"deleted": run, "files": 0, "bytes": 0, "left": []}
        assert cli.json("runs") == []

    def test_delete_removes_the_files_of_the_run_and_no_others(self, cli: Cli) -> None:
        gone, kept = (cli.json("search", "corridor", *SETTINGS)["run"] for _ in range(2))
        folders = {run: artifacts_dir(cli.db, run) for run in (gone, kept)}
        for folder in folders.values():
            (folder / "round-1").mkdir(parents=True, exist_ok=True)
            (folder / "round-1" / "adapter.gguf").write_bytes(b"x" * 1000)
        (folders[gone] / "link").symlink_to(folders[kept])
        removed = cli.json("runs", "rm", gone, "--yes")
        assert (removed["files"], removed["bytes"], removed["left"]) == (1, 1000, [])
        assert not folders[gone].exists()
        assert (folders[kept] / "round-1" / "adapter.gguf").exists(), "links are not followed"
        left = cli.json("runs", "delete", kept, "--yes", "--keep-files")["left"]
        assert left == [str(folders[kept])]
        assert (folders[kept] / "round-1" / "adapter.gguf").exists()

    def test_the_database_may_be_named_before_the_sub_command(
        self, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
    ) -> None:
        run = cli.json("search", "corridor", *SETTINGS)["run"]
        monkeypatch.setenv("AGENTR_LITE_DB", str(tmp_path / "other.db"))
        for arguments in (["runs", "-d", str(cli.db), "list"], ["runs", "list", "-d", str(cli.db)]):
            with pytest.raises(SystemExit):
                main(arguments)
            assert run in capsys.readouterr().out
        with pytest.raises(SystemExit):
            main(["runs", "list"])
        assert run not in capsys.readouterr().out

    def test_unknown_run(self, cli: Cli) -> None:
        cli("search", "corridor", *SETTINGS)
        for verb in (["runs", "show", "nope"], ["runs", "delete", "nope", "-y"], ["trees", "nope"]):
            code, _, err = cli(*verb)
            assert code == 2 and "no run 'nope'" in err and "Hint" in err

    def test_missing_database(self, cli: Cli) -> None:
        for verb in (["runs", "show"], ["trees"]):
            code, _, err = cli(*verb)
            assert code == 4 and "no database" in err


class TestTrees:
    def test_draws_one_task(self, cli: Cli) -> None:
        cli("search", "corridor", *SETTINGS)
        task = cli.json("trees")[0]["task"]["name"]
        code, out, _ = cli("trees", "latest", "--task", task)
        head, *lines = out.splitlines()
        assert code == 0 and task in head and "simulations" in head
        assert any("├─ " in line for line in lines) and any("n=" in line for line in lines)

    def test_json_holds_all_nodes(self, cli: Cli) -> None:
        run = cli.json("search", "corridor", *SETTINGS)["run"]
        row = cli.json("trees", run)[1]
        [found] = cli.json("trees", run, "--tree", str(row["id"]))
        assert len(found["nodes"]) == row["node_count"] == found["tree"]["node_count"]

    def test_what_does_not_exist(self, cli: Cli) -> None:
        cli("search", "corridor", *SETTINGS)
        for what in (["--task", "nope"], ["--tree", "999"]):
            code, _, err = cli("trees", "latest", *what)
            assert code == 2 and "has no tree" in err

    def test_hostile_text_reaches_the_terminal_harmlessly(self, cli: Cli) -> None:
        cli.actor = PolicyActor(lambda *_: "Action: go \x1b[2J\u202e[bold]")
        cli("search", "corridor", *SETTINGS)
        row = cli.json("trees")[0]
        _, out, _ = cli("trees", "latest", "--tree", str(row["id"]), "--observations", "--all")
        assert "\x1b[2J" not in out and "\u202e" not in out
        assert "\\x1b[2J" in out and "[bold]" in out


def test_the_cost_of_a_stage_is_stored(cli: Cli) -> None:
    run = cli.json("search", "corridor", *SETTINGS)["run"]
    with Store.open(cli.db) as store:
        row = runs.stage_status(store, run, 1, "search")
        assert row is not None and row.output_tokens == cli.actor.usage.output_tokens
        assert trees.list_calls(store, trees.list_trees(store, run)[0].id)
        recorded = runs.get_run(store, run)
        assert recorded.model_description == {"back_end": "policy"}
        assert {"python", "numpy"} <= recorded.versions.keys()
