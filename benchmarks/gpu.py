"""Everything that a GPU should be tested with, in a bounded time.

    python -m benchmarks.gpu --model FILE.gguf --out DIR
    python -m benchmarks.gpu --model FILE.gguf --out DIR --only engine training --seconds 240

The steps, in order of importance:

- engine: the engine's answers on the GPU compared with the processor's (``benchmarks.gpu_engine``);
- loop: ``agentr-lite run textcraft`` with imitation, and the time of each stage;
- speed: a recorded search on our engine and on llama-server, and llama-batched-bench;
- training: LoRA on the GPU, compared with the processor and with ``mlx_lm.lora``.

Each step is a process of its own with a time limit. If one fails or runs too long, the next ones
run all the same. Each one's output goes to ``DIR/STEP.md``, and a summary to ``DIR/gpu.json``. The
exit code is 1 if a step failed. Without a GPU, the same work is done on the processor, which tests
this program and nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from agentr_lite.actors.registry import resolve_model

SECONDS = {"engine": 120.0, "loop": 180.0, "speed": 120.0, "training": 90.0}
"""Longest time of each step; what a step leaves over is the next ones'."""
_SETTINGS = ("imitation.tasks=24", "imitation.epochs=1", "search.tasks=4", "eval.tasks=8")


@dataclass(frozen=True)
class Outcome:
    """How a step ended."""

    step: str
    ended: str
    """``done``, ``failed (CODE)`` or ``stopped after N s``."""
    seconds: float


def main() -> None:
    """Run the steps, one after the other."""
    options = _parser().parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + options.seconds
    outcomes = []
    for step in options.only:
        limit = min(SECONDS[step] * options.patience, end - time.monotonic())
        if limit < 5:
            outcomes.append(Outcome(step, "not begun: no time left", 0.0))
        else:
            command = _command(step, options)
            outcomes.append(run_step(step, command, options.out / f"{step}.md", limit))
        print(f"\n== {step}: {outcomes[-1].ended}, {outcomes[-1].seconds:.0f} s", flush=True)
        rows = [asdict(outcome) for outcome in outcomes]
        (options.out / "gpu.json").write_text(json.dumps(rows, indent=2) + "\n", "utf-8")
    if any(outcome.ended != "done" for outcome in outcomes):
        sys.exit(1)


def run_step(step: str, command: Sequence[str], log: Path, limit: float) -> Outcome:
    """Run a command, show and keep its output, and stop it after ``limit`` seconds.

    Args:
        step: its name.
        command: the words.
        log: file for what it writes.
        limit: seconds.
    """
    print(f"\n== {step}, at most {limit:.0f} s: {' '.join(command)}", flush=True)
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # Its own processes (a server, a run) are stopped with it.
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    stopped = threading.Event()

    def stop() -> None:
        stopped.set()
        with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(limit, stop)
    timer.start()
    assert process.stdout is not None
    with process, log.open("w", encoding="utf-8") as file:
        for line in process.stdout:
            print(line, end="", flush=True)
            file.write(line)
    timer.cancel()
    seconds = time.monotonic() - started
    ended = "done" if process.returncode == 0 else f"failed ({process.returncode})"
    return Outcome(step, f"stopped after {limit:.0f} s" if stopped.is_set() else ended, seconds)


def _command(step: str, options: argparse.Namespace) -> list[str]:
    start, model = [sys.executable, "-m"], str(options.model)
    if step == "engine":
        return [*start, "benchmarks.gpu_engine", "--model", model]
    if step == "training":
        work = str(options.out / "training")
        return [*start, "benchmarks.gpu_training", "--model", model, "--work", work]
    if step == "speed":
        words = [*start, "benchmarks.engine", "--model", model, "--only", "compare", "ceiling"]
        words += ["--skip", "class", "deterministic", "--repeats", "1"]
        return [*words, "--tools", str(options.tools)] if options.tools else words
    words = [*start, "benchmarks.loop", "smollm2-textcraft", "--set", f"model={model}"]
    for setting in _SETTINGS:
        words += ["--set", setting]
    return words


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", type=Path, default=resolve_model("starter").gguf)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--seconds", type=float, default=480.0, help="for all steps together")
    parser.add_argument("--only", nargs="+", choices=SECONDS, default=list(SECONDS))
    parser.add_argument(
        "--patience", type=float, default=1.0, help="factor on each step's own time limit"
    )
    parser.add_argument("--tools", type=Path, help="folder with llama-server and libllama")
    return parser


if __name__ == "__main__":
    main()
