"""Replays a recorded tree search on this project's engine and on llama-cpp-python's class.

A part of ``python -m benchmarks.engine`` and of others. Both sides compute logits and draw from
them as usual, and then take the recorded token. So they do the same work in the same order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from agentr_lite.actors.base import Sampling
from agentr_lite.actors.llamacpp.attention import attention_kernel
from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.isolated import (
    IsolatedLane,
    IsolatedStreamLane,
    plan_isolated,
)
from agentr_lite.actors.llamacpp.lanes import Lanes
from agentr_lite.actors.llamacpp.library import uses_gpu
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.llamacpp.plan import LanePlan, Sized, plan_lanes
from agentr_lite.actors.llamacpp.sampler import Row, make_chooser
from agentr_lite.actors.llamacpp.scheduler import Counters, Job, Sample
from benchmarks.workload import Call, Workload


@dataclass(frozen=True)
class Measured:
    """What a replay cost on one engine."""

    name: str
    seconds: float
    cpu_seconds: float | None
    """Processor time of all threads of the engine's process, which varies less than wall time on a
    busy machine. None: the operating system does not report it."""
    answer_tokens: int
    decoded_tokens: int | None = None
    """Decoded tokens of prompts and answers; None: the engine does not report it."""
    run: float = 1.0
    """The share of the answer tokens that was run; the seconds of the rest are estimated."""
    native_seconds: float = 0.0
    """Seconds inside llama.cpp, all lanes together."""
    drawing_seconds: float = 0.0
    """Seconds in which tokens are drawn, all lanes together."""
    side_by_side: bool = False
    """Whether several lanes ran at the same time."""
    counters: Counters = field(default_factory=Counters)

    @property
    def mean_width(self) -> float:
        """Mean number of branches in a decode batch of our engine."""
        batches = sum(self.counters.widths.values())
        rows = sum(width * count for width, count in self.counters.widths.items())
        return rows / max(1, batches)


@dataclass(frozen=True)
class Settings:
    """Settings of this project's engine that differ from the actor's."""

    n_cells: int | None = None
    """The size of the caches in tokens, all lanes together."""
    lanes: int | None = None
    """Number of caches that share these tokens."""
    deterministic: bool = False
    windowed: bool | None = None
    """Whether layers with a sliding window keep the window's cells only; None: as planned."""


class Recorded:
    """Draws as a search does, then takes the recorded token."""

    def __init__(self, tokens: Sequence[int], seed: int, timer: Timer) -> None:
        self._chooser = make_chooser(Sampling(temperature=1.0), seed)
        self._tokens = iter(tokens)
        self._timer = timer

    def choose(self, row: Row) -> int:
        """See ``agentr_lite.actors.llamacpp.sampler.Chooser``."""
        started = time.perf_counter()
        self._chooser.choose(row)
        self._timer.drawing += time.perf_counter() - started
        return next(self._tokens)

    def close(self) -> None:
        """Free what it draws with."""
        self._chooser.close()


class Timer:
    """Where the time goes."""

    seconds = 0.0
    """Inside llama.cpp."""
    drawing = 0.0
    """Drawing tokens from logits, on the processor."""


@contextmanager
def timed_context() -> Iterator[Timer]:
    """Add up the time in ``Context``'s slow methods in the block; exact only for one thread."""
    timer = Timer()
    slow = ("decode", "save_sequence", "load_sequence", "save_state", "rewind")
    methods = {name: getattr(Context, name) for name in slow}

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return method(*args, **options)
            finally:
                timer.seconds += time.perf_counter() - started

        return call

    for name, method in methods.items():
        setattr(Context, name, timed(method))
    try:
        yield timer
    finally:
        for name, method in methods.items():
            setattr(Context, name, method)


def make_plan(model: Sized, *, context: int, n_threads: int, settings: Settings) -> LanePlan:
    """The engine's own plan with the changes in the settings."""
    shared = settings.deterministic or settings.lanes is not None
    plan = plan_lanes(
        model,
        context_tokens=context,
        n_cells=settings.n_cells,
        gpu=uses_gpu(),
        n_threads=n_threads,
        streams=False if shared else None,
        windowed=False if shared else settings.windowed,
        kernel=not uses_gpu() and attention_kernel() is not None,
    )
    if settings.lanes is not None:
        total = plan.count
        plan = replace(
            plan,
            count=settings.lanes,
            n_cells=max(context, plan.n_cells * total // settings.lanes),
            spill_bytes=plan.spill_bytes * total // settings.lanes,
        )
    if settings.deterministic:
        plan = plan_isolated(plan, context_tokens=context, n_threads=n_threads)
    return plan


def ours(
    path: Path,
    load: Workload,
    *,
    context: int,
    n_threads: int,
    settings: Settings = Settings(),
    name: str = "ours",
) -> Measured:
    """Replay a load on this project's engine, as the actor sets it up.

    Args:
        path: GGUF file.
        load: the load.
        context: maximum tokens of a conversation.
        n_threads: threads of all lanes together.
        settings: changes to the actor's settings.
        name: name in the table.
    """
    model = Model(path)
    plan = make_plan(model, context=context, n_threads=n_threads, settings=settings)
    isolated = IsolatedStreamLane if plan.streams else IsolatedLane
    kind = isolated if settings.deterministic else None
    lanes = Lanes(model, plan, n_threads=n_threads, kind=kind)
    with timed_context() as timer:
        started, cpu_started = time.perf_counter(), time.process_time()
        for number, tick in enumerate(load.ticks):
            lanes.run([_job(call, number, timer) for call in tick])
        seconds = time.perf_counter() - started
        cpu_seconds = time.process_time() - cpu_started
    counters = lanes.counters()
    lanes.close()
    model.close()
    decoded = counters.prefilled_tokens + counters.replayed_tokens + counters.decoded_tokens
    return Measured(
        name,
        seconds,
        cpu_seconds,
        load.answer_tokens,
        decoded,
        native_seconds=timer.seconds,
        drawing_seconds=timer.drawing,
        side_by_side=plan.parallel and n_threads > 1 and plan.count > 1,
        counters=counters,
    )


def _job(call: Call, tick: int, timer: Timer) -> Job:
    samples = [
        Sample(Recorded(tokens, 1 + tick * 64 + index, timer), len(tokens))
        for index, tokens in enumerate(call.samples)
    ]
    return Job(call.prompt, samples)


@dataclass
class _Costs:
    """The cost of the class's prompts and tokens so far."""

    prefilled: list[int] = field(default_factory=list)
    """Prompt tokens that were evaluated before the first token of each answer."""
    first_seconds: list[float] = field(default_factory=list)
    """Seconds until the first token of each answer."""
    decoded: int = 0
    decode_seconds: float = 0.0

    def estimate(self, prefilled: Sequence[int], decoded: int) -> float:
        """Estimated seconds for further answers.

        The estimate is linear in the missing tokens of the prompt. The real cost of prefill grows
        faster, so the estimate is in favour of the class.
        """
        if not prefilled:
            return 0.0  # no answer is left
        sizes, seconds = np.array(self.prefilled), np.array(self.first_seconds)
        if len(set(self.prefilled)) > 1:
            slope, constant = np.polyfit(sizes, seconds, 1)
        else:
            slope, constant = 0.0, float(seconds.mean())
        firsts = max(0.0, slope * sum(prefilled) + constant * len(prefilled))
        return float(firsts) + decoded * self.decode_seconds / max(1, self.decoded)


def high_level(
    path: Path,
    load: Workload,
    *,
    context: int,
    n_threads: int,
    fresh: bool,
    name: str,
    limit_seconds: float,
) -> Measured:
    """Replay a load on llama-cpp-python's ``Llama``, one answer at a time.

    Args:
        path: GGUF file.
        load: the load.
        context: maximum tokens of a conversation.
        n_threads: threads for decoding and prefill.
        fresh: forget the last prompt before each answer; otherwise, use the class's prefix match.
        name: name in the table.
        limit_seconds: the cost of answers that would start later (except the first) is estimated
            from earlier ones; the tokens that the prefix match finds for them are known.
    """
    from llama_cpp import Llama

    llama: Any = Llama(
        str(path), n_ctx=context, n_threads=n_threads, n_threads_batch=n_threads, verbose=False
    )
    sample: Callable[..., int] = llama.sample
    answer: Iterator[int] = iter(())

    def recorded(*args: Any, **options: Any) -> int:
        sample(*args, **options)
        return next(answer)

    llama.sample = recorded
    settings = {"temp": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0}
    costs = _Costs()
    recurrent = bool(llama._is_recurrent or llama._is_hybrid)
    wanted = _prefills(load, fresh=fresh, recurrent=recurrent)
    answers = [(call, tokens) for call in load.calls for tokens in call.samples]
    done = 0
    started, cpu_started = time.perf_counter(), time.process_time()
    for (call, tokens), missing in zip(answers, wanted, strict=True):
        begun = time.perf_counter()
        if done and begun - started > limit_seconds:
            break
        if fresh:
            llama.reset()
            llama._ctx.kv_cache_clear()
        answer = iter(tokens)
        stream = llama.generate(call.prompt, **settings)
        next(stream)
        first = time.perf_counter()
        for _ in tokens[1:]:
            next(stream)
        stream.close()
        costs.prefilled.append(missing)
        costs.first_seconds.append(first - begun)
        costs.decoded += len(tokens) - 1
        costs.decode_seconds += time.perf_counter() - first
        done += 1
    seconds = time.perf_counter() - started
    busy = (time.process_time() - cpu_started) / seconds
    llama.close()
    rest = answers[done:]
    seconds += costs.estimate(wanted[done:], sum(len(tokens) - 1 for _, tokens in rest))
    decoded = sum(wanted) + sum(len(tokens) - 1 for _, tokens in answers)
    left = sum(len(tokens) for _, tokens in rest)
    run = 1 - left / load.answer_tokens
    return Measured(name, seconds, seconds * busy, load.answer_tokens, decoded, run)


def _prefills(load: Workload, *, fresh: bool, recurrent: bool = False) -> list[int]:
    """The prompt tokens that the class evaluates for each answer with its own prefix match.

    Source: llama-cpp-python, ``Llama.generate``: the tokens evaluated last are compared with the
    prompt; the last one is evaluated again, unless there is nothing after it. llama.cpp cuts no
    recurrent state back for the class, so that such models evaluate all of every other prompt.
    """
    held: list[int] = []
    wanted = []
    for call in load.calls:
        for tokens in call.samples:
            shared = 0
            limit = 0 if fresh or recurrent else min(len(held), len(call.prompt) - 1)
            while shared < limit and held[shared] == call.prompt[shared]:
                shared += 1
            known = not fresh and held == call.prompt
            wanted.append(0 if known else len(call.prompt) - shared)
            held = [*call.prompt, *tokens[:-1]]
    return wanted
