"""The same training in two processes and in one: their times, and whether the adapters are equal.

    python -m benchmarks.train_workers

It trains the bundled model on invented conversations of about 300 tokens. On Linux, the one process
may use one core only, so that every process has one thread. On a machine with two cores, two
processes have one each, too.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agentr_lite.actors.registry import resolve_model
from agentr_lite.core.messages import Message
from agentr_lite.recipe.groups import TrainSettings
from agentr_lite.train.batches import TrainExample
from agentr_lite.train.launch import train_together
from agentr_lite.train.lora import TrainResult, train_lora

_WORDS = ("craft", "get", "oak", "log", "plank", "stick", "from", "using", "1", "2", "4", "coal")


def examples(count: int, turns: int) -> list[TrainExample]:
    """Conversations of random words, of which every second message is learnt."""
    rng = random.Random(1)
    made = []
    for _ in range(count):
        texts = [" ".join(rng.choices(_WORDS, k=20)) for _ in range(2 * turns)]
        messages: list[Message] = [
            {"role": ("user", "assistant")[number % 2], "content": text}
            for number, text in enumerate(texts)
        ]
        made.append(TrainExample(messages, [number % 2 == 1 for number in range(len(texts))]))
    return made


def measure(
    name: str, train: Callable[..., TrainResult], settings: TrainSettings, count: int, folder: Path
) -> bytes:
    """Train, print the time, and give the adapter's weights."""
    begun: dict[str, Any] = {}

    def on_report(row: dict[str, Any]) -> None:
        if row["event"] == "start":
            begun.update(row)

    weights = resolve_model("starter").train_dir
    assert weights is not None
    started = time.perf_counter()
    result = train(
        weights, examples(count, 4), [], settings, seed=1, out_dir=folder, on_report=on_report
    )
    seconds = time.perf_counter() - started
    print(
        f"{name}, threads in each: {begun['memory']['workers']}; {result.steps} steps,"
        f" {result.tokens:,} tokens in {result.seconds:.1f} s; with start and end {seconds:.1f} s"
    )
    return (result.adapter_dir / "adapters.safetensors").read_bytes()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_workers")
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8, help="examples of a step")
    chosen = parser.parse_args(arguments)
    settings = TrainSettings(epochs=1, batch_size=chosen.batch, max_length=512, workers=2)
    with tempfile.TemporaryDirectory() as name:
        two = measure(
            "two processes", train_together, settings, chosen.examples, Path(name) / "two"
        )
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        one = measure("one process", train_lora, settings, chosen.examples, Path(name) / "one")
    print(f"adapters equal to the last bit: {one == two}")


if __name__ == "__main__":
    main()
