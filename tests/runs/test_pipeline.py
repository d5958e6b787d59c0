"""The whole loop over a scripted player: cut anywhere and resumed, it ends as if it had not been.

Only the model and the training are stand-ins (``loop_case``); commands, stages, environment and
database are the real ones.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.actors import registry as actors
from agentr_lite.actors.mock import MockActor
from agentr_lite.cli import main
from agentr_lite.core.errors import ModelError
from agentr_lite.recipe.loading import load_recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.runs.pipeline import PipelineResult, planned_stages, run_pipeline
from agentr_lite.store import Store, runs, splices, trees
from agentr_lite.train import lora
from tests.support import loop_case
from tests.support.command_line import Call

PROGRAM = Path(loop_case.__file__)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return loop_case.write_recipe(tmp_path / "case")


@pytest.fixture
def cli(loop: Call) -> Call:
    """Commands, with the stand-ins in place."""
    return loop


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """What an uninterrupted run leaves behind."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        loop_case.install(patch.setattr)
        patch.setenv("AGENTR_LITE_HOME", str(folder))
        db = folder / "runs.db"
        with pytest.raises(SystemExit) as caught:
            main(["run", str(loop_case.write_recipe(folder / "case")), "-d", str(db)])
        assert not caught.value.code
        yield loop_case.contents(db)


def heed_hangups() -> None:
    """Where `nohup` began the tests, a child would ignore SIGHUP as they do."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def cut(
    point: str, number: int, how: signal.Signals, *arguments: object
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that gets a signal at a point."""
    command = [sys.executable, PROGRAM, point, number, int(how), *arguments]
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=heed_hangups,
    )


def test_the_case_is_worth_resuming(whole: list[str]) -> None:
    """Two adapters, replayed, recovered and rejected revisions, and failures to recover from."""
    text = "\n".join(whole)
    for word in ('"replayed"', '"recovered"', '"rejected"', '"recovery"', '"judge"', '"recover"'):
        assert word in text
    rows = [json.loads(row) for row in whole]
    assert rows[0] == "finished"
    stages = [(row[0], row[1]) for row in rows if len(row) == 5 and row[2] is True]
    assert stages == [
        (0, "eval"),
        *((number, name) for number in (1, 2) for name in ("search", "splice", "train", "eval")),
    ]


@pytest.mark.parametrize(
    ("point", "number"),
    [
        ("generate", 1),  # before anything is known
        ("save_eval_items", 2),  # between two kinds of episodes
        ("generate", 40),  # in a wave
        ("save_tree", 2),  # a wave half committed
        ("save_tree", 5),  # the last tree of a round
        ("score", 3),  # the critic at work
        ("save_revision", 2),  # inside the transaction of a wave's revisions
        ("save_revision", 9),  # in a later wave
        ("build_dataset", 1),
        ("train_lora", 1),  # the data set is there, the adapter is not
        ("save_adapter", 1),  # the adapter's file is there, its row is not
        ("stage_finished", 8),  # the second training, not yet said to be done
        ("save_eval_items", 9),  # the last ones
        ("set_run_status", 2),  # all is done, but not said so
    ],
)
def test_killed_and_resumed_is_uninterrupted(
    cli: Call, recipe: Path, db: Path, whole: list[str], point: str, number: int
) -> None:
    killed = cut(point, number, signal.SIGKILL, "run", recipe, "-d", db)
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    code, out, err = cli("run", "--resume", "latest", "-d", db)

    assert code == 0, err
    assert "round 2" in out
    assert loop_case.contents(db) == whole


def test_killed_again_and_again(cli: Call, recipe: Path, db: Path, whole: list[str]) -> None:
    words: list[object] = ["run", recipe, "-d", db]
    for point, number in [("save_tree", 1), ("save_revision", 4), ("generate", 30), ("score", 1)]:
        assert cut(point, number, signal.SIGKILL, *words).returncode == -signal.SIGKILL
        words = ["run", "--resume", "latest", "-d", db]
    assert cli(*words)[0] == 0
    assert loop_case.contents(db) == whole


@pytest.mark.parametrize(
    ("point", "number"), [("generate", 30), ("save_revision", 3), ("train_lora", 1)]
)
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_names_the_command_that_goes_on(
    cli: Call, recipe: Path, db: Path, whole: list[str], point: str, number: int, sent: int
) -> None:
    stopped = cut(point, number, sent, "run", recipe, "-d", db)

    assert stopped.returncode == 130
    assert stopped.stdout == ""
    assert "Traceback" not in stopped.stderr
    hint = stopped.stderr.splitlines()[-1]
    assert hint.startswith("Hint: Go on with: agentr-lite run --resume corridor-")
    with Store.open(db, create=False) as store:
        assert runs.get_run(store, "latest").status == "interrupted"
    command = shlex.split(hint.partition("agentr-lite ")[2])
    assert cli(*command)[0] == 0
    assert loop_case.contents(db) == whole


def test_an_error_keeps_its_reason_and_names_the_command(
    cli: Call, recipe: Path, db: Path, whole: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Flaky(loop_case.Player):
        def score(self, requests: Any) -> Any:
            raise ModelError("the power went", hint="Plug it in.")

    monkeypatch.setattr(actors, "open_actor", lambda recipe: Flaky())
    code, out, err = cli("run", recipe, "-d", db)
    assert code == 3 and out == ""
    assert "Error: the power went\nHint: Plug it in. Then go on with: agentr-lite run" in err
    assert "failed: the power went" in cli("runs", "show", "-d", db)[1]

    monkeypatch.setattr(actors, "open_actor", lambda recipe: loop_case.Player())
    assert cli("run", "--resume", "latest", "-d", db)[0] == 0
    assert loop_case.contents(db) == whole


@pytest.mark.parametrize("pages", [45, 65, 85])
def test_a_full_disk_loses_nothing(
    cli: Call, recipe: Path, db: Path, whole: list[str], pages: int
) -> None:
    """SQLite's own limit on the file's size gives the error of a full disk."""
    with pytest.MonkeyPatch.context() as patch:
        prepare = Store._prepare

        def small(store: Store) -> None:
            prepare(store)
            store.db.conn.execute(f"PRAGMA max_page_count = {pages}")

        patch.setattr(Store, "_prepare", small)
        code, out, err = cli("run", recipe, "-d", db)
    assert code == 4 and out == ""
    errors = [line for line in err.splitlines() if line.startswith(("Error", "Hint"))]
    assert errors[0] == f"Error: database {db}: database or disk is full"
    assert "Free some space" in errors[1] and "agentr-lite run --resume" in errors[1]
    assert len(errors) == 2

    assert cli("run", "--resume", "latest", "-d", db)[0] == 0
    assert loop_case.contents(db) == whole


def test_a_file_that_may_not_grow(cli: Call, recipe: Path, db: Path, whole: list[str]) -> None:
    """The operating system refuses the write: a quota, or a limit of the shell's."""
    resource = pytest.importorskip("resource", reason="needs POSIX resource limits")
    stopped = subprocess.run(
        [sys.executable, PROGRAM, "none", "0", "0", "run", recipe, "-d", db],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)),
    )
    assert stopped.returncode == 4, stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert f"Error: database {db}: " in stopped.stderr
    assert cli("run", "--resume", "latest", "-d", db)[0] == 0
    assert loop_case.contents(db) == whole


def test_no_space_for_the_adapter(
    cli: Call, recipe: Path, db: Path, whole: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **named: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(named["out_dir"]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lora, "train_lora", full)
        code, out, _ = cli("run", recipe, "-d", db, "--json")
    assert code == 1
    error = json.loads(out)["error"]
    assert "No space left on device" in error["message"] and "round-1" in error["message"]
    assert "free some space" in error["hint"] and "agentr-lite run --resume" in error["hint"]
    assert "failed" in cli("runs", "-d", db)[1]
    assert cli("run", "--resume", "latest", "-d", db)[0] == 0
    assert loop_case.contents(db) == whole


def test_a_bug_is_on_record_too(recipe: Path, db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop_case.install(monkeypatch.setattr)
    settings = load_recipe(str(recipe))
    with Store.open(db) as store:
        run = create_run(store, settings)

        def broken(recipe: Any) -> Any:
            raise ZeroDivisionError("of ours")

        monkeypatch.setattr(actors, "open_actor", broken)
        with pytest.raises(ZeroDivisionError):
            run_pipeline(store, run, settings)
        row = runs.get_run(store, run)
    assert (row.status, row.error) == ("failed", "ZeroDivisionError: of ours")


def test_a_finished_run_is_shown_and_not_done_again(
    cli: Call, recipe: Path, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("run", recipe, "-d", db)[0] == 0
    players: list[MockActor] = []

    def open_actor(recipe: Any) -> MockActor:
        players.append(loop_case.Player())
        return players[-1]

    monkeypatch.setattr(actors, "open_actor", open_actor)
    code, out, _ = cli("run", "--resume", "latest", "-d", db, "--json")
    assert code == 0
    assert json.loads(out)["run"]["status"] == "finished"
    assert not any(player.requests or player.score_requests for player in players)
    assert all(player.closed for player in players)


def test_a_model_that_never_acts_stops_with_the_reason(
    cli: Call, recipe: Path, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mumble(*_: Any) -> str:
        return "well \x1b[2J\u202e then"

    monkeypatch.setattr(actors, "open_actor", lambda recipe: MockActor(mumble))
    code, out, err = cli("run", recipe, "-d", db)

    assert code == 6
    assert re.search(r"Error: nothing to learn in round 1: (\d+) of \1 answers held no action", err)
    assert "agent.grammar=env" in err and "--resume" not in err
    # The base's figures are there, and nothing is compared with them.
    assert out.startswith("verdict: base: solves 0.0 % of 4 test tasks")
    assert "no action" in err and "inside the noise" not in out
    assert "\x1b[2J" not in out + err and "\u202e" not in out + err
    with Store.open(db, create=False) as store:
        run = runs.get_run(store, "latest")
        assert run.status == "failed" and (run.error or "").startswith("nothing to learn")
        found = trees.list_trees(store, run.id)
        assert len(found) == 5
        assert all("no action" in (tree.error or "") for tree in found)
        stages = [row.stage for row in runs.list_stages(store, run.id) if row.round == 1]
        assert sorted(stages) == ["search", "splice", "train"]

    def no_model(recipe: Any) -> MockActor:
        raise AssertionError("a run that stops at once needs no model")

    monkeypatch.setattr(actors, "open_actor", no_model)
    code, out, _ = cli("run", "--resume", "latest", "-d", db, "--json")
    assert code == 6
    error = json.loads(out)["error"]
    assert error["kind"] == "nothing-to-learn" and "held no action" in error["message"]
    code, out, _ = cli("train", "latest", "-d", db, "--json")
    assert (code, json.loads(out)["diagnosis"]["cause"]) == (6, "no action")
    report = json.loads(cli("report", "latest", "-d", db, "--json")[1])
    assert "held no action" in json.dumps(report)


def test_a_run_that_went_on_without_data_before_can_still_be_resumed(
    cli: Call, recipe: Path, db: Path
) -> None:
    """Its first round has an evaluation, so it is past the place where it would stop today."""
    assert cli("run", recipe, "-d", db)[0] == 0
    with Store.open(db, create=False) as store:
        run = runs.get_run(store, "latest").id
        for number in (1, 2):
            splices.delete_adapter(store, run, number)
        store.execute(
            "UPDATE rounds SET summary = json_set(summary, '$.skipped', 'none')"
            " WHERE stage = 'train' AND round = 1"
        )
    assert cli("run", "--resume", "latest", "-d", db)[0] == 0


def test_what_followed_from_a_search_that_is_done_again_is_done_again(
    cli: Call, recipe: Path, db: Path, whole: list[str]
) -> None:
    """A redone search takes its splices with it; going on makes them, and the adapter, anew."""
    assert cli("run", recipe, "-d", db)[0] == 0
    assert cli("search", "latest", "--round", 2, "--redo", "-d", db)[0] == 0
    with Store.open(db, create=False) as store:
        run = runs.get_run(store, "latest").id
        open_ones = [(s.round, s.stage) for s in runs.list_stages(store, run) if not s.finished]
        assert sorted(open_ones) == [(2, "eval"), (2, "splice"), (2, "train")]
    code, _, err = cli("run", "--resume", "latest", "-d", db)
    assert code == 0, err

    def revisions(lines: list[str]) -> list[str]:
        return [line for line in lines if '"replayed"' in line and '"splice"' not in line]

    assert revisions(loop_case.contents(db)) == revisions(whole) != []
    with Store.open(db, create=False) as store:
        assert all(s.finished for s in runs.list_stages(store, run))


def test_a_round_after_one_without_data_can_be_searched_alone(
    cli: Call, recipe: Path, db: Path
) -> None:
    """It goes on with the adapter that was in use, as the loop does."""
    recipe.write_text(recipe.read_text().replace("rounds: 2", "rounds: 1"))
    assert cli("run", recipe, "-d", db)[0] == 0
    with Store.open(db, create=False) as store:
        run = runs.get_run(store, "latest").id
        assert splices.delete_adapter(store, run, 1)
    code, _, err = cli("search", "latest", "-d", db)
    assert code == 0, err
    assert "round 2, base model" in err


def test_without_training_data_the_old_adapter_stays(
    cli: Call, recipe: Path, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second round of a player whom the first adapter made lazy has nothing to learn from."""
    players: list[loop_case.Player] = []

    class Lazy(loop_case.Player):
        def generate(self, requests: Any) -> Any:
            if self.adapter is not None:
                self._script = lambda *_: "Action: back"
            return super().generate(requests)

    def open_actor(recipe: Any) -> loop_case.Player:
        players.append(Lazy())
        return players[-1]

    monkeypatch.setattr(actors, "open_actor", open_actor)
    # One round's data alone, or the first round's would be trained on again.
    lines = recipe.read_text().replace("eta: 1,", "eta: 1, accumulate: false,")
    recipe.write_text(lines)
    code, _, err = cli("run", recipe, "-d", db)
    assert code == 0
    assert "round 2: nothing to train on: " in err and "adapter of round 1 stays" in err
    [worn] = {path for path in players[0].adapters if path is not None}
    assert worn.parent.name == "round-1"


def test_the_plan_is_data(cli: Call, recipe: Path, db: Path) -> None:
    code, out, err = cli("run", recipe, "--plan", "--no-probe", "-d", db)
    assert code == 0 and err == ""
    plan, _, checked = out.partition("checked:\n")
    assert plan.startswith("plan: loop · corridor") and plan.count("\n") == 4
    assert plan.count("search 5 tasks") == 2
    *findings, verdict = checked.splitlines()
    assert {line.split()[0] for line in findings} == {"ok"}
    assert verdict == "the run can begin"
    data = json.loads(cli("run", recipe, "--plan", "--json")[1])
    [env] = data["plan"]["env"]
    assert env["name"] == "corridor"
    assert (data["exit_code"], data["tasks"]["corridor"]["search"]) == (0, 5)
    assert "error" not in data
    assert not db.exists()


def test_a_recipe_for_one_environment_runs_on_another(cli: Call, recipe: Path, db: Path) -> None:
    code, out, _ = cli("run", "textcraft", "--recipe", recipe, "--plan", "--json")
    assert code == 0 and [env["name"] for env in json.loads(out)["plan"]["env"]] == ["textcraft"]
    code, out, _ = cli("run", "corridor", "--plan", "--json", "--set", "rounds=0")
    assert code == 0 and json.loads(out)["plan"]["rounds"] == 0


def test_rounds_0_needs_no_weights(cli: Call, recipe: Path, db: Path) -> None:
    overrides = ("--set", "rounds=0", "--set", "train_model=/nowhere")
    assert cli("run", recipe, "-d", db, *overrides)[0] == 0


def test_the_loop_is_a_list_of_stages() -> None:
    names = [(number, stage.name) for number, stage in planned_stages(1)]
    assert names == [(0, "eval"), (1, "search"), (1, "splice"), (1, "train"), (1, "eval")]
    adapters = [stage.model_round(number) for number, stage in planned_stages(1)]
    assert adapters == [0, 0, 0, None, 1]
    assert [number for number, _ in planned_stages(0)] == [0]


def test_all_that_the_environment_broke_is_counted() -> None:
    splice = {"rejected": {"no way back": 5, "environment fault": 2}}
    result = PipelineResult(
        [
            (0, "eval", {"greedy": {"faulty": 1}, "recovery": {"faulty": 0}}),
            (1, "search", {"failed": 3}),
            (1, "splice", splice),
            (1, "train", {}),
            (1, "eval", {"greedy": {"faulty": 4}}),
        ]
    )
    assert result.failures == {"searches": 3, "pairs": 2, "episodes": 5}
    assert result.failed_tasks == 10
    assert PipelineResult([(1, "search", {"failed": 0})]).failures == {}


def test_a_run_whose_tasks_all_fail_ends_with_1(
    cli: Call, recipe: Path, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(env: Any, action: str) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr("tests.support.corridor.Corridor.step", broken)
    code, _, err = cli("run", recipe, "-d", db)
    assert code == 1 and "tasks failed (" in err
    assert cli("run", "--resume", "latest", "-d", db)[0] == 1
