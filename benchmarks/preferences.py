"""Steps of preference training: a pair as one row or as two, against SFT on the same sequences.

    python -m benchmarks.preferences                          # the bundled starter
    python -m benchmarks.preferences --model smollm2-135m
    python -m benchmarks.preferences --model smollm2-135m --prefix 200 --continuation 300

This takes optimizer steps on pairs of random tokens, on which speed does not depend. `sft` learns
both continuations of each pair as two examples; `two rows` compares them, each with the whole
conversation before it; `one row` computes what they share once, as `agentr-lite train` does it.
"References" is the pass that a training makes once over its pairs. Each row of the table is a
process of its own, so that its largest memory is its own; "planned" is what `train.memory` counts
with. Read the ratios: other work on the machine slows all rows. Processor time is the less
disturbed of the two.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.memory import weights_of

WAYS = ("sft", "two rows", "one row")


def main() -> None:
    """Measure each way in a process and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preferences", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", default="starter", help="a name, a GGUF file, or a directory")
    parser.add_argument("--prefix", type=int, default=600, help="tokens that a pair shares")
    parser.add_argument("--continuation", type=int, default=120, help="tokens of the longer one")
    parser.add_argument("--batch", type=int, default=4, help="pairs per step")
    parser.add_argument("--steps", type=int, default=2, help="timed steps, after one untimed step")
    parser.add_argument("--limit", type=float, default=0.0, help="train.memory in GB")
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options)))
        return
    options.model = str(weights_of(options.model))
    rows = {}
    for way in WAYS:
        words = [sys.executable, "-m", "benchmarks.preferences", "--child", way]
        for name in ("model", "prefix", "continuation", "batch", "steps", "limit"):
            words += [f"--{name}", str(getattr(options, name))]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
        rows[way] = json.loads(done.stdout.splitlines()[-1])
    report(rows)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One way, in this process."""
    from agentr_lite.actors.mlx.blas import use_fast_blas

    use_fast_blas()
    import numpy as np

    from agentr_lite.actors.llamacpp.machine import physical_cores
    from agentr_lite.recipe.groups import TrainSettings
    from agentr_lite.train.batches import Tokenized
    from agentr_lite.train.dpo import PreferenceLoss
    from agentr_lite.train.memory import directory_shape, plan_memory
    from agentr_lite.train.mlx_session import PairBatches, Session
    from agentr_lite.train.parts import pair_tokens
    from agentr_lite.train.preferences import TokenizedPair

    rng = np.random.default_rng(1)
    count = options.batch * (options.steps + 1)
    pairs = []
    for _ in range(count):
        prefix = rng.integers(5, 250, options.prefix).tolist()
        sizes = options.continuation, options.continuation * 3 // 4
        chosen, rejected = (rng.integers(5, 250, size).tolist() for size in sizes)
        rows = [
            [Tokenized(prefix + own, [False] * len(prefix) + [True] * len(own))]
            for own in (chosen, rejected)
        ]
        pairs.append(TokenizedPair(rows[0], rows[1]))
    plan = [
        list(range(step * options.batch, (step + 1) * options.batch))
        for step in range(options.steps + 1)
    ]
    session = Session(Path(options.model))
    if options.child == "two rows":
        session.takes_branches = False
    packed = options.child == "one row"
    learns_pairs = options.child != "sft"
    if packed and not session.takes_branches:
        raise SystemExit(f"{options.model}: this model cannot compute a pair as one row")
    settings = TrainSettings(
        memory=options.limit,
        batch_size=options.batch,
        objective="dpo" if learns_pairs else "sft",
    )
    session.prepare(settings, seed=1, steps=len(plan), start_adapter=None)
    longest = options.prefix + options.continuation
    memory = session.memory = plan_memory(
        directory_shape(Path(options.model)),
        settings,
        longest=pair_tokens(pairs[:1], packed=packed) if learns_pairs else longest,
        cores=physical_cores(),
        gpu=session.on_gpu,
    )
    references, references_cpu_s = np.zeros((count, 2)), 0.0
    if learns_pairs:
        timed = pairs[: options.batch]
        session.likelihoods(timed)
        began = time.process_time()
        session.likelihoods(timed)
        references_cpu_s = (time.process_time() - began) / len(timed)
        references = session.likelihoods(pairs)
    examples = [row for pair in pairs for rows in pair.continuations for row in rows]
    doubled = [[2 * row + side for row in step for side in (0, 1)] for step in plan]

    def take(begin: int, end: int) -> None:
        if not learns_pairs:
            session.run(examples, doubled[begin:end], lambda *_: None)
            return
        batches = PairBatches(pairs, plan[begin:end], references, PreferenceLoss(), 1.0)
        session.run([], [[]] * (end - begin), lambda *_: None, pairs=batches)

    take(0, 1)
    began, began_cpu = time.perf_counter(), time.process_time()
    take(1, len(plan))
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    compared = options.batch * options.steps
    unit = 1e6 if sys.platform == "linux" else 1e9
    return {
        "step_s": seconds / options.steps,
        "pair_cpu_s": cpu_s / compared,
        "references_cpu_s": references_cpu_s,
        "tokens": pair_tokens(pairs[:1], packed=packed),
        "rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
        "planned_gb": memory.peak_bytes / 1e9,
        "workers": memory.workers,
        "recomputed": memory.recomputed,
    }


def report(rows: dict[str, dict[str, Any]]) -> None:
    """Print the table."""
    tables.begin(
        "",
        [
            "",
            "tokens a pair",
            "s a step",
            "CPU s a pair",
            "of sft",
            "references, CPU s a pair",
            "GB",
            "planned",
            "workers, layers twice",
        ],
    )
    for way, row in rows.items():
        tables.row(
            [
                way,
                f"{row['tokens']:,}",
                f"{row['step_s']:.2f}",
                f"{row['pair_cpu_s']:.3f}",
                f"{row['pair_cpu_s'] / rows['sft']['pair_cpu_s']:.2f}",
                f"{row['references_cpu_s']:.3f}" if way != "sft" else "",
                f"{row['rss_gb']:.2f}",
                f"{row['planned_gb']:.2f}",
                f"{row['workers']}, {row['recomputed']}",
            ]
        )


if __name__ == "__main__":
    main()
