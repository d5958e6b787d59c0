"""The batched engine against llama-cpp-python's high-level class, side by side in one run.

    python benchmarks/engine.py [--model FILE] [--trees N] [--steps N] [--samples N] [--tokens N]
                                [--threads N]

The load is that of a tree search: every tree has a task of its own under one system prompt; each
step asks for some samples of every tree's next turn, then a scripted turn and an observation are
added. All engines see the same prompts. Rows of the table:

- engine: all trees and samples together, prefixes shared and kept;
- prefix match: ``Llama`` asked one sample after the other, reusing what its last prompt shares
  with the next, as it does by default;
- fresh: ``Llama`` with its cache emptied before each call;
- ceiling: rows a second when 16 branches of one prompt just decode, nothing sampled or prefilled.

Timings on a busy machine are worth their ratios only.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentr_lite.actors.base import GenerateRequest, Message, Sampling
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.library import has_unsafe_amx, load_library
from agentr_lite.actors.llamacpp.machine import physical_cores
from agentr_lite.errors import ModelError

_WORDS = ["oak", "planks", "logs", "stick", "stone", "craft", "using", "get", "iron", "ingot"]
_CONTEXT = 2048


@dataclass
class Measured:
    """One engine's result."""

    name: str
    seconds: float
    tokens: int
    prompt_tokens: int
    """Really decoded."""


def workload(trees: int, steps: int) -> list[list[list[Message]]]:
    """For every step, every tree's conversation."""
    rng = random.Random(1)

    def text(words: int) -> str:
        return " ".join(f"{rng.choice(_WORDS)} {rng.randrange(10)}" for _ in range(words))

    system = text(40)
    talks: list[list[Message]] = [
        [{"role": "system", "content": system}, {"role": "user", "content": text(40)}]
        for _ in range(trees)
    ]
    rounds = []
    for _ in range(steps):
        rounds.append([list(talk) for talk in talks])
        for talk in talks:
            talk.append({"role": "assistant", "content": text(8)})
            talk.append({"role": "user", "content": text(8)})
    return rounds


def run_engine(
    path: Path,
    rounds: list[list[list[Message]]],
    samples: int,
    tokens: int,
    n_threads: int,
) -> tuple[Measured, float, list[list[list[int]]]]:
    """Our engine; also the share of time outside llama.cpp, and the prompts as tokens."""
    actor = LlamaCppActor(path, context_tokens=_CONTEXT, n_threads=n_threads)
    native = 0.0
    decode = Context.decode

    def timed(self: Context, *args: Any, **options: Any) -> Any:
        nonlocal native
        started = time.perf_counter()
        try:
            return decode(self, *args, **options)
        finally:
            native += time.perf_counter() - started

    sampling = Sampling(max_tokens=tokens)
    prompts = []
    Context.decode = timed  # type: ignore[method-assign]
    try:
        started = time.perf_counter()
        for talks in rounds:
            actor.generate(
                [GenerateRequest(talk, tuple(range(1, samples + 1)), sampling) for talk in talks]
            )
        seconds = time.perf_counter() - started
    finally:
        Context.decode = decode  # type: ignore[method-assign]
    for talks in rounds:
        built = [actor._prompts.build(talk, tokens).tokens for talk in talks]
        prompts.append([prompt for prompt in built if prompt is not None])
    usage = actor.usage
    actor.close()
    measured = Measured("engine", seconds, usage.output_tokens, usage.decoded_prompt_tokens)
    return measured, 1.0 - native / seconds, prompts


def run_high_level(
    path: Path,
    prompts: list[list[list[int]]],
    samples: int,
    tokens: int,
    n_threads: int,
    *,
    fresh: bool,
) -> Measured:
    """llama-cpp-python's ``Llama``, one sample at a time."""
    from llama_cpp import Llama

    llama = Llama(
        str(path),
        n_ctx=_CONTEXT,
        n_threads=n_threads,
        n_threads_batch=n_threads,
        verbose=False,
        seed=1,
    )
    evaluated = 0
    evaluate: Callable[[Any], None] = llama.eval

    def counting(batch: Any) -> None:
        nonlocal evaluated
        evaluated += len(batch)
        evaluate(batch)

    llama.eval = counting
    drawn = 0
    started = time.perf_counter()
    for step in prompts:
        for prompt in step:
            for seed in range(1, samples + 1):
                if fresh:
                    llama.reset()
                    llama._ctx.kv_cache_clear()
                reply = llama.create_completion(
                    prompt,
                    max_tokens=tokens,
                    temperature=1.0,
                    top_k=0,
                    top_p=1.0,
                    min_p=0.0,
                    repeat_penalty=1.0,
                    seed=seed,
                )
                drawn += reply["usage"]["completion_tokens"]
    seconds = time.perf_counter() - started
    llama.close()
    # Every drawn token but the last of a sample is evaluated too.
    name = "fresh" if fresh else "prefix match"
    return Measured(name, seconds, drawn, max(0, evaluated - drawn))


def ceiling(
    path: Path, prompt: list[int], n_threads: int, width: int = 16, steps: int = 20
) -> float:
    """Tokens a second of ``width`` branches that only decode."""
    from agentr_lite.actors.llamacpp.model import Model

    model = Model(path)
    context = Context(model, n_cells=2048, n_batch=512, n_threads=n_threads)
    prompt = prompt[:400]
    context.decode(prompt, range(len(prompt)), [0] * len(prompt), outputs=False)
    for branch in range(1, width + 1):
        context.copy_sequence(0, branch, len(prompt))
    sequences = range(1, width + 1)
    started = 0.0
    for step in range(steps + 1):
        if step == 1:  # the first one warms up
            started = time.perf_counter()
        context.decode([1] * width, [len(prompt) + step] * width, sequences, outputs=True)
    seconds = time.perf_counter() - started
    context.close()
    model.close()
    return width * steps / seconds


def choose_model(given: str | None, directory: Path) -> Path:
    """The given file, the starter, or a random model of the starter's size."""
    from agentr_lite.actors.registry import resolve_model

    try:
        return resolve_model(given or "starter").gguf
    except ModelError:
        if given is not None:
            raise
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from tiny_gguf import (  # type: ignore[import-not-found]
        TinyShape,
        write_tiny_model,
    )

    shape = TinyShape(layers=4, width=256, kv_heads=4, hidden=704, context=_CONTEXT, merges=1500)
    return write_tiny_model(directory / "random.gguf", shape, file_type="q8_0")


def avoid_amx() -> None:
    """Keep the high-level class, too, from kernels that crash (see ``has_unsafe_amx``)."""
    library: Any = load_library()
    default = library.llama_model_default_params
    if has_unsafe_amx():

        def without_extra_buffers() -> Any:
            params = default()
            params.use_extra_bufts = False
            return params

        library.llama_model_default_params = without_extra_buffers


def main() -> None:
    """Run all engines on the same load and print the table."""
    parser = argparse.ArgumentParser(description="Batched engine against the high-level class.")
    parser.add_argument("--model", help="GGUF file; default: the starter, else a random one")
    parser.add_argument("--trees", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=24, help="most tokens a sample")
    parser.add_argument("--threads", type=int, default=physical_cores())
    options = parser.parse_args()
    avoid_amx()
    size, threads = (options.samples, options.tokens), options.threads
    with tempfile.TemporaryDirectory() as directory:
        path = choose_model(options.model, Path(directory))
        rounds = workload(options.trees, options.steps)
        ours, _, prompts = run_engine(path, rounds, *size, threads)
        _, overhead, _ = run_engine(path, rounds, *size, 1)
        results = [ours]
        results += [
            run_high_level(path, prompts, *size, threads, fresh=fresh) for fresh in (False, True)
        ]
        best = ceiling(path, prompts[0][0], threads)
    calls = options.trees * options.steps * options.samples
    asked = sum(len(prompt) for step in prompts for prompt in step) * options.samples
    print(f"model {path.name}: {calls} samples, {asked:,} prompt tokens if nothing is shared")
    print(f"{'':14}{'seconds':>9}{'tokens/s':>10}{'prompt decoded':>16}{'times engine':>14}")
    for result in results:
        print(
            f"{result.name:14}{result.seconds:9.2f}{result.tokens / result.seconds:10.0f}"
            f"{result.prompt_tokens:16,}{result.seconds / ours.seconds:14.1f}"
        )
    print(f"{'ceiling':14}{'':9}{best:10.0f}")
    print(f"outside llama.cpp's decode: {overhead:.1%} of the engine's time on one thread")


if __name__ == "__main__":
    main()
