"""Memory and speed of a model with sliding windows: the cells of all tokens, or windows' alone.

    python -m benchmarks.windows --model gemma3-270m
    python -m benchmarks.windows --model gemma3-270m --free 0 0.5 0.25 0.185

The load is the beginning of a recorded tree search. Each tree has a history of its own before its
prompts, so that they are longer than the windows. ``--free`` says how many GB the plans shall take
for free memory; 0: what is free. The caches, and the RAM for what is evicted from them, follow from
that. Each row is a process of its own, one after the other, and its memory is the largest that the
process had. The answers are those of the recording, so both ways do the same work.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any

from agentr_lite.actors.llamacpp import plan as planning
from agentr_lite.actors.llamacpp.gguf_header import Header, read_header
from agentr_lite.actors.llamacpp.machine import physical_cores
from agentr_lite.actors.llamacpp.plan import LanePlan
from agentr_lite.actors.llamacpp.windows import saves_memory
from agentr_lite.actors.registry import resolve_model
from agentr_lite.core.errors import ModelError
from benchmarks import replay, tables
from benchmarks.replay import Settings
from benchmarks.workload import RECORDED, Call, Workload

WAYS = {"all tokens": False, "windows alone": True}
_NO_ROOM = 3
"""Exit code of a row whose caches do not fit."""
_COLUMNS = (
    "cells",
    "free",
    "lanes x tokens",
    "caches, MB",
    "largest memory, MB",
    "seconds",
    "processor s",
    "answer tokens/s",
    "decoded / unique",
    "from RAM",
    "earlier states",
)


@dataclass(frozen=True)
class _Unloaded:
    """A model's file, for the plan of its caches."""

    header: Header

    @property
    def n_params(self) -> int:
        return self.header.parameters()


def main() -> None:
    """Measure each way in a process and print the table."""
    options = _parser().parse_args()
    if options.child is not None:
        print(json.dumps(measure(options)))
        return
    tables.warn_if_busy()
    header = read_header(resolve_model(options.model).gguf)
    if not saves_memory(header, options.context):
        raise SystemExit(
            f"{header.path}: with {options.context:,} tokens of context, windows of"
            f" {header.window:,} tokens change nothing"
        )
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    tables.begin(
        f"{header.path.name}: windows of {header.window:,} tokens, {options.context:,} tokens of"
        f" context, {options.trees} trees with histories of {options.history:,} tokens,"
        f" {options.threads} threads; the machine's load: {load}",
        _COLUMNS,
    )
    for free in options.free:
        for way in WAYS:
            _row(way, free, _measured(options, way, free))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.windows", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", default="gemma3-270m", help="a name or a GGUF file")
    parser.add_argument("--trees", type=int, default=4, help="trees of the recording")
    parser.add_argument("--ticks", type=int, default=6, help="ticks of the recording")
    parser.add_argument("--history", type=int, default=1500, help="tokens before each prompt")
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--free", type=float, nargs="+", default=[0.0], help="GB, see above")
    parser.add_argument("--threads", type=int, default=physical_cores())
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    return parser


def _measured(options: argparse.Namespace, way: str, free: float) -> dict[str, Any] | None:
    """What a row's process printed; None: there is no room for its caches.

    Raises:
        SystemExit: the process failed.
    """
    words = [sys.executable, "-m", "benchmarks.windows", "--child", way, "--free", str(free)]
    for name in ("model", "trees", "ticks", "history", "context", "threads"):
        words += [f"--{name}", str(getattr(options, name))]
    done = subprocess.run(words, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode == _NO_ROOM:
        return None
    if done.returncode:
        raise SystemExit(f"{way}: its process ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _row(way: str, free: float, found: dict[str, Any] | None) -> None:
    memory = f"{free:g} GB" if free else "as it is"
    if found is None:
        tables.row([way, memory, "no room", *[""] * (len(_COLUMNS) - 3)])
        return
    tables.row(
        [
            way,
            memory,
            found["shape"],
            f"{found['cache_bytes'] / 1e6:,.0f}",
            f"{found['peak_bytes'] / 1e6:,.0f}",
            f"{found['seconds']:.1f}",
            f"{found['cpu_seconds']:.1f}",
            f"{found['answer_tokens'] / found['seconds']:.1f}",
            f"{found['decoded'] / found['unique']:.2f}",
            f"{found['restored']:,}",
            f"{found['rollbacks']} ({found['recomputed']:,} tokens)",
        ]
    )


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Replay the load in one way, in this process.

    Raises:
        SystemExit: there is no room for the caches.
    """
    if options.free[0]:
        pretended = int(options.free[0] * 1e9)
        for name in ("available_bytes", "_gpu_bytes"):
            setattr(planning, name, lambda: pretended)
    path = resolve_model(options.model).gguf
    settings = Settings(windowed=WAYS[options.child])
    header = read_header(path)
    try:
        plan = replay.make_plan(
            _Unloaded(header),
            context=options.context,
            n_threads=options.threads,
            settings=settings,
        )
    except ModelError as error:
        tables.say(error.message)
        raise SystemExit(_NO_ROOM) from error
    recorded = Workload.load(RECORDED).trees(options.trees).first_ticks(options.ticks)
    load = with_histories(recorded.spelled_for(path), options.history)
    measured = replay.ours(
        path, load, context=options.context, n_threads=options.threads, settings=settings
    )
    counters = measured.counters
    held = f"{plan.streams} of {plan.n_cells // plan.streams:,}" if plan.streams else None
    return {
        "shape": f"{plan.count} x {held or format(plan.n_cells, ',')}",
        "cache_bytes": cache_bytes(header, plan),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT,
        "seconds": measured.seconds,
        "cpu_seconds": measured.cpu_seconds,
        "answer_tokens": measured.answer_tokens,
        "decoded": measured.decoded_tokens,
        "unique": load.unique_tokens(),
        "restored": counters.restored_tokens,
        "rollbacks": counters.rollbacks,
        "recomputed": counters.recomputed_tokens,
    }


_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def cache_bytes(header: Header, plan: LanePlan) -> int:
    """Bytes of all lanes' caches, without the RAM for what is evicted from them."""
    cell = header.cell_bytes() - (header.window_cell_bytes() if plan.window else 0)
    return plan.count * (plan.n_cells * cell + plan.streams * plan.state_bytes)


def with_histories(load: Workload, tokens: int, *, seed: int = 1) -> Workload:
    """The same search, in which each tree's prompts begin with other ``tokens`` of its own."""
    used = sorted({token for call in load.calls for token in call.prompt})
    histories: dict[int, list[int]] = {}

    def longer(call: Call) -> Call:
        if call.tree not in histories:
            rng = random.Random(f"{seed} {call.tree}")
            histories[call.tree] = rng.choices(used, k=tokens)
        return replace(call, prompt=[*histories[call.tree], *call.prompt])

    return Workload([[longer(call) for call in tick] for tick in load.ticks])


if __name__ == "__main__":
    main()
