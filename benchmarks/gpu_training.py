"""LoRA training with MLX on a GPU, compared with the processor and with ``mlx_lm.lora``.

    python -m benchmarks.gpu_training --model FILE.gguf --work DIR     # a part of benchmarks.gpu

Three questions: does the loss fall as on the processor (both in full precision, so that only the
order of sums differs), how many tokens a second are trained in the precision of a real run, and how
many does ``mlx_lm.lora`` train on texts of the same length? Each measurement is a process.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from agentr_lite.actors.registry import resolve_model
from benchmarks import tables

LIMIT = 0.02
"""Largest difference of a step's loss in full precision, in nats a token."""
_RANK, _RATE = 16, 1e-3
_SECONDS = 300.0


def main() -> None:
    """Run the measurements and print them."""
    options = _parser().parse_args()
    if options.child:
        print(json.dumps(measure(options)))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    model = options.work / "model"
    if not (model / "config.json").is_file():
        from agentr_lite.convert.gguf_to_hf import convert_to_hf

        convert_to_hf(options.model, model)
    options.model = model
    problems = [
        problem
        for problem in (_losses(options), _speed(options), _bare(options))
        if problem is not None
    ]
    for problem in problems:
        tables.note(f"FAILED: {problem}")
    sys.exit(1 if problems else 0)


def _losses(options: argparse.Namespace) -> str | None:
    """Compare the losses of the first steps; returns what is wrong."""
    tables.begin("LoRA's loss, full precision", ["step", "processor", "GPU", "difference"])
    rows = {}
    for device in ("cpu", "gpu"):
        done = _child(options, device, exact=True, steps=options.compared)
        if isinstance(done, str):
            return done
        rows[device] = done
    gaps = []
    losses = zip(rows["cpu"]["losses"], rows["gpu"]["losses"], strict=True)
    for step, (left, right) in enumerate(losses, 1):
        gaps.append(abs(left - right))
        tables.row([f"{step}", f"{left:.5f}", f"{right:.5f}", f"{gaps[-1]:.5f}"])
    tables.note(
        f"On {rows['cpu']['device']} and {rows['gpu']['device']}:"
        f" {rows['cpu']['tokens_s']:,.0f} and {rows['gpu']['tokens_s']:,.0f} tokens/s."
    )
    # A comparison with NaN is false.
    return None if max(gaps) < LIMIT else f"the losses differ by up to {max(gaps):.4f}"


def _speed(options: argparse.Namespace) -> str | None:
    """Train as a run does; returns what is wrong."""
    done = _child(options, "gpu", exact=False, steps=options.steps)
    if isinstance(done, str):
        return done
    losses = done["losses"]
    tables.note(
        f"As in a run ({done['dtype']}): {done['tokens_s']:,.0f} tokens/s over"
        f" {options.steps - 1} steps of {options.batch} x {options.length} tokens; the loss went"
        f" from {losses[0]:.3f} to {losses[-1]:.3f}; {done['peak_gb']:.2f} GB at most."
    )
    return None if losses[-1] < losses[0] else "the loss did not fall"


def _bare(options: argparse.Namespace) -> str | None:
    """Train with mlx-lm's own command; returns what is wrong."""
    folder = options.work / "data"
    folder.mkdir(exist_ok=True)
    texts = [json.dumps({"text": text}) for text in documents(options.steps * options.batch)]
    for name in ("train", "valid"):
        rows = texts if name == "train" else texts[: options.batch]
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n", "utf-8")
    settings = folder / "lora.yaml"
    settings.write_text(f"lora_parameters: {{rank: {_RANK}, dropout: 0.0, scale: 2.0}}\n", "utf-8")
    command = [sys.executable, "-m", "mlx_lm", "lora", "--train", "--config", str(settings)]
    command += ["--model", str(options.model), "--data", str(folder), "--num-layers", "-1"]
    command += ["--iters", str(options.steps), "--batch-size", str(options.batch)]
    command += ["--max-seq-length", str(options.length), "--learning-rate", f"{_RATE}"]
    command += ["--steps-per-report", str(max(1, options.steps // 4)), "--val-batches", "1"]
    command += ["--adapter-path", str(options.work / "bare")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    speeds = reported_speeds(done.stdout)
    if done.returncode != 0 or not speeds:
        tail = (done.stderr or done.stdout).strip().splitlines()[-3:]
        return f"mlx_lm.lora ended with {done.returncode}: {' / '.join(tail)}"
    tables.note(
        f"mlx_lm.lora: {speeds[-1]:,.0f} tokens/s (its last report; all tokens of a text count,"
        " padding does not)."
    )
    return None


def reported_speeds(output: str) -> list[float]:
    """Tokens per second in mlx-lm's table of steps: step, loss with its trend, tok/s, tokens."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    found = re.findall(r"^ +\d+ +\d+\.\d+ \S? +([\d,]+) +[\d.]+k", plain, re.MULTILINE)
    return [float(speed.replace(",", "")) for speed in found]


def _child(
    options: argparse.Namespace, device: str, *, exact: bool, steps: int
) -> dict[str, Any] | str:
    """One measurement in its own process; or what went wrong."""
    words = [sys.executable, "-m", "benchmarks.gpu_training", "--child", device]
    words += ["--model", str(options.model), "--work", str(options.work)]
    # Short texts are enough to compare losses; a processor takes a minute for long ones.
    batch = min(2, options.batch) if exact else options.batch
    length = min(128, options.length) if exact else options.length
    words += ["--steps", str(steps), "--batch", str(batch), "--length", str(length)]
    words += ["--exact"] * exact
    # By default, MLX rounds the factors of float32 products on a GPU to TF32.
    environment = {**os.environ, **({"MLX_ENABLE_TF32": "0"} if exact else {})}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=_SECONDS)
    if done.returncode != 0:
        tail = done.stderr.strip().splitlines()[-3:]
        return f"training on {device} ended with {done.returncode}: {' / '.join(tail)}"
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Losses and speed of some steps on one device."""
    from agentr_lite.actors.mlx.blas import use_fast_blas

    use_fast_blas()
    import mlx.core as mx

    if options.child == "cpu":
        mx.set_default_device(mx.Device(mx.cpu))
    from agentr_lite.recipe.groups import TrainSettings
    from agentr_lite.train.batches import Tokenized
    from agentr_lite.train.mlx_session import Session

    session = Session(options.model)
    if options.exact:
        session.model.set_dtype(mx.float32)
    examples = []
    for text in documents(options.steps * options.batch):
        tokens = session.tokenizer.encode(text)[: options.length]
        examples.append(Tokenized(tokens, [False] + [True] * (len(tokens) - 1)))
    plan = [
        list(range(step * options.batch, (step + 1) * options.batch))
        for step in range(options.steps)
    ]
    settings = TrainSettings(rank=_RANK, learning_rate=_RATE)
    session.prepare(settings, seed=1, steps=options.steps, start_adapter=None)
    losses: list[float] = []
    # The first step compiles the kernels and is not timed.
    session.run(examples, plan[:1], lambda loss, _: losses.append(loss))
    started = time.perf_counter()
    session.run(examples, plan[1:], lambda loss, _: losses.append(loss))
    seconds = time.perf_counter() - started
    tokens = sum(len(example.tokens) for example in examples[options.batch :])
    return {
        "losses": losses,
        "tokens_s": tokens / seconds,
        "device": str(mx.default_device()),
        "dtype": str(session.model.model.embed_tokens.weight.dtype),
        "peak_gb": mx.get_peak_memory() / 1e9,
    }


def documents(count: int) -> list[str]:
    """Solved TextCraft tasks as texts, over and over."""
    from agentr_lite.envs.registry import make_env

    env = make_env("textcraft", {})
    try:
        tasks = env.tasks("train")
        texts = []
        for task in tasks[:count]:
            observation, _ = env.reset(task, seed=1)
            actions = env.solve(task) or []
            texts.append("\n".join([observation, *actions]))
    finally:
        env.close()
    return [texts[i % len(texts)] for i in range(count)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_training", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", type=Path, default=resolve_model("starter").gguf)
    parser.add_argument("--work", type=Path, required=True, help="folder for weights and texts")
    parser.add_argument("--steps", type=int, default=20, help="steps in a run's precision")
    parser.add_argument("--compared", type=int, default=4, help="steps in full precision")
    parser.add_argument("--batch", type=int, default=4, help="texts per step")
    parser.add_argument("--length", type=int, default=256, help="longest text, in tokens")
    parser.add_argument("--child", choices=["cpu", "gpu"], help=argparse.SUPPRESS)
    parser.add_argument("--exact", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
