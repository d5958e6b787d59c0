"""Small and large pages of memory: training steps, and answers of conversations in lockstep.

    python -m benchmarks.pages --model smollm2-135m

Each row is a process of its own; small and large pages take turns, so that other work on the
machine disturbs both. The figures are tokens per processor second: of a training step (forward and
backward), and of the answers of sixteen conversations with the prefills.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import tables

KINDS = {"small": "glibc.malloc.hugetlb=0", "large": "glibc.malloc.hugetlb=1"}
WORK = {
    "training, float32": "float32",
    "training, bfloat16": "bfloat16",
    "playing": "",
}


def main() -> None:
    """Measure both kinds in turns and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", default="starter", help="a name, or a GGUF file")
    parser.add_argument("--length", type=int, default=500, help="tokens of the longest example")
    parser.add_argument("--turns", type=int, default=5, help="of each conversation")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(json.dumps(_trained(options) if options.child else _played(options)))
        return
    tables.warn_if_busy()
    tables.begin("", ["tokens / processor s", *(f"{kind} pages" for kind in KINDS), "ratio"])
    for name, child in WORK.items():
        best = dict.fromkeys(KINDS, 0.0)
        for _ in range(options.repeats):
            for kind in KINDS:
                best[kind] = max(best[kind], _measured(options, kind, child))
        tables.row([name, *(f"{best[kind]:.1f}" for kind in KINDS),
                    f"{best['large'] / best['small']:.2f}"])  # fmt: skip


def _measured(options: argparse.Namespace, kind: str, child: str) -> float:
    words = [sys.executable, "-m", "benchmarks.pages", "--child", child, "--model", options.model]
    words += ["--length", str(options.length), "--turns", str(options.turns)]
    environment = {**os.environ, "GLIBC_TUNABLES": KINDS[kind]}
    done = subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def _trained(options: argparse.Namespace) -> float:
    from benchmarks.memory import measure, weights_of

    with tempfile.TemporaryDirectory() as scratch:
        wanted = argparse.Namespace(
            child=f"0 {options.child}",
            model=str(weights_of(options.model)),
            gradients=Path(scratch) / "gradients.npz",
            batch=4,
            length=options.length,
            steps=1,
        )
        return float(measure(wanted)["tokens_cpu_s"])


def _played(options: argparse.Namespace) -> float:
    from agentr_lite.actors.llamacpp.actor import LlamaCppActor
    from agentr_lite.actors.registry import resolve_model
    from benchmarks.streams import Player, tasks_begun

    talks = tasks_begun(16)
    actor = LlamaCppActor(
        resolve_model(options.model).gguf,
        context_tokens=2048,
        live_tokens=len(talks) * 2048,
        tuned=False,
    )
    player = Player("", actor, talks)
    for turn in range(options.turns):
        player.play(turn, argparse.Namespace(samples=1, tokens=48))
    actor.close()
    return player.tokens / player.cpu_seconds


if __name__ == "__main__":
    main()
