"""Finds the fastest batch shapes for a model on this machine by measuring them.

With shared prefixes, a tree search decodes about as many prompt tokens as it generates. So the
figure of merit is the time for one token of each kind. Prefill is measured on a new prompt.
Decoding is measured on siblings below one shared prefix, or below several prefixes where trees
share a cache, because attention skips the other trees' cells at a speed that depends on the kernel.
Models with recurrent layers have a stream for each sibling, and no choice of the kernel.

Each figure is the best of several turns. A turn goes over all settings, so that a disturbance does
not affect a single setting. Work on one thread is timed by that thread's processor time, to which
other programs do not add.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agentr_lite.actors.llamacpp.attention import attention_kernel
from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.library import uses_gpu
from agentr_lite.actors.llamacpp.machine import physical_cores
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.llamacpp.plan import SEQUENCES, plan_lanes
from agentr_lite.actors.llamacpp.tuning import Tuning

PROMPT_TOKENS = 512
PREFIX_TOKENS = 256
WIDTHS = (4, 8, 16, 32, 64)
GPU_WIDTHS = (16, 32, 64, 127)
STREAM_WIDTHS = (4, 8, 16)
MICRO_BATCHES = (128, 256, 512)
GPU_MICRO_BATCHES = (256, 512, 1024, 2048)
_TREES = 8
"""Number of prefixes in a cache that all trees share."""
_TREE_SEQUENCE = SEQUENCES - 2 - _TREES
"""First sequence id of the prefixes; the ids below are the siblings'."""
_STEPS = 4
_CLOSE = 0.97
"""A narrower batch is preferred if it reaches this share of the best rate: it wastes less when
few branches are growing."""
_WORTH = 1.05
"""The defaults stay unless another shape is faster by this factor: a run with the defaults is
easier to repeat on another machine."""

Clock = Callable[[], float]


@dataclass(slots=True)
class Shape:
    """One combination of micro-batch and attention kernel, and its measured speed."""

    micro_batch: int
    flash_attention: bool
    prefill: float = 0.0
    """Prompt tokens a second."""
    decode: dict[int, float] = field(default_factory=dict)
    """Width of the batch -> generated tokens a second."""

    def best_width(self) -> int:
        """The narrowest width that is about as fast as the fastest."""
        limit = _CLOSE * max(self.decode.values())
        return min(width for width, rate in self.decode.items() if rate >= limit)

    def seconds(self, limit: int | None = None) -> float:
        """Seconds for one prompt token and one generated token, as the mean over all widths.

        The number of growing branches changes all the time, so a shape must not be fast at one
        width only.

        Args:
            limit: most branches in a batch; larger batches are split. Default: ``best_width``.
        """
        limit = limit or self.best_width()
        steps = [1.0 / self.decode[min(width, limit)] for width in self.decode]
        return 1.0 / self.prefill + sum(steps) / len(steps)


@dataclass(frozen=True, slots=True)
class Calibration:
    """All measurements."""

    shapes: Sequence[Shape]
    best: Tuning
    default: Tuning
    """The settings that hold without tuning."""
    speedup: float
    """The default's time for one prompt and one generated token, divided by the best's; >= 1."""
    threads: int
    seconds: float


def calibrate(
    path: Path,
    *,
    n_threads: int | None = None,
    turns: int = 3,
    seconds: float = 60.0,
    on_turn: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Try all shapes on a model.

    Args:
        path: a GGUF file.
        n_threads: as for the actor; default: the physical cores.
        turns: how often each figure is measured.
        seconds: no turn starts after this time; the first turn is always completed.
        on_turn: called with (finished measurements, all measurements).

    Raises:
        ModelError: the model cannot be loaded, or there is too little memory.
    """
    started = time.monotonic()
    gpu = uses_gpu()
    model = Model(path)
    contexts: list[Context] = []
    try:
        n_threads = n_threads or physical_cores()
        # Streams use the micro-batch only.
        plan = plan_lanes(
            model,
            context_tokens=1024,
            n_cells=None,
            gpu=gpu,
            n_threads=n_threads,
            streams=False,
            windowed=False,
            kernel=not gpu and attention_kernel() is not None,
        )
        trees = max(1, _TREES // plan.count)
        # Each lane of a small model runs on one thread.
        threads = 1 if plan.parallel else n_threads
        clock = time.perf_counter if gpu or threads > 1 else time.thread_time
        widths: Sequence[int] = GPU_WIDTHS if gpu else WIDTHS
        kernels: Sequence[bool] = (False, True)
        cells = max(PROMPT_TOKENS, trees * PREFIX_TOKENS) + max(widths) * (_STEPS + 1)
        sequences = SEQUENCES - 1
        if model.recurrent:
            widths = [width for width in STREAM_WIDTHS if width <= plan.streams] or [plan.streams]
            kernels = (plan.flash_attention,)
            sequences = max(widths)
            cells = sequences * (PROMPT_TOKENS + _STEPS + 2)
        shapes = [
            Shape(size, flash)
            for flash in kernels
            for size in (GPU_MICRO_BATCHES if gpu else MICRO_BATCHES)
        ]
        for shape in shapes:
            contexts.append(
                Context(
                    model,
                    n_cells=cells,
                    n_batch=max(PROMPT_TOKENS, shape.micro_batch),
                    n_threads=threads,
                    flash_attention=shape.flash_attention,
                    n_ubatch=shape.micro_batch,
                    sequences=sequences,
                    unified=not model.recurrent,
                    # Only the time matters here, and all ids are used.
                    guarded=False,
                )
            )
        done, total = 0, turns * len(shapes)
        for turn in range(turns):
            if turn and time.monotonic() - started > seconds:
                break
            for shape, context in zip(shapes, contexts, strict=True):
                shape.prefill = max(shape.prefill, _prefill(context, clock))
                for width in widths:
                    rate = (
                        _decode_streams(context, width, clock)
                        if model.recurrent
                        else _decode(context, width, clock, trees=trees)
                    )
                    shape.decode[width] = max(shape.decode.get(width, 0.0), rate)
                done += 1
                if on_turn is not None:
                    on_turn(done, total)
        default = Tuning(
            min(plan.width, max(widths)), 512 if plan.flash_attention else 256, plan.flash_attention
        )
    finally:
        for context in contexts:
            context.close()
        model.close()
    return _choose(shapes, default, threads, time.monotonic() - started)


def _choose(shapes: Sequence[Shape], default: Tuning, threads: int, seconds: float) -> Calibration:
    best = min(shapes, key=Shape.seconds)
    usual = next(
        shape
        for shape in shapes
        if (shape.micro_batch, shape.flash_attention)
        == (default.micro_batch, default.flash_attention)
    )
    speedup = usual.seconds(default.width) / best.seconds()
    chosen = Tuning(best.best_width(), best.micro_batch, best.flash_attention)
    if speedup < _WORTH:
        chosen, speedup = default, 1.0
    return Calibration(shapes, chosen, default, speedup, threads, seconds)


def _prefill(context: Context, clock: Clock) -> float:
    context.clear()
    tokens = _tokens(context, PROMPT_TOKENS, 0)
    began = clock()
    context.decode(tokens, range(PROMPT_TOKENS), [0] * PROMPT_TOKENS, outputs=0)
    # Only reading logits waits for the GPU, so decode one more token with logits.
    context.decode(tokens[:1], [PROMPT_TOKENS], [0], outputs=1)
    return PROMPT_TOKENS / (clock() - began)


def _decode(context: Context, width: int, clock: Clock, *, trees: int) -> float:
    """Decode siblings below prefixes, one token each in a step."""
    context.remove(0, PREFIX_TOKENS)
    prefixes = [0, *range(_TREE_SEQUENCE, _TREE_SEQUENCE + trees - 1)]
    cells = context.save(0, 0, PREFIX_TOKENS)
    for prefix in prefixes[1:]:
        context.load(cells, prefix, 0, PREFIX_TOKENS)
    sequences = range(1, width + 1)
    for sequence in sequences:
        context.copy_sequence(prefixes[sequence % trees], sequence, PREFIX_TOKENS)
    seconds = _fastest_step(context, sequences, PREFIX_TOKENS, clock)
    for sequence in (*sequences, *prefixes[1:]):
        context.remove(sequence)
    return width / seconds


def _decode_streams(context: Context, width: int, clock: Clock) -> float:
    """Decode copies of the stream that the prefill left, one token each in a step."""
    start = context.last_position(0) + 1
    kept = context.save_sequence(0)
    context.copy_stream(0, range(1, width))
    seconds = _fastest_step(context, range(width), start, clock)
    context.load_sequence(kept, 0)
    return width / seconds


def _fastest_step(context: Context, sequences: Sequence[int], start: int, clock: Clock) -> float:
    """Seconds of the fastest of some steps from position ``start`` on."""
    width = len(sequences)
    fastest = float("inf")
    for step in range(_STEPS):
        tokens = _tokens(context, width, step + 1)
        began = clock()
        context.decode(tokens, [start + step] * width, sequences, outputs=width)
        fastest = min(fastest, clock() - began)
    return fastest


def _tokens(context: Context, count: int, salt: int) -> list[int]:
    # Any tokens will do: the speed does not depend on them.
    return [(7919 * index + 104_729 * salt + 13) % context.model.n_vocab for index in range(count)]
