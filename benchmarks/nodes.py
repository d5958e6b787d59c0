"""The cost of a node as a search grows: the recorded search, grown to any number of nodes.

    python -m benchmarks.nodes                            # 100, 1,000 and 10,000 nodes
    python -m benchmarks.nodes 100 1000 --trees 32

Nodes are distinct answers; the trees grow side by side, as in a wave (see ``benchmarks.growth``).
This takes about 4 minutes with the starter on 2 cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from agentr_lite.actors.llamacpp.machine import physical_cores
from agentr_lite.actors.registry import resolve_model
from benchmarks import kernels, replay, tables
from benchmarks.growth import grown
from benchmarks.llama_tools import find_tools
from benchmarks.workload import CONTEXT, RECORDED, Workload


def main() -> None:
    """Measure searches of several sizes."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.nodes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("nodes", type=int, nargs="*", default=[100, 1000, 10_000])
    parser.add_argument("--trees", type=int, default=8)
    parser.add_argument("--model", type=Path, help="GGUF with the starter's vocabulary")
    parser.add_argument("--threads", type=int, default=physical_cores())
    parser.add_argument(
        "--tools", type=Path, default=find_tools(), help="folder of llama.cpp's libraries"
    )
    options = parser.parse_args()
    tables.warn_if_busy()
    kernels.use_library(options.tools)
    recorded = Workload.load(RECORDED)
    path = options.model or resolve_model("starter").gguf
    tables.note(kernels.describe())
    tables.begin(
        f"Cost against nodes: {path.name}, {options.trees} trees",
        [
            "nodes",
            "calls",
            "answer tokens",
            "seconds",
            "processor seconds",
            "ms a node",
            "of processor time",
            "decoded / unique",
            "restored from RAM",
        ],
    )
    for count in options.nodes:
        load = grown(recorded, count, trees=options.trees)
        measured = replay.ours(path, load, context=CONTEXT, n_threads=options.threads)
        assert measured.decoded_tokens is not None and measured.cpu_seconds is not None
        cpu = measured.cpu_seconds
        nodes = load.nodes
        tables.row(
            [
                f"{nodes:,}",
                f"{len(load.calls):,}",
                f"{load.answer_tokens:,}",
                f"{measured.seconds:.1f}",
                f"{cpu:.1f}",
                f"{measured.seconds / nodes * 1000:.2f}",
                f"{cpu / nodes * 1000:.2f}",
                f"{measured.decoded_tokens / load.unique_tokens():.3f}",
                f"{measured.counters.restored_tokens:,}",
            ]
        )


if __name__ == "__main__":
    main()
