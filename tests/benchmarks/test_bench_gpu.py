"""The GPU benchmarks' own claims: wrong rows are seen, failures are said, steps end in time."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.registry import resolve_model
from benchmarks import gpu, gpu_engine
from benchmarks.gpu_training import reported_speeds
from benchmarks.workload import RECORDED, Workload
from tests.support.tiny_gguf import write_tiny_model


def step(words: str, tmp_path: Path, limit: float = 60.0) -> tuple[gpu.Outcome, str]:
    log = tmp_path / "step.md"
    return gpu.run_step("step", [sys.executable, "-c", words], log, limit), log.read_text()


def test_a_steps_output_and_end_are_kept(tmp_path: Path) -> None:
    outcome, text = step("print('a figure')", tmp_path)
    assert (outcome.ended, text) == ("done", "a figure\n")
    outcome, text = step("print('half'); raise SystemExit('no card')", tmp_path)
    assert outcome.ended == "failed (1)"
    assert text == "half\nno card\n"


def test_a_step_that_takes_too_long_is_stopped_with_its_own_processes(tmp_path: Path) -> None:
    child = "import subprocess, sys; print('begun', flush=True)\n"
    child += "subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    # The child holds the pipe open, so this returns only if it was stopped as well.
    outcome, text = step(child, tmp_path, limit=2.0)
    assert outcome.ended == "stopped after 2 s"
    assert text in ("", "begun\n")


def test_a_failed_step_does_not_stop_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(name: str, options: object) -> list[str]:
        return [sys.executable, "-c", f"raise SystemExit({int(name == 'engine')})"]

    monkeypatch.setattr(gpu, "_command", command)
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(tmp_path), "--only", "engine", "loop"])
    with pytest.raises(SystemExit, match="1"):
        gpu.main()
    rows = json.loads((tmp_path / "gpu.json").read_text())
    assert [(row["step"], row["ended"]) for row in rows] == [
        ("engine", "failed (1)"),
        ("loop", "done"),
    ]


def test_a_check_that_raises_is_a_failed_row(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> tuple[bool, str]:
        raise RuntimeError("no kernel")

    assert not gpu_engine._check("kernels", broken)
    assert "| kernels | FAILED | RuntimeError: no kernel |" in capsys.readouterr().out


def test_the_gap_of_two_rows() -> None:
    row = np.linspace(-3, 3, 100, dtype=np.float32)
    # Adding a constant changes no probability.
    assert gpu_engine.likely_gap(row, row + 5) < 1e-5
    swapped = row[::-1].copy()
    assert gpu_engine.likely_gap(row, swapped) > 1
    assert gpu_engine.likely_gap(row, np.full_like(row, np.nan)) == float("inf")


@pytest.mark.parametrize("flash", [True, False])
def test_rows_that_are_mixed_up_are_seen(monkeypatch: pytest.MonkeyPatch, flash: bool) -> None:
    starter = resolve_model("starter").gguf
    monkeypatch.setattr(gpu_engine, "WIDTHS", range(1, 9))
    assert gpu_engine.widths(starter, flash=flash)[0]
    true_decode = Context.decode

    def mixed_up(self: Context, *args: object, **options: object) -> object:
        rows = true_decode(self, *args, **options)  # type: ignore[arg-type]
        # As a kernel that is wrong for three and more rows.
        return rows[::-1] if len(rows) >= 3 else rows

    monkeypatch.setattr(Context, "decode", mixed_up)
    holds, detail = gpu_engine.widths(starter, flash=flash)
    assert not holds, detail


def test_the_random_adapter_is_loaded_and_changes_likelihoods() -> None:
    holds, detail = gpu_engine.adapter_as_on_processor(resolve_model("starter").gguf)
    assert holds, detail


def test_a_load_is_spelled_in_another_models_tokens(tmp_path: Path) -> None:
    load = Workload.load(RECORDED).first_ticks(2)
    assert load.spelled_for(resolve_model("starter").gguf) == load
    with pytest.raises(SystemExit, match="has only"):
        load.spelled_for(write_tiny_model(tmp_path / "tiny.gguf"))


def test_without_layers_no_device_is_used() -> None:
    model = Model(resolve_model("starter").gguf, n_gpu_layers=0)
    try:
        assert model._devices[0] is None
    finally:
        model.close()


def test_mlx_lms_speeds_are_read_from_its_coloured_table() -> None:
    lines = [
        "  \x1b[1miter   train_loss     tok/s     tokens\x1b[0m",
        "  \x1b[38;5;244m   1\x1b[0m    \x1b[1;35mval\x1b[0m \x1b[1m8.101\x1b[0m    0.73s",
        "  \x1b[38;5;244m   1\x1b[0m  \x1b[1;32m7.009 \u25bc\x1b[0m    \x1b[1m   88\x1b[0m  0.1k",
        "  \x1b[38;5;244m  20\x1b[0m  \x1b[1;33m7.037 \u25b2\x1b[0m    \x1b[1m12,116\x1b[0m 20.3k",
    ]
    assert reported_speeds("\n".join(lines)) == [88.0, 12_116.0]
