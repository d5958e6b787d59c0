"""Engines that carry out a recorded tree search; see ``benchmarks.engine``.

Every engine computes logits and draws from them as usual, and then takes the recorded token, so all
do the same work in the same order. A server cannot be told what to draw: its answers have the
recorded lengths, and the prompts that follow hold its own tokens.
"""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentr_lite.actors.base import Sampling
from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.lanes import Lanes
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.llamacpp.plan import plan_lanes
from agentr_lite.actors.llamacpp.sampler import Row, Seeded
from agentr_lite.actors.llamacpp.scheduler import Job, Sample
from benchmarks.workload import Call, Workload


@dataclass(frozen=True)
class Measured:
    """What an engine took."""

    name: str
    seconds: float
    answer_tokens: int
    decoded_tokens: int | None = None
    """Tokens really decoded, of prompts and answers; None: it does not say."""
    native_seconds: float = 0.0
    """Of ``seconds``, inside llama.cpp."""


class Recorded:
    """Draws with llama.cpp's sampler, then takes the recorded token."""

    def __init__(self, tokens: Sequence[int], seed: int, timer: _Timer) -> None:
        self._seeded = Seeded(Sampling(temperature=1.0), seed)
        self._tokens = iter(tokens)
        self._timer = timer

    def choose(self, row: Row) -> int:
        """See ``agentr_lite.actors.llamacpp.sampler.Chooser``."""
        started = time.perf_counter()
        self._seeded.choose(row)
        self._timer.seconds += time.perf_counter() - started
        return next(self._tokens)

    def close(self) -> None:
        """Free the native sampler."""
        self._seeded.close()


class _Timer:
    seconds = 0.0


@contextmanager
def _timed_decode() -> Iterator[_Timer]:
    """Within: the time in ``Context.decode`` is added up; right on one thread only."""
    timer = _Timer()
    decode = Context.decode

    def timed(self: Context, *args: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return decode(self, *args, **options)
        finally:
            timer.seconds += time.perf_counter() - started

    Context.decode = timed  # type: ignore[method-assign]
    try:
        yield timer
    finally:
        Context.decode = decode  # type: ignore[method-assign]


def ours(
    path: Path, load: Workload, *, context: int, n_threads: int, n_cells: int | None = None
) -> Measured:
    """This project's engine, as the actor sets it up.

    Args:
        path: GGUF file.
        load: what to carry out.
        context: longest conversation, in tokens.
        n_threads: for all lanes together.
        n_cells: the caches' size in tokens; None: the engine's choice.
    """
    model = Model(path)
    plan = plan_lanes(model, context_tokens=context, n_cells=n_cells, gpu=False)
    lanes = Lanes(model, plan, n_threads=n_threads)
    with _timed_decode() as timer:
        started = time.perf_counter()
        for number, tick in enumerate(load.ticks):
            lanes.run([_job(call, number, timer) for call in tick])
        seconds = time.perf_counter() - started
    counters = lanes.counters()
    lanes.close()
    model.close()
    decoded = counters.prefilled_tokens + counters.replayed_tokens + counters.decoded_tokens
    return Measured("ours", seconds, load.answer_tokens, decoded, timer.seconds)


def _job(call: Call, tick: int, timer: _Timer) -> Job:
    samples = [
        Sample(Recorded(tokens, 1 + tick * 64 + index, timer), len(tokens))
        for index, tokens in enumerate(call.samples)
    ]
    return Job(call.prompt, samples)


def high_level(
    path: Path, load: Workload, *, context: int, n_threads: int, fresh: bool, name: str
) -> Measured:
    """llama-cpp-python's ``Llama``, one answer at a time.

    Args:
        path: GGUF file.
        load: what to carry out.
        context: longest conversation, in tokens.
        n_threads: for decoding and prefill.
        fresh: forget the last prompt before each; else its own prefix match works.
        name: for the table.
    """
    from llama_cpp import Llama

    llama: Any = Llama(
        str(path), n_ctx=context, n_threads=n_threads, n_threads_batch=n_threads, verbose=False
    )
    evaluated = 0
    evaluate: Callable[[Any], None] = llama.eval
    sample: Callable[..., int] = llama.sample
    answer: Iterator[int] = iter(())

    def counting(tokens: Any) -> None:
        nonlocal evaluated
        evaluated += len(tokens)
        evaluate(tokens)

    def recorded(*args: Any, **options: Any) -> int:
        sample(*args, **options)
        return next(answer)

    llama.eval, llama.sample = counting, recorded
    settings = {"temp": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0}
    started = time.perf_counter()
    for call in load.calls:
        for tokens in call.samples:
            if fresh:
                llama.reset()
                llama._ctx.kv_cache_clear()
            answer = iter(tokens)
            stream = llama.generate(call.prompt, **settings)
            for _ in tokens:
                next(stream)
            stream.close()
    seconds = time.perf_counter() - started
    llama.close()
    return Measured(name, seconds, load.answer_tokens, evaluated)


def server(
    binary: Path, path: Path, load: Workload, *, context: int, n_threads: int, clients: int
) -> Measured:
    """llama.cpp's own server, with its unified cache, prompt cache and concurrent clients.

    Args:
        binary: ``llama-server``.
        path: GGUF file.
        load: what to carry out.
        context: longest conversation, in tokens.
        n_threads: for decoding and prefill.
        clients: requests at a time, and slots of the server.
    """
    port = 18_439
    command = [str(binary), "-m", str(path), "--port", str(port), "--host", "127.0.0.1"]
    command += ["--parallel", str(clients), "-c", str(context * clients), "--kv-unified"]
    command += ["-t", str(n_threads), "--threads-http", str(clients), "--no-webui"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_up(process, port)
        answers: dict[tuple[int, int], list[int]] = {}
        prompts: list[list[int]] = []
        processed = 0
        started = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            for tick in load.ticks:
                asked = []
                for call in tick:
                    number = len(prompts)
                    prompts.append(_own_prompt(call, load, prompts, answers))
                    for index, tokens in enumerate(call.samples):
                        body = _request(prompts[number], len(tokens), seed=number * 64 + index)
                        asked.append((number, index, pool.submit(_post, port, body)))
                for number, index, future in asked:
                    reply = future.result()
                    answers[number, index] = reply["tokens"]
                    processed += reply["timings"]["prompt_n"] + reply["timings"]["predicted_n"]
        seconds = time.perf_counter() - started
    finally:
        process.terminate()
        process.wait()
    return Measured(f"llama-server, {clients} clients", seconds, load.answer_tokens, processed)


def _own_prompt(
    call: Call,
    load: Workload,
    prompts: Sequence[list[int]],
    answers: dict[tuple[int, int], list[int]],
) -> list[int]:
    if call.parent is None:
        return call.prompt
    parent, sample = call.parent
    recorded = load.calls[parent]
    known = len(recorded.prompt) + len(recorded.samples[sample])
    return [*prompts[parent], *answers[parent, sample], *call.prompt[known:]]


def _request(prompt: list[int], length: int, seed: int) -> bytes:
    body = {
        "prompt": prompt,
        "n_predict": length,
        "ignore_eos": True,
        "cache_prompt": True,
        "return_tokens": True,
        "temperature": 1.0,
        "samplers": ["temperature"],
        "seed": seed,
    }
    return json.dumps(body).encode()


def _post(port: int, body: bytes) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/completion", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=600) as reply:
        return json.load(reply)


def _wait_until_up(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"llama-server ended with {process.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("llama-server does not answer")


def ceiling(
    binary: Path, path: Path, *, prompt: int, answer: int, width: int, n_threads: int
) -> float:
    """Tokens a second of ``llama-batched-bench``: one shared prompt, ``width`` answers.

    Args:
        binary: ``llama-batched-bench``.
        path: GGUF file.
        prompt: shared prompt, in tokens.
        answer: tokens of each answer.
        width: answers at a time.
        n_threads: for decoding.
    """
    command = [str(binary), "-m", str(path), "-npp", str(prompt), "-ntg", str(answer)]
    command += ["-npl", str(width), "-pps", "-c", str(prompt + width * answer + 256)]
    command += ["-t", str(n_threads), "-kvu", "--output-format", "jsonl"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    return float(rows[-1]["speed_tg"])
