"""The plan says how much memory a run takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.actors.llamacpp import plan as planning
from agentr_lite.actors.llamacpp.gguf_header import read_header
from agentr_lite.recipe.loading import load_recipe
from agentr_lite.runs.checks.checklist import Checklist
from agentr_lite.runs.checks.memory import check_memory
from tests.support.command_line import Call
from tests.support.tiny_windows import write_tiny_windows


def checks(cli: Call, *words: str, code: int = 0) -> dict[str, dict[str, Any]]:
    given, out, _ = cli(*words, "--plan", "--json")
    assert given == code
    return {check["subject"]: check for check in json.loads(out)["checks"]}


def test_playing_and_training_are_estimated(cli: Call) -> None:
    found = checks(cli, "run", "textcraft")
    assert "GB for caches" in found["memory to play"]["message"]
    assert "for examples of 1,536 tokens" in found["memory to train"]["message"]
    assert found["memory to train"]["outcome"] == "ok"


def test_conversations_with_cells_of_their_own_are_counted(
    cli: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = checks(cli, "run", "textcraft")["memory to play"]["message"]
    assert "GB for caches;" in before
    monkeypatch.setattr(planning, "_STREAMS", (0, 1e12))
    after = checks(cli, "run", "textcraft")["memory to play"]["message"]
    assert re.search(r"[0-9.]+ GB for caches of [0-9]+ conversations; at most", after)
    alone = checks(cli, "run", "textcraft", "--set", "agent.deterministic=true")
    assert "GB for caches;" in alone["memory to play"]["message"]


def test_what_is_not_trained_needs_no_memory_for_it(cli: Call) -> None:
    assert "memory to train" not in checks(cli, "run", "textcraft", "--set", "rounds=0")


def test_a_limit_below_the_longest_example_is_a_warning(cli: Call) -> None:
    # Real examples may be shorter than the recipe allows.
    found = checks(cli, "run", "textcraft", "--set", "train.memory=0.3")["memory to train"]
    assert found["outcome"] == "warning"
    assert "train.memory is 0.3" in found["message"] and "train.max_length" in found["hint"]


def test_windows_are_counted_in_both_ways(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = write_tiny_windows(tmp_path / "m.gguf", "gemma3")
    header = read_header(model)
    recipe = load_recipe("instruct", [f"model={model}", "agent.context_tokens=4096"])

    def message() -> str:
        checked = Checklist()
        check_memory(checked, recipe, trains=False, searches=True)
        [finding] = checked.findings
        assert finding.outcome == "ok"
        return finding.message

    before = message()
    assert "keep the cells of all tokens" in before and "conversations (" not in before
    free = int(0.9 * 4096 * header.cell_bytes() / planning._MEMORY_SHARE)
    monkeypatch.setattr(planning, "available_bytes", lambda: free)
    after = message()
    assert re.search(r"of [0-9]+ conversations \(each with [0-9.]+ MB for windows\)", after)
    assert "keep the window's cells only" in after


def test_processes_of_a_training_share_the_machine(cli: Call, tmp_path: Path) -> None:
    alone = checks(cli, "run", "textcraft")
    assert "training processes" not in alone
    found = checks(cli, "run", "textcraft", "--set", "train.workers=2")
    assert found["training processes"]["message"] == "2 processes on this machine"
    assert "GB in each of 2 processes for examples" in found["memory to train"]["message"]
    missing = ("--set", f"train.hosts={tmp_path}/hosts.json")
    found = checks(cli, "run", "textcraft", *missing, code=2)
    assert found["training processes"]["outcome"] == "refused"
    assert "memory to train" not in found
