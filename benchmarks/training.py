"""LoRA training with MLX, with and without the fast BLAS.

    python -m benchmarks.training                       # the bundled starter
    python -m benchmarks.training --width 512 --layers 8

This takes training steps as `agentr-lite train` does, on random tokens, on which speed does not
depend. Without the fast BLAS, training has no kernels of its own either. MLX's BLAS is fixed when a
process starts, so each measurement has its own process, and both kinds take turns. Read the ratio:
a busy machine slows both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from agentr_lite.actors.registry import resolve_model

MATRIX = 768
"""Rows and columns of the matrix product that is timed separately."""


def main() -> None:
    """Measure both and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", type=Path, help="directory in MLX's or Hugging Face's format")
    parser.add_argument("--width", type=int, help="a random model of this width instead")
    parser.add_argument("--layers", type=int, default=4, help="layers of the random model")
    parser.add_argument("--batch", type=int, default=8, help="examples per step")
    parser.add_argument("--length", type=int, default=256, help="tokens per example")
    parser.add_argument("--steps", type=int, default=4, help="timed steps, after one untimed step")
    parser.add_argument("--repeats", type=int, default=2, help="number of processes of each kind")
    parser.add_argument("--child", choices=["fast", "plain"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options, fast=options.child == "fast")))
        return
    with tempfile.TemporaryDirectory() as scratch:
        if options.width:
            options.model = write_random(Path(scratch), options.width, options.layers)
        options.model = options.model or resolve_model("starter").train_dir
        rows: dict[str, list[dict[str, Any]]] = {"fast": [], "plain": []}
        for _ in range(options.repeats):
            for kind, results in rows.items():
                results.append(run_child(options, kind))
    report(rows)


def run_child(options: argparse.Namespace, kind: str) -> dict[str, Any]:
    """Make one measurement in its own process."""
    words = [sys.executable, "-m", "benchmarks.training", "--child", kind]
    for name in ("model", "batch", "length", "steps"):
        words += [f"--{name}", str(getattr(options, name))]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(options: argparse.Namespace, *, fast: bool) -> dict[str, Any]:
    """Tokens per second of training, and GFLOPS of a matrix product."""
    reason = "MLX as its wheel links it"
    if fast:
        from agentr_lite.actors.mlx.blas import use_fast_blas

        reason = use_fast_blas().reason
    # Import this only now: it imports MLX, and the fast BLAS must be loaded before.
    import mlx.core as mx
    import numpy as np

    from agentr_lite.actors.llamacpp.machine import physical_cores
    from agentr_lite.recipe.groups import TrainSettings
    from agentr_lite.train.batches import Tokenized
    from agentr_lite.train.memory import directory_shape, plan_memory
    from agentr_lite.train.mlx_session import Session

    left = mx.random.normal((MATRIX, MATRIX))
    mx.eval(left, left @ left)
    started = time.perf_counter()
    mx.eval(left @ left)
    gflops = 2 * MATRIX**3 / (time.perf_counter() - started) / 1e9

    rng = np.random.default_rng(1)
    steps, batch, length = options.steps + 1, options.batch, options.length
    examples = [
        Tokenized(rng.integers(0, 250, length).tolist(), [True] * length)
        for _ in range(steps * batch)
    ]
    plan = [list(range(step * batch, (step + 1) * batch)) for step in range(steps)]
    session = Session(options.model)
    settings = TrainSettings(batch_size=batch)
    session.prepare(settings, seed=1, steps=steps, start_adapter=None)
    session.memory = plan_memory(
        directory_shape(options.model),
        settings,
        longest=length,
        cores=physical_cores(),
        gpu=session.on_gpu,
    )
    session.run(examples, plan[:1], lambda *_: None)
    started = time.perf_counter()
    session.run(examples, plan[1:], lambda *_: None)
    seconds = time.perf_counter() - started
    return {
        "tokens_s": options.steps * batch * length / seconds,
        "gflops": gflops,
        "reason": reason,
        "device": str(mx.default_device()),
    }


def report(rows: dict[str, list[dict[str, Any]]]) -> None:
    """Print the medians and the ratio."""
    print(f"{'':8} {'tokens/s':>10} {'GFLOPS':>8}   BLAS")
    medians = {}
    for kind, results in rows.items():
        medians[kind] = statistics.median(row["tokens_s"] for row in results)
        gflops = statistics.median(row["gflops"] for row in results)
        print(f"{kind:8} {medians[kind]:10,.0f} {gflops:8.1f}   {results[0]['reason']}")
    print(f"fast / plain: {medians['fast'] / medians['plain']:.1f} on {rows['fast'][0]['device']}")


def write_random(folder: Path, width: int, layers: int) -> Path:
    """Write a llama model with random weights and the starter's tokenizer."""
    import shutil

    from agentr_lite.actors.mlx.blas import use_fast_blas

    use_fast_blas()
    from mlx_lm.models.llama import Model, ModelArgs

    starter = resolve_model("starter").train_dir
    assert starter is not None
    config = json.loads((starter / "config.json").read_text("utf-8"))
    heads = max(1, width // 64)
    config |= {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": width // heads,
        "intermediate_size": 4 * width,
    }
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(starter / name, folder / name)
    Model(ModelArgs.from_dict(config)).save_weights(str(folder / "model.safetensors"))
    return folder


if __name__ == "__main__":
    main()
