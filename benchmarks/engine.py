"""The engine compared with llama.cpp's other front ends, on a recorded tree search.

    python -m benchmarks.engine                                     # the bundled starter
    python -m benchmarks.engine --shape qwen2-0.5b --quant q4_k_m   # random weights of that shape
    python -m benchmarks.engine --shape qwen3.5-0.8b --quant q8_0   # with recurrent layers
    python -m benchmarks.engine --only ceiling budgets              # some tables

The load is one wave of TextCraft's search, which was recorded with the starter and is replayed call
by call. ``--record`` records it again; ``--ticks`` uses only its beginning. The first table has
these rows:

- ours: all trees and samples together, with cached prefixes;
- ours, deterministic: every call by itself in an emptied cache, with blocks of prompts kept in RAM;
- llama-server: unified cache, prompt cache, concurrent clients, in the best of several set-ups,
  which is chosen on the first ticks;
- Llama, tree by tree: llama-cpp-python's class with its own prefix match, in the best order:
  siblings one after the other, and trees one after the other;
- Llama, interleaved: the same class with the trees in lockstep, as they were searched;
- Llama, fresh: the same class with a new prefill for each answer.

The class runs for at most ``--slow-seconds``. The time of the rest is estimated, and the table
shows which share was run.

llama-server and llama-batched-bench come from ``make llama-tools`` (or ``--tools DIR``). Python
uses the same libraries, so all sides run the same kernels. With a llama.cpp for GPUs, all sides
compute on the GPU. On 2 cores, the starter takes about 6
minutes and the 0.5B shape, with its default of ``--ticks``, about 15.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from agentr_lite.actors.llamacpp.library import uses_gpu
from agentr_lite.actors.llamacpp.machine import physical_cores
from agentr_lite.actors.llamacpp.tuning import machine_name
from agentr_lite.actors.registry import resolve_model
from benchmarks import kernels, replay, tables
from benchmarks.ceiling import BatchedBench, Load, ours_decoding
from benchmarks.llama_tools import find_tools
from benchmarks.replay import Measured, Settings
from benchmarks.server import SetUp, replay_on_server
from benchmarks.synthetic import QUANTIZATIONS, SHAPES, quantize, write_shape
from benchmarks.workload import CONTEXT, RECORDED, Workload, record

RECORDING = ("search.tasks=8", "search.simulations=4", "search.width=3", "seed=1")
BUDGETS = (1.0, 0.5, 0.25)
"""Cache sizes of the eviction curve, as shares of the load's unique tokens."""
TABLES = ("compare", "ceiling", "budgets")
_BASELINES = ("server", "class", "deterministic")
_SHAPE_TICKS = 8
"""Ticks of the recording for models that would take minutes for all of it."""
_TRIAL_TICKS = 3
"""Ticks on which the server's set-ups and the class's threads are compared."""


def main() -> None:
    """Run all engines on the same load and print the tables."""
    options = _parser().parse_args()
    if options.record:
        record("textcraft", RECORDING).save(RECORDED)
        return
    tables.warn_if_busy()
    kernels.use_library(options.tools)
    kernels.let_the_class_agree()
    load = Workload.load(RECORDED).trees(options.trees)
    ticks = options.ticks or (len(load.ticks) if options.shape is None else _SHAPE_TICKS)
    load = load.first_ticks(ticks)
    if options.tools is None:
        tables.warn("no llama-server and llama-batched-bench: run `make llama-tools`")
    with tempfile.TemporaryDirectory() as scratch:
        path = _model(options, options.work or Path(scratch))
        load = load.spelled_for(path)
        tables.note(f"{machine_name()}, {options.threads} threads. {kernels.describe()}")
        ours = replay.ours(
            path,
            load,
            context=CONTEXT,
            n_threads=options.threads,
            settings=Settings(lanes=options.lanes),
        )
        if "compare" in options.only:
            _compare(options, path, load, ours)
        if "ceiling" in options.only and options.tools is not None:
            _ceiling(options, path, load, ours)
        if "budgets" in options.only:
            _budgets(options, path, load)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", type=Path, help="another GGUF file")
    parser.add_argument("--shape", choices=SHAPES, help="random weights of that shape")
    parser.add_argument(
        "--quant", choices=QUANTIZATIONS, default="q4_k_m", help="quantization of the shape"
    )
    parser.add_argument("--trees", type=int, default=8, help="trees of the recording")
    parser.add_argument(
        "--ticks", type=int, help="ticks of the recording; default: 66 (all), 8 for a shape"
    )
    parser.add_argument(
        "--trial-ticks",
        type=int,
        default=_TRIAL_TICKS,
        help="ticks on which the server's set-ups are compared; fewer for slow models",
    )
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES, help="tables")
    parser.add_argument(
        "--skip", nargs="+", choices=_BASELINES, default=(), help="rows of the first table"
    )
    parser.add_argument(
        "--slow-seconds", type=float, default=60.0, help="limit for each row of the class"
    )
    parser.add_argument(
        "--repeats", type=int, default=2, help="repeats of the ceiling's measurements"
    )
    parser.add_argument("--threads", type=int, default=physical_cores())
    parser.add_argument("--lanes", type=int, help="our engine's caches; default: its own choice")
    parser.add_argument("--tools", type=Path, default=find_tools(), help="llama.cpp's programs")
    parser.add_argument("--work", type=Path, help="keep the synthetic models here")
    parser.add_argument("--record", action="store_true", help="record the load again, and stop")
    return parser


def _model(options: argparse.Namespace, folder: Path) -> Path:
    starter = resolve_model("starter").gguf
    if options.shape is None:
        return options.model or starter
    path = folder / f"{options.shape}-{options.quant}.gguf"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        f16 = folder / f"{options.shape}-f16.gguf"
        if not f16.exists():
            write_shape(f16, options.shape, starter)
        quantize(f16, path, options.quant, n_threads=options.threads)
    return path


def _compare(options: argparse.Namespace, path: Path, load: Workload, ours: Measured) -> None:
    unique = load.unique_tokens()
    prompts = sum(len(call.prompt) * len(call.samples) for call in load.calls)
    columns = ["", "seconds", "processor seconds", "answer tokens/s", "decoded / unique"]
    columns += ["times ours", "in processor time", "of it run"]
    tables.begin(f"The recorded search: {path.name}", columns)
    _row(ours, ours, unique)
    if "deterministic" not in options.skip:
        settings = Settings(deterministic=True)
        name = "ours, deterministic"
        exact = replay.ours(
            path,
            load,
            context=CONTEXT,
            n_threads=options.threads,
            settings=settings,
            name=name,
        )
        _row(exact, ours, unique)
    if options.tools is not None and "server" not in options.skip:
        _row(_server(options, path, load), ours, unique)
    if "class" not in options.skip:
        for measured in _class(options, path, load):
            _row(measured, ours, unique)
    tables.note(
        f"{len(load.calls)} calls of {options.trees} trees, {load.nodes} nodes,"
        f" {load.answer_tokens:,} answer tokens; {prompts + load.answer_tokens:,} tokens if nothing"
        f" is shared, {unique:,} unique. Ours: {ours.mean_width:.1f} rows in a decode batch."
    )
    if ours.counters.rollbacks:
        tables.note(
            f"Recurrent layers: {ours.counters.rollbacks} times an earlier state was taken, and"
            f" {ours.counters.recomputed_tokens:,} known tokens were decoded again."
        )
    _python_share(options, path, load, ours)


def _row(measured: Measured, ours: Measured, unique: int) -> None:
    decoded = measured.decoded_tokens
    # Compare by token: an `n_cmpl` request's mean length may give a few tokens more or less.
    share = ours.answer_tokens / measured.answer_tokens
    cpu, cpu_ours = measured.cpu_seconds, ours.cpu_seconds
    tables.row(
        [
            measured.name,
            f"{measured.seconds:.1f}",
            "" if cpu is None else f"{cpu:.1f}",
            f"{measured.answer_tokens / measured.seconds:,.0f}",
            f"{decoded / unique:.2f}" if decoded else "",
            f"{measured.seconds * share / ours.seconds:.2f}",
            "" if cpu is None or cpu_ours is None else f"{cpu * share / cpu_ours:.2f}",
            "all" if measured.run == 1 else f"{measured.run:.0%}, the rest estimated",
        ]
    )


def _server(options: argparse.Namespace, path: Path, load: Workload) -> Measured:
    """Replay on llama-server with the best of several set-ups."""
    most = max(sum(len(call.samples) for call in tick) for tick in load.ticks)
    set_ups = [
        SetUp(most),
        SetUp(max(most // 2, 3)),  # fewer trees at a time, fewer cells to read
        SetUp(most, lockstep=False),
        SetUp(most, options=("--flash-attn", "off")),
        SetUp(most, options=("--no-cache-idle-slots",)),
        SetUp(4, together=False),
    ]
    if not uses_gpu():
        set_ups.append(SetUp(most, options=("--threads", "1")))

    def play(part: Workload, set_up: SetUp) -> Measured:
        measured, described = replay_on_server(
            options.tools / "llama-server",
            path,
            part,
            set_up,
            context=CONTEXT,
            n_threads=options.threads,
            repack=kernels.repacks(),
        )
        kernels.compare("llama-server", described)
        return measured

    trial = load.first_ticks(options.trial_ticks)
    tried = [(play(trial, set_up), set_up) for set_up in set_ups]
    tables.say(f"llama-server on the first {len(trial.ticks)} ticks:")
    for measured, set_up in tried:
        tables.say(f"  {measured.answer_tokens / measured.seconds:6.0f} tok/s  {set_up.label}")
    best = max(tried, key=lambda trial: trial[0].answer_tokens / trial[0].seconds)[1]
    return play(load, best)


def _class(options: argparse.Namespace, path: Path, load: Workload) -> list[Measured]:
    ordered = load.one_tree_after_another()

    def trial(n_threads: int) -> float:
        part = ordered.first_ticks(options.trial_ticks)
        return replay.high_level(
            path,
            part,
            context=CONTEXT,
            n_threads=n_threads,
            fresh=False,
            name="trial",
            limit_seconds=options.slow_seconds / 6,
        ).seconds

    # A second thread costs a small model more than it gives.
    threads = min({1, options.threads}, key=trial)
    ways = [
        ("Llama, tree by tree", ordered, False),
        ("Llama, interleaved", load, False),
        ("Llama, fresh", load, True),
    ]
    return [
        replay.high_level(
            path,
            part,
            context=CONTEXT,
            n_threads=threads,
            fresh=fresh,
            name=name if threads == options.threads else f"{name}, {threads} thread",
            limit_seconds=options.slow_seconds,
        )
        for name, part, fresh in ways
    ]


def _python_share(options: argparse.Namespace, path: Path, load: Workload, whole: Measured) -> None:
    """Print the share of time outside llama.cpp, which is known if one thread works at a time."""
    threads = options.threads
    if whole.side_by_side:
        threads = 1
        part = load.trees(2)
        whole = replay.ours(path, part, context=CONTEXT, n_threads=threads)
    share = 1 - whole.native_seconds / whole.seconds
    tables.note(
        f"Outside llama.cpp, {threads} thread{'s'[: threads > 1]}: {share:.1%} of the time;"
        f" drawing tokens: {whole.drawing_seconds / whole.seconds:.1%}."
    )


def _ceiling(options: argparse.Namespace, path: Path, load: Workload, ours: Measured) -> None:
    """Print the speed of decoding alone, and the whole search compared with it."""
    samples = [tokens for call in load.calls for tokens in call.samples]
    prompt = round(sum(len(call.prompt) for call in load.calls) / len(load.calls))
    answer = round(load.answer_tokens / len(samples))
    mean = round(len(samples) / len(load.ticks))
    tables.begin(
        f"The ceiling: {path.name}, answers of {answer} tokens after {prompt} shared ones",
        [
            "answers at a time",
            "llama-batched-bench, tokens/s",
            "ours",
            "ours / ceiling",
            "its set-up",
        ],
    )
    best = {}
    for width in sorted({len(load.calls[0].samples), mean}):
        lengths = Load(prompt, answer, width)
        bench = BatchedBench(
            options.tools / "llama-batched-bench",
            path,
            n_threads=options.threads,
            repack=kernels.repacks(),
        )
        way = bench.best_way(lengths)
        speed = 0.0
        best[width] = 0.0
        # Take turns and keep the best of each, because other programs disturb the measurements.
        for _ in range(options.repeats):
            best[width] = max(best[width], bench.speed(lengths, way))
            own = Settings(lanes=options.lanes)
            once = ours_decoding(path, lengths, n_threads=options.threads, settings=own)
            speed = max(speed, once)
        tables.row(
            [
                f"{width}",
                f"{best[width]:,.0f}",
                f"{speed:,.0f}",
                f"{speed / best[width]:.2f}",
                way.label,
            ]
        )
    useful = ours.answer_tokens / ours.seconds
    tables.note(
        f"Useful tokens: the recorded search, {mean} answers at a time on average, got"
        f" {useful:,.0f} answer tokens a second, its prompts' time included:"
        f" {useful / best[mean]:.2f} of the ceiling at that width."
    )


def _budgets(options: argparse.Namespace, path: Path, load: Workload) -> None:
    """Print the decoded tokens for smaller and smaller caches."""
    unique = load.unique_tokens()
    tables.begin(
        f"Cache budgets: {path.name}, {unique:,} unique tokens",
        [
            "cells / unique tokens",
            "cells",
            "decoded / unique",
            "restored from RAM",
            "spilled",
            "seconds",
        ],
    )
    for cells in dict.fromkeys(max(CONTEXT, round(unique * share)) for share in BUDGETS):
        measured = replay.ours(
            path,
            load,
            context=CONTEXT,
            n_threads=options.threads,
            settings=Settings(n_cells=cells, lanes=options.lanes),
        )
        assert measured.decoded_tokens is not None
        tables.row(
            [
                f"{cells / unique:.2f}",
                f"{cells:,}",
                f"{measured.decoded_tokens / unique:.3f}",
                f"{measured.counters.restored_tokens:,}",
                f"{measured.counters.spilled_tokens:,}",
                f"{measured.seconds:.1f}",
            ]
        )


if __name__ == "__main__":
    main()
