"""Memory and speed of a training step and of a validation: whole batches against parts.

    python -m benchmarks.memory --model smollm2-135m
    python -m benchmarks.memory --random-0.5b --batch 2 --limits 6

Each row is a process of its own, so that its largest memory is its own; they run one after the
other on the same batch. "Whole batch" is how this was done before. A limit is `train.memory` in GB.
The values of random weights do not matter for speed or memory. Read the ratios: other work on the
machine slows all rows. Processor time is the less disturbed of the two. "Of BLAS" is the share of
the matrix products' own speed, measured in the same process, that a step reaches by processor time.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import tables

MATRIX = 1024
WHOLE = "whole batch"
LEARNT = 0.15
"""Share of the tokens with loss, in turns."""


def main() -> None:
    """Measure each way in a process and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", default="starter", help="a name, a GGUF file, or a directory")
    parser.add_argument("--random-0.5b", dest="random", action="store_true", help="random weights")
    parser.add_argument("--batch", type=int, default=4, help="examples per step")
    parser.add_argument("--length", type=int, default=1200, help="tokens of the longest example")
    parser.add_argument("--limits", type=float, nargs="*", default=[3.0, 0.0], help="train.memory")
    parser.add_argument("--steps", type=int, default=1, help="steps that are timed, after one")
    parser.add_argument("--products", nargs="*", default=["float32"], help="train.products")
    parser.add_argument("--no-old", action="store_true", help="leave the whole batch out")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--gradients", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = write_random(folder / "model") if options.random else weights_of(options.model)
        ways = [] if options.no_old else [WHOLE]
        ways += [f"{limit:g} {kind}" for limit in options.limits for kind in options.products]
        rows = []
        for number, way in enumerate(ways):
            target = folder / f"{number}.npz"
            words = [sys.executable, "-m", "benchmarks.memory", "--child", way]
            words += ["--model", str(model), "--gradients", str(target)]
            for name in ("batch", "length", "steps"):
                words += [f"--{name}", str(getattr(options, name))]
            done = subprocess.run(words, check=False, stdout=subprocess.PIPE, text=True)
            if done.returncode:
                print(f"{way}: ended with {done.returncode}", file=sys.stderr)
                continue
            rows.append({"way": way, **json.loads(done.stdout.splitlines()[-1]), "path": target})
        report(rows)


def weights_of(model: str) -> Path:
    """The directory with a model's weights for training; made from its GGUF file if needed."""
    from agentr_lite.actors.registry import resolve_model
    from agentr_lite.convert.cached import make_copy

    if Path(model).is_dir():
        return Path(model)
    files = resolve_model(model)
    return files.train_dir or make_copy(files.gguf)


def write_random(folder: Path) -> Path:
    """Write a model with random weights, of the shape of Qwen2.5-0.5B."""
    import shutil

    from agentr_lite.actors.mlx.blas import use_fast_blas
    from agentr_lite.actors.registry import resolve_model

    use_fast_blas()
    import mlx.core as mx
    from mlx_lm.models.qwen2 import Model, ModelArgs

    from benchmarks.synthetic import QWEN2_0_5B as SHAPE

    config = {
        "model_type": "qwen2",
        "hidden_size": SHAPE.width,
        "num_hidden_layers": SHAPE.layers,
        "intermediate_size": SHAPE.hidden,
        "num_attention_heads": SHAPE.heads,
        "num_key_value_heads": SHAPE.kv_heads,
        "vocab_size": SHAPE.vocabulary,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "max_position_embeddings": SHAPE.context,
        "tie_word_embeddings": True,
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    starter = resolve_model("starter").train_dir
    assert starter is not None
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(starter / name, folder / name)
    model = Model(ModelArgs.from_dict(config))
    model.set_dtype(mx.float16)
    model.save_weights(str(folder / "model.safetensors"))
    return folder


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One way, in this process."""
    from agentr_lite.actors.mlx.blas import use_fast_blas

    use_fast_blas()
    import mlx.core as mx
    import numpy as np
    from mlx.utils import tree_flatten

    from agentr_lite.actors.llamacpp.machine import physical_cores
    from agentr_lite.recipe.groups import TrainSettings
    from agentr_lite.train.batches import Tokenized
    from agentr_lite.train.cpu import blockwise_attention, fast_steps, freed_memory_kept
    from agentr_lite.train.memory import directory_shape, plan_memory
    from agentr_lite.train.mlx_session import Session
    from agentr_lite.train.parts import make_part, split
    from agentr_lite.train.workers import Workers
    from benchmarks import whole_batch

    session = Session(Path(options.model))
    shape = directory_shape(Path(options.model))
    if shape is None:
        raise SystemExit(f"{options.model}: config.json does not say the model's sizes")
    limit, _, products = options.child.rpartition(" ")
    whole = options.child == WHOLE
    settings = TrainSettings(
        memory=0.0 if whole else float(limit),
        batch_size=options.batch,
        products="bfloat16" if products == "bfloat16" else "float32",
    )
    session.prepare(settings, seed=1, steps=2, start_adapter=None)
    rng = np.random.default_rng(1)
    # An adapter that has been trained: its second factor is not 0.
    for module in session.model.modules():
        if "lora_b" in module:
            module.lora_b = mx.array(0.02 * rng.standard_normal(module.lora_b.shape), mx.float32)
    mx.eval(session.model.parameters())
    examples = []
    for row in range(options.batch):
        length = options.length * (20 - row) // 20
        learnt = np.arange(length) % 100 >= 100 * (1 - LEARNT)
        examples.append(Tokenized(rng.integers(0, 5000, length).tolist(), learnt.tolist()))
    tokens = sum(len(example.tokens) for example in examples)
    speed = _gemm_speed()
    plan = None
    if whole:
        mx.disable_compile()
        stack = blockwise_attention(), freed_memory_kept()
        with stack[0], stack[1]:
            figures = _timed(
                lambda: whole_batch.gradients(session.model, examples),
                lambda: whole_batch.loss(session.model, examples),
                options.steps,
            )
    else:
        plan = plan_memory(shape, settings, longest=options.length, cores=physical_cores())
        lengths = [len(example.tokens) for example in examples]
        rows = split(lengths, range(len(examples)), most_tokens=plan.part_tokens)
        parts = [make_part([examples[i] for i in part]) for part in rows]
        with fast_steps(), session.products():
            workers = Workers(session.model, count=plan.workers, recomputed=plan.recomputed)
            figures = _timed(
                lambda: workers.gradients(parts), lambda: workers.loss(parts), options.steps
            )
            workers.close()
    loss, gradient = figures.pop("result")
    arrays: dict[str, Any] = {name: np.array(value) for name, value in tree_flatten(gradient)}
    np.savez(options.gradients, **arrays)
    picks = sum(sum(example.mask) for example in examples)
    # Forward and backward; of the frozen matrices, only the gradient of their input.
    body = shape.parameters - shape.vocabulary * shape.width * (1 if shape.tied else 2)
    needed = 2 * 2 * (tokens * body + picks * shape.vocabulary * shape.width)
    unit = 1e6 if sys.platform == "linux" else 1e9
    return {
        "tokens_s": tokens / figures["seconds"],
        "tokens_cpu_s": tokens / figures["cpu_s"],
        "valid_tokens_cpu_s": tokens / figures["valid_cpu_s"],
        "blas": needed / figures["cpu_s"] / speed,
        "rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
        "mlx_gb": mx.get_peak_memory() / 1e9,
        "plan_gb": plan.peak_bytes / 1e9 if plan else None,
        "workers": plan.workers if plan else None,
        "recomputed": plan.recomputed if plan else None,
        "loss": loss,
    }


def _timed(step: Any, validate: Any, steps: int) -> dict[str, Any]:
    """Seconds and processor seconds of a step and of a validation, after one untimed step."""
    step()
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        result = step()
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    cpu = time.process_time()
    validate()
    valid = time.process_time() - cpu
    return {
        "seconds": seconds / steps,
        "cpu_s": cpu_s / steps,
        "valid_cpu_s": valid,
        "result": result,
    }


def _gemm_speed() -> float:
    """Operations per processor second of a matrix product."""
    import mlx.core as mx

    left = mx.random.normal((MATRIX, MATRIX))
    mx.eval(left, left @ left)
    best = 0.0
    for _ in range(3):
        cpu = time.process_time()
        mx.eval(left @ left)
        best = max(best, 2 * MATRIX**3 / (time.process_time() - cpu))
    return best


def report(rows: list[dict[str, Any]]) -> None:
    """Print the table, and how far the gradients differ from those of the first row."""
    import numpy as np

    if not rows:
        return
    first = dict(np.load(rows[0]["path"]))
    largest = max(float(np.abs(value).max()) for value in first.values())
    heads = ["", "RSS GB", "MLX GB", "planned", "workers, recomputed", "tokens/s"]
    heads += ["per cpu-s", "ratio", "of BLAS", "validation per cpu-s", "loss", "gradient gap"]
    tables.begin("", heads)
    for row in rows:
        ours = np.load(row["path"])
        gap = max(float(np.abs(ours[name] - value).max()) for name, value in first.items())
        plan = row["plan_gb"]
        tables.row(
            [
                row["way"] if plan is None else f"parts, limit {row['way']}",
                f"{row['rss_gb']:.2f}",
                f"{row['mlx_gb']:.2f}",
                "" if plan is None else f"{plan:.2f}",
                "" if plan is None else f"{row['workers']}, {row['recomputed']}",
                f"{row['tokens_s']:.0f}",
                f"{row['tokens_cpu_s']:.0f}",
                f"{row['tokens_cpu_s'] / rows[0]['tokens_cpu_s']:.2f}",
                f"{100 * row['blas']:.0f} %",
                f"{row['valid_tokens_cpu_s']:.0f}",
                f"{row['loss']:.6f}",
                f"{gap / largest:.1e}",
            ]
        )


if __name__ == "__main__":
    main()
