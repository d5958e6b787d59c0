"""The benchmark of windows: both ways replay the same load, and its memory is what is planned."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from agentr_lite.actors.llamacpp import plan as planning
from agentr_lite.actors.llamacpp.gguf_header import read_header
from agentr_lite.actors.llamacpp.machine import available_bytes
from benchmarks import replay, windows
from benchmarks.replay import Settings
from benchmarks.workload import Workload
from tests.benchmarks.test_bench_engine import small_search
from tests.support.tiny_gguf import write_tiny_model
from tests.support.tiny_windows import write_tiny_windows

CONTEXT = 1024


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_windows(tmp_path_factory.mktemp("bench") / "tiny.gguf", "gemma3")


def test_histories_are_the_trees_own() -> None:
    load = small_search(3)
    longer = windows.with_histories(load, 500)
    assert longer.unique_tokens() == load.unique_tokens() + 3 * 500
    histories = {call.tree: call.prompt[:500] for call in longer.calls}
    for before, after in zip(load.calls, longer.calls, strict=True):
        assert after.prompt == [*histories[after.tree], *before.prompt]
    assert windows.with_histories(load, 500) == longer


@pytest.mark.parametrize("windowed", [False, True])
def test_each_unique_token_is_decoded_once(model: Path, windowed: bool) -> None:
    load = windows.with_histories(small_search(), 500)
    measured = replay.ours(
        model, load, context=CONTEXT, n_threads=1, settings=Settings(windowed=windowed)
    )
    assert measured.decoded_tokens is not None
    assert measured.decoded_tokens >= load.unique_tokens()
    assert measured.decoded_tokens <= load.unique_tokens() + 2 * len(load.calls)
    assert measured.counters.rollbacks == 0


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["windows", *words])
    windows.main()
    return capsys.readouterr().out


def test_a_row_says_what_it_took(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A row's process changes what the plan takes for free.
    monkeypatch.setattr(planning, "available_bytes", available_bytes)
    monkeypatch.setattr(planning, "_gpu_bytes", planning._gpu_bytes)
    # The tiny model has too few tokens for the recording.
    monkeypatch.setattr(Workload, "load", classmethod(lambda cls, path: small_search()))
    words = ["--model", str(model), "--trees", "2", "--ticks", "2", "--history", "300"]
    words += ["--threads", "1", "--free", "0.03", "--child"]
    found = {way: json.loads(run(monkeypatch, capsys, *words, way)) for way in windows.WAYS}
    whole, alone = found["all tokens"], found["windows alone"]
    assert whole["answer_tokens"] == alone["answer_tokens"] > 0
    assert whole["unique"] == alone["unique"] <= alone["decoded"]
    assert " of 4,096" in alone["shape"] and "of" not in whole["shape"]
    header = read_header(model)
    for row in found.values():
        assert 4096 * (header.cell_bytes() - header.window_cell_bytes()) < row["cache_bytes"]
        assert row["cache_bytes"] < 0.03e9 < row["peak_bytes"]


def test_no_room_and_no_windows_are_said(
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(planning, "available_bytes", available_bytes)
    monkeypatch.setattr(planning, "_gpu_bytes", planning._gpu_bytes)
    words = ["--model", str(model), "--free", "0.001", "--child"]
    for way in windows.WAYS:
        with pytest.raises(SystemExit) as caught:
            run(monkeypatch, capsys, *words, way)
        assert caught.value.code == windows._NO_ROOM
    with pytest.raises(SystemExit, match="change nothing"):
        run(monkeypatch, capsys, "--model", str(write_tiny_model(tmp_path / "m.gguf")))
