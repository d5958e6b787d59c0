"""The engine against llama.cpp's other front ends, on a recorded tree search, in one run.

    python -m benchmarks.engine                           # the bundled starter
    python -m benchmarks.engine --shape qwen2-0.5b --quantization q4_k_m
    python -m benchmarks.engine --tools DIR     # also llama-server and llama-batched-bench

The load is one wave of TextCraft's search, recorded with the starter (``--record`` does it anew),
replayed call by call. Rows of the table:

- ours: all trees and samples together, prefixes kept;
- Llama, tree by tree: llama-cpp-python's class with its own prefix match, used as well as it can
  be: siblings one after the other, trees one after the other;
- Llama, interleaved: the same with the trees in lockstep, as they were searched;
- Llama, fresh: a new prefill for each answer (of ``--fresh-trees`` trees, scaled up);
- llama-server: unified cache, prompt cache, concurrent clients.

Read the ratios: they were taken side by side.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from agentr_lite.actors.llamacpp.library import has_unsafe_amx, load_library
from agentr_lite.actors.llamacpp.machine import physical_cores
from agentr_lite.actors.registry import resolve_model
from benchmarks import replay
from benchmarks.synthetic import QUANTIZATIONS, QWEN2_0_5B, quantize, write_f16
from benchmarks.workload import Workload, record

RECORDED = Path(__file__).parent / "data" / "textcraft_wave.json.gz"
RECORDING = ("search.tasks=8", "search.simulations=4", "search.width=3", "seed=1")
CONTEXT = 2048
BUDGETS = (1.0, 0.5, 0.25)
"""Cache sizes of the eviction curve, as shares of the load's unique tokens."""


def main() -> None:
    """Run all engines on the same load and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", type=Path, help="GGUF with the starter's vocabulary")
    parser.add_argument("--shape", choices=["qwen2-0.5b"], help="random weights of that shape")
    parser.add_argument("--quantization", choices=QUANTIZATIONS, default="q4_k_m")
    parser.add_argument("--trees", type=int, default=8, help="of the recording")
    parser.add_argument("--fresh-trees", type=int, default=1)
    parser.add_argument("--threads", type=int, default=physical_cores())
    parser.add_argument("--tools", type=Path, help="where llama-server and the like lie")
    parser.add_argument("--clients", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--skip", nargs="*", default=[], choices=["llama", "budgets", "growth"])
    parser.add_argument("--work", type=Path, help="keep the synthetic models here")
    parser.add_argument("--record", action="store_true", help="record the load anew, and stop")
    options = parser.parse_args()
    if options.record:
        record("textcraft", RECORDING).save(RECORDED)
        return
    _avoid_amx()
    load = Workload.load(RECORDED).trees(options.trees)
    with tempfile.TemporaryDirectory() as scratch:
        path = _model(options, options.work or Path(scratch))
        _compare(options, path, load)
        if "budgets" not in options.skip:
            _budgets(options, path, load)
        if "growth" not in options.skip:
            _growth(options, path, load)


def _model(options: argparse.Namespace, folder: Path) -> Path:
    starter = resolve_model("starter").gguf
    if options.shape is None:
        return options.model or starter
    path = folder / f"{options.shape}-{options.quantization}.gguf"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        f16 = folder / f"{options.shape}-f16.gguf"
        if not f16.exists():
            write_f16(f16, QWEN2_0_5B, starter)
        quantize(f16, path, options.quantization, n_threads=options.threads)
    return path


def _compare(options: argparse.Namespace, path: Path, load: Workload) -> None:
    size: dict[str, Any] = {"context": CONTEXT, "n_threads": options.threads}
    unique = load.unique_tokens()
    prompts = sum(len(call.prompt) * len(call.samples) for call in load.calls)
    print(
        f"model {path.name}: {options.trees} trees, {len(load.calls)} calls,"
        f" {load.answer_tokens:,} answer tokens; {prompts + load.answer_tokens:,} tokens without"
        f" any sharing, {unique:,} unique"
    )
    print(f"{'':28}{'seconds':>9}{'answer tok/s':>14}{'decoded':>11}{'/ unique':>10}{'/ ours':>8}")
    ours = replay.ours(path, load, **size)
    _row(ours, ours, unique)
    if options.tools:
        for clients in options.clients:
            tool = options.tools / "llama-server"
            _row(replay.server(tool, path, load, clients=clients, **size), ours, unique)
    if "llama" not in options.skip:
        ordered = load.one_tree_after_another()
        for name, one in (("Llama, tree by tree", ordered), ("Llama, interleaved", load)):
            measured = replay.high_level(path, one, fresh=False, name=name, **size)
            _row(measured, ours, unique)
        part = load.trees(options.fresh_trees)
        fresh = replay.high_level(path, part, fresh=True, name="Llama, fresh", **size)
        scale = load.answer_tokens / part.answer_tokens
        scaled = replay.Measured(fresh.name, fresh.seconds * scale, load.answer_tokens)
        _row(scaled, ours, unique)
    # On one thread the time inside llama.cpp can be told from ours.
    alone = replay.ours(path, load.trees(2), context=CONTEXT, n_threads=1)
    print(f"outside llama.cpp, on one thread: {1 - alone.native_seconds / alone.seconds:.1%}")
    if options.tools:
        width = round(sum(len(c.samples) for c in load.calls) / len(load.ticks))
        prompt = round(sum(len(c.prompt) for c in load.calls) / len(load.calls))
        best = replay.ceiling(
            options.tools / "llama-batched-bench",
            path,
            prompt=prompt,
            answer=64,
            width=width,
            n_threads=options.threads,
        )
        print(
            f"llama-batched-bench, {width} answers after {prompt} shared tokens: {best:.0f} tok/s"
        )
        print(
            f"answer tokens a second, ours / that: {ours.answer_tokens / ours.seconds / best:.2f}"
        )


def _row(measured: replay.Measured, ours: replay.Measured, unique: int) -> None:
    decoded = measured.decoded_tokens
    print(
        f"{measured.name:28}{measured.seconds:9.2f}"
        f"{measured.answer_tokens / measured.seconds:14.0f}"
        f"{format(decoded, ',') if decoded else '':>11}"
        f"{format(decoded / unique, '.2f') if decoded else '':>10}"
        f"{measured.seconds / ours.seconds:8.2f}",
        flush=True,
    )


def _budgets(options: argparse.Namespace, path: Path, load: Workload) -> None:
    unique = load.unique_tokens()
    print("\ncache budget, of the unique tokens   decoded / unique   seconds")
    for share in BUDGETS:
        cells = max(CONTEXT, round(unique * share))
        measured = replay.ours(
            path, load, context=CONTEXT, n_threads=options.threads, n_cells=cells
        )
        assert measured.decoded_tokens is not None
        print(
            f"{share:8.2f} ({cells:,} tokens){'':8}{measured.decoded_tokens / unique:12.2f}"
            f"{measured.seconds:14.2f}",
            flush=True,
        )


def _growth(options: argparse.Namespace, path: Path, load: Workload) -> None:
    print("\ntrees   answer tokens   ms an answer token")
    trees = 1
    while trees <= options.trees:
        part = load.trees(trees)
        measured = replay.ours(path, part, context=CONTEXT, n_threads=options.threads)
        cost = measured.seconds / part.answer_tokens * 1000
        print(f"{trees:5}{part.answer_tokens:16,}{cost:21.3f}", flush=True)
        trees *= 2


def _avoid_amx() -> None:
    """Keep the high-level class, too, from kernels that crash (see ``has_unsafe_amx``)."""
    library: Any = load_library()
    default = library.llama_model_default_params
    if has_unsafe_amx():

        def without_extra_buffers() -> Any:
            params = default()
            params.use_extra_bufts = False
            return params

        library.llama_model_default_params = without_extra_buffers


if __name__ == "__main__":
    main()
