"""``eval --paired`` and ``--adapter``: base and adapter on the same tasks, on one model."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentr_lite.actors.base import Capabilities
from agentr_lite.core.errors import ModelError
from agentr_lite.recipe.settings import Recipe
from agentr_lite.report.model.pairs import task_pairs
from agentr_lite.report.tables.pairs import paired_section
from agentr_lite.store.database import Store
from agentr_lite.store.evals import list_eval_items, list_evals
from agentr_lite.store.runs import get_run, list_stages
from agentr_lite.store.splices import get_adapter
from tests.cli.test_cli_eval_report import call, trained_run
from tests.support.stairs import Policy, Scripted, Stairs, act

BASE, TUNED = {"task1:", "task3:", "task4:", "task5:"}, {"task0:", "task3:", "task4:", "task6:"}
"""Which tasks each solves."""


def solves(tasks: set[str]) -> Policy:
    def policy(messages: Any, seed: int) -> str:
        return act("up" if messages[1]["content"].split()[0] in tasks else "jump")

    return policy


class Model(Scripted):
    """The base; beside it, what wears an adapter."""

    capabilities = Capabilities(adapters=True, side_by_side=True)
    description = {"sha256": "f" * 64, "path": "m.gguf"}  # type: ignore[assignment]  # noqa: RUF012
    machine: dict[str, Any]
    closed = False

    def use_adapter(self, path: Path | None) -> None:
        self.machine["worn"].append(path)
        self.policy = solves(TUNED if path else BASE)

    def beside(self, adapter: Path | None) -> Model:
        other = Model(self.policy, self.machine["fail_after"])
        other.machine = self.machine
        other.use_adapter(adapter)
        self.machine["actors"].append(other)
        return other

    def generate(self, requests: Any) -> Any:
        self.machine["order"].append(self)
        return super().generate(requests)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AGENTR_LITE_HOME", str(tmp_path))
    return tmp_path / "runs.db"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    parts: dict[str, Any] = {"fail_after": -1, "actors": [], "order": [], "worn": []}

    def open_actor(recipe: Recipe, **_: Any) -> Model:
        actor = Model(solves(BASE), -1)
        actor.machine = parts
        parts["actors"].append(actor)
        return actor

    monkeypatch.setattr("agentr_lite.actors.registry.open_actor", open_actor)
    monkeypatch.setattr("agentr_lite.envs.registry.make_env", lambda *_: Stairs(12))
    return parts


def test_base_and_round_play_in_turn_and_are_paired(
    db: Path, machine: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained_run(db)
    assert call("eval", run, "--paired") == 0
    shown = capsys.readouterr()
    assert "evaluating the base model and round 1" in shown.err
    assert "rounds 0 and 1: greedy episodes: 24/24" in shown.err
    assert "success 4/12 and 4/12" in shown.err
    assert "round 1: the difference from base in success is inside the noise" in shown.out
    table = shown.out.partition("Tasks that changed on test, greedy")[2]
    names = [line.split()[:2] for line in table.splitlines() if line.startswith(("+", "−"))]
    assert names[:4] == [["+", "task0"], ["+", "task6"], ["−", "task1"], ["−", "task5"]]
    assert "both solve 2, neither 6" in table
    # Groups of four batches of one: neither waits for the other's end.
    base, tuned = machine["actors"]
    who = [one is tuned for one in machine["order"]]
    assert who.index(True) < len(who) - 1 - who[::-1].index(False)
    assert machine["worn"] == [Path("round1.gguf")]
    assert base.closed
    assert tuned.closed


def test_the_figures_are_those_of_one_after_the_other(db: Path, machine: dict[str, Any]) -> None:
    together, apart = trained_run(db), trained_run(db)
    arguments = ("--samples", "2", "--max-steps", "4")
    assert call("eval", together, "--paired", *arguments) == 0
    assert call("eval", apart, "--round", "0", *arguments) == 0
    assert call("eval", apart, *arguments) == 0
    with Store.open(db) as store:
        found = [
            [(row.round, row.mode, row.summary) for row in list_evals(store, run)]
            for run in (together, apart)
        ]
        assert found[0] == found[1]
        assert {(number, mode) for number, mode, _ in found[0]} == {
            (number, mode) for number in (0, 1) for mode in ("greedy", "sampled", "recovery")
        }
        stages = {row.round: row for row in list_stages(store, together) if row.stage == "eval"}
        assert all(stage.finished for stage in stages.values())
        # Each books its own.
        assert stages[0].output_tokens == machine["actors"][0].usage.output_tokens
        assert stages[1].output_tokens == machine["actors"][1].usage.output_tokens


def test_each_books_the_time_of_its_own_turns(
    db: Path, machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(
        "agentr_lite.runs.stages.record.time", SimpleNamespace(monotonic=lambda: clock[0])
    )
    generate = Model.generate

    def slow(self: Model, requests: Any) -> Any:
        clock[0] += 10 if self is machine["actors"][-1] else 1
        return generate(self, requests)

    monkeypatch.setattr(Model, "generate", slow)
    run = trained_run(db)
    assert call("eval", run, "--paired") == 0
    base, tuned = machine["actors"]
    with Store.open(db) as store:
        walls = {row.round: row.wall_s for row in list_stages(store, run) if row.stage == "eval"}
    assert walls == {0: len(base.batches), 1: 10 * len(tuned.batches)}


def test_what_a_cut_leaves_is_paired(
    db: Path, machine: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained_run(db)
    machine["fail_after"] = 5
    assert call("eval", run, "--paired", "--no-recovery", "-d", str(db)) == 130
    error = capsys.readouterr().err
    command = f"agentr-lite eval {run} -d {db} --set eval.recovery=False --paired"
    assert f"Go on with: {command}\n" in error
    with Store.open(db) as store:
        counts = [len(list_eval_items(store, row.id)) for row in list_evals(store, run)]
        assert counts == [8, 4]
        assert len(task_pairs(store, run, 1, "greedy", "test")) == 4
    machine["fail_after"] = -1
    assert call(*command.split()[1:], "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["base"]["greedy"]["successes"] == found["evals"]["greedy"]["successes"] == 4
    pairs = found["pairs"]["greedy"]
    assert [one["change"] for one in pairs].count("gained") == 2
    gained = next(one for one in pairs if one["task"] == "task0")
    assert gained["base"] == {"success": False, "reward": 0.0, "steps": 1}
    assert gained["now"]["success"]
    # What is there is not played again: the base's first eight tasks, the round's first four.
    base, tuned = machine["actors"][-2:]
    for one, first in ((base, 8), (tuned, 4)):
        assert one.requests[0].messages[1]["content"].startswith(f"task{first}:")
    machine["order"].clear()
    assert call(*command.split()[1:], "--json") == 0
    assert json.loads(capsys.readouterr().out) == found
    assert not machine["order"]


def test_a_base_that_was_played_already_is_compared_with(
    db: Path, machine: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained_run(db)
    assert call("eval", run, "--round", "0", "--no-recovery") == 0
    machine["order"].clear()
    assert call("eval", run, "--paired", "--no-recovery") == 0
    assert machine["order"]
    assert all(one is machine["actors"][-1] for one in machine["order"])
    assert "Tasks that changed" in capsys.readouterr().out


def test_where_no_task_changed_it_says_so(
    db: Path,
    machine: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(f"{__name__}.TUNED", BASE)
    assert call("eval", trained_run(db), "--paired", "--no-recovery") == 0
    shown = capsys.readouterr().out
    assert "Tasks that changed on test, greedy: none; both solve 4, neither 8." in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--round", "0", "--paired"], "no adapter to compare the base with"),
        (["--adapter", "x.gguf"], "--adapter begins a new run"),
        (["--adapter", "x.gguf", "--round", "2"], "is round 1, not another"),
    ],
)
def test_wrong_usage_exits_with_2(
    db: Path,
    machine: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert call("eval", trained_run(db), *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_back_end_that_stands_alone_is_refused(
    db: Path,
    machine: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Model, "capabilities", Capabilities(adapters=True))
    assert call("eval", trained_run(db), "--paired") == 3
    assert "cannot hold the base and an adapter" in capsys.readouterr().err


def test_an_adapter_from_elsewhere_is_round_1_of_a_new_run(
    db: Path,
    machine: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    adapter = tmp_path / "mine.gguf"
    adapter.write_bytes(b"adapter")
    seen: list[Path] = []
    monkeypatch.setattr(
        "agentr_lite.actors.registry.check_adapter", lambda spec, path: seen.append(path)
    )
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("env: stairs\neval: {max_steps: 4, batch: 2, recovery: false}\n")
    arguments = ("eval", str(recipe), "--adapter", str(adapter), "--paired", "--json")
    assert call(*arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert seen == [adapter]
    assert machine["worn"] == [adapter]
    with Store.open(db) as store:
        run = get_run(store, found["run"])
        assert run.recipe["rounds"] == 0
        row = get_adapter(store, run.id, 1)
        assert row is not None
        assert (row.gguf_path, row.mlx_dir) == (str(adapter), "")
    assert call("report", found["run"]) == 0
    text = capsys.readouterr().out
    assert "round 1" in text
    assert "Training" not in text
    # It is the user's file.
    assert call("runs", "delete", found["run"], "--yes") == 0
    assert adapter.exists()


def test_an_unusable_adapter_leaves_no_run(
    db: Path, machine: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "none.gguf")
    assert call("eval", "textcraft", "--adapter", missing) == 3
    assert f"no adapter {missing}" in capsys.readouterr().err
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"GGUF")
    assert call("eval", "textcraft", "--adapter", str(damaged)) == 3
    folder = tmp_path / "mlx"
    folder.mkdir()
    (folder / "adapters.safetensors").write_bytes(b"")
    assert call("eval", "textcraft", "--adapter", str(folder)) == 3
    assert "agentr-lite convert adapter" in capsys.readouterr().err
    server = ("--model", "openai:http://127.0.0.1:9/v1#m")
    assert call("eval", "textcraft", "--adapter", str(damaged), *server) == 3
    assert call("runs", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_long_lists_say_what_they_leave_out(db: Path, machine: dict[str, Any]) -> None:
    run = trained_run(db)
    assert call("eval", run, "--paired", "--no-recovery") == 0
    with Store.open(db) as store:
        pairs = task_pairs(store, run, 1, "greedy", "test")
    assert len(pairs) == 12
    section = paired_section(pairs, 1, mode="greedy", split="test", limit=1)
    assert len(section.rows) == 2
    assert "… 1 more gained; --json has all." in section.notes
    assert not paired_section([], 1, mode="greedy", split="test").rows


def test_check_adapter_names_what_is_wrong(tmp_path: Path) -> None:
    from agentr_lite.actors.registry import check_adapter, resolve_model

    model = resolve_model("starter")
    with pytest.raises(ModelError, match="is a model, not an adapter"):
        check_adapter("starter", model.gguf)
    with pytest.raises(ModelError, match=r"no adapters\.safetensors"):
        check_adapter(f"mlx:{model.train_dir}", tmp_path)
