"""The speed of llama-batched-bench, which decodes branches after one prompt, and ours beside it.

A part of ``python -m benchmarks.engine``. llama-batched-bench draws no tokens and keeps no records,
so it shows what the kernels allow if every branch is a separate row. A small model's steps are too
short to divide between threads. So the program is tried with one process on all threads and with
one process per thread, each with and without flash attention; the fastest result counts.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agentr_lite.actors.llamacpp.lanes import Lanes
from agentr_lite.actors.llamacpp.library import uses_gpu
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.llamacpp.scheduler import Job, Sample
from benchmarks.replay import Recorded, Settings, Timer, make_plan

_TRIES = 40
"""On a busy machine, a small model's run may end before the log thread starts."""
_LAST = 2
"""Tokens of a second measurement, so that the program has time to print the first."""


@dataclass(frozen=True)
class Load:
    """One prompt and the answers after it."""

    prompt: int
    """Prompt tokens, shared by all answers."""
    answer: int
    """Tokens of each answer; all answers differ in their first token."""
    width: int
    """Number of answers at a time."""


@dataclass(frozen=True)
class Way:
    """How llama-batched-bench is run."""

    processes: int
    """Number of parallel processes; each has its part of the threads and of the answers."""
    flash_attention: bool

    @property
    def label(self) -> str:
        """Its name in a table."""
        processes = "" if self.processes == 1 else f", {self.processes} processes"
        return f"flash attention {'on' if self.flash_attention else 'off'}{processes}"


class BatchedBench:
    """llama-batched-bench on one model."""

    def __init__(self, binary: Path, path: Path, *, n_threads: int, repack: bool) -> None:
        """
        Args:
            binary: the program.
            path: GGUF file.
            n_threads: of all processes together.
            repack: whether weights may be rearranged for faster kernels.
        """
        self._start = [str(binary), "-m", str(path), "-pps", "-kvu", "--output-format", "jsonl"]
        self._start += [] if repack else ["--no-repack"]
        self._threads = n_threads

    def best_way(self, load: Load) -> Way:
        """The fastest way for a load, with one measurement of each."""
        # On a GPU, several processes would only wait for each other.
        processes = [1] if uses_gpu() else sorted({1, min(self._threads, load.width)})
        ways = [Way(count, flash) for count in processes for flash in (False, True)]
        return max(ways, key=lambda way: self.speed(load, way))

    def speed(self, load: Load, way: Way) -> float:
        """Generated tokens per second of all answers together."""
        commands = []
        for width in _shares(load.width, way.processes):
            cells = load.prompt + width * load.answer + 256
            command = [*self._start, "-npp", str(load.prompt), "-ntg", f"{load.answer},{_LAST}"]
            command += ["-npl", str(width), "-c", str(cells)]
            command += ["-t", str(self._threads // way.processes)]
            commands.append([*command, "-fa", "on" if way.flash_attention else "off"])
        return _speed(commands, load.answer)


def ours_decoding(path: Path, load: Load, *, n_threads: int, settings: Settings) -> float:
    """Rows per second of this project's engine on the same load, with sampling.

    If the plan has one thread per lane, the answers are divided into as many parts as there are
    lanes, each with its own prompt, as with several processes of llama-batched-bench.
    """
    model = Model(path)
    context = load.prompt + load.answer + 64
    plan = make_plan(model, context=context, n_threads=n_threads, settings=settings)
    lanes = Lanes(model, plan, n_threads=n_threads)
    words = [token for token in range(model.n_vocab) if token not in model.end_tokens]
    rng = np.random.default_rng(0)
    parts = min(n_threads, plan.count, load.width) if plan.parallel else 1
    prompts = [rng.choice(words, load.prompt).tolist() for _ in range(parts)]
    shares = _shares(load.width, parts)
    try:
        # Decode the prompts first: their time is not part of the measurement.
        lanes.run(
            [
                Job(prompt, list(_answers(words, rng, width, 1)))
                for prompt, width in zip(prompts, shares, strict=True)
            ]
        )
        before = lanes.counters()
        jobs = [
            Job(prompt, list(_answers(words, rng, width, load.answer)))
            for prompt, width in zip(prompts, shares, strict=True)
        ]
        started = time.perf_counter()
        lanes.run(jobs)
        seconds = time.perf_counter() - started
        after = lanes.counters()
    finally:
        lanes.close()
        model.close()
    rows = after.decoded_tokens + after.replayed_tokens
    return (rows - before.decoded_tokens - before.replayed_tokens) / seconds


def _answers(
    words: list[int], rng: np.random.Generator, width: int, length: int
) -> Iterator[Sample]:
    """Random answers that differ in their first token."""
    firsts = rng.choice(words, width, replace=False).tolist()
    for seed, first in enumerate(firsts, 1):
        tokens = [first, *rng.choice(words, length - 1).tolist()]
        yield Sample(Recorded(tokens, seed, Timer()), length)


def _shares(width: int, parts: int) -> list[int]:
    return [width * (part + 1) // parts - width * part // parts for part in range(parts)]


def _speed(commands: list[list[str]], answer: int) -> float:
    """The sum of the tokens per second of all commands, which run side by side.

    The program sometimes ends before its log thread has written anything. Then all run again.
    """
    for _ in range(_TRIES):
        outputs = _run_side_by_side(commands)
        rows = [json.loads(line) for out in outputs for line in out.splitlines() if line[:1] == "{"]
        speeds = [float(row["speed_tg"]) for row in rows if row["tg"] == answer]
        if len(speeds) == len(commands):
            return sum(speeds)
    raise SystemExit(f"llama-batched-bench printed no result {_TRIES} times: {commands[0]}")


def _run_side_by_side(commands: list[list[str]]) -> list[str]:
    """Run all commands at the same time; returns what each wrote to stdout."""
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    outputs = []
    for process in processes:
        out, err = process.communicate()
        if process.returncode != 0:
            raise SystemExit(f"llama-batched-bench failed ({process.returncode}):\n{err[-2000:]}")
        outputs.append(out)
    return outputs
