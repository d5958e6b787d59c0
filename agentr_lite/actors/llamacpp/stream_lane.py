"""A lane whose conversations have cells of their own, for models of medium size on CPUs.

It has ``Lane``'s contract. All samples grow together, one token in each step. Samples that have
drawn the same tokens so far share one stream, which is one row of the batch. Where their draws
differ, one goes on in place and the others get copies.

llama.cpp computes streams with neighbouring ids together, and each other run of ids by itself. So
the growing streams are moved together, and prompts are computed by themselves: a batch of long
prompts and single tokens would fall apart.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field

from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.llamacpp.plan import LanePlan
from agentr_lite.actors.llamacpp.sampler import Row
from agentr_lite.actors.llamacpp.scheduler import Counters, Job, Sample, draw
from agentr_lite.actors.llamacpp.streams import Stream, Streams

_STEPS = 4
"""Streams are moved together if at least this many steps can follow: a move costs about as much
as two separate computations of a run of ids."""


@dataclass(eq=False)
class _Group:
    """Jobs with equal prompts."""

    prompt: list[int]
    jobs: list[Job] = field(default_factory=list)
    waiting: list[Sample] = field(default_factory=list)
    """Samples of all its jobs that have not started."""


@dataclass(eq=False)
class _Live:
    """A busy stream and the samples on it."""

    stream: Stream
    pending: int
    """The token that was drawn last and is not in the cells yet."""
    samples: list[Sample]


class StreamLane:
    """One cache that is divided into streams.

    Attributes:
        context: decodes the batches.
        streams: which tokens are in which stream.
        counters: what the lane has done since it was made.
    """

    def __init__(
        self, model: Model, plan: LanePlan, *, n_threads: int, stop: threading.Event
    ) -> None:
        """
        Args:
            model: the weights.
            plan: the lane's size; ``plan.streams`` > 0.
            n_threads: the lane's threads.
            stop: set by another thread to stop ``run``.

        Raises:
            ModelError: the cache cannot be made.
        """
        self.context = Context(
            model,
            n_cells=plan.n_cells,
            n_batch=plan.n_batch,
            n_threads=n_threads,
            flash_attention=plan.flash_attention,
            n_ubatch=plan.n_ubatch,
            sequences=plan.streams,
            unified=False,
            window=plan.window,
        )
        self.streams = Streams(
            self.context,
            count=plan.streams,
            capacity=self.context.stream_cells,
            copy_tokens=plan.copy_tokens,
            spill_bytes=plan.spill_bytes,
            recurrent=model.recurrent,
            cells=model.has_cells,
            window=plan.window,
        )
        self.counters = Counters()
        self._most = plan.streams
        self._stop = stop
        self._piece = model.piece
        self._ends = model.end_tokens
        self._queue: deque[_Group] = deque()
        self._live: list[_Live] = []
        self._growing = 0
        """Samples that have started and not ended. Each may need a stream by itself."""

    def run(self, jobs: Sequence[Job]) -> None:
        """Carry out all jobs; afterwards every sample has its tokens and a ``finish_reason``.

        Each job must fit a stream: its prompt and the longest sample's ``max_tokens``.

        Raises:
            CancelledError: ``stop`` was set.
        """
        try:
            self._queue = self._groups(jobs)
            self._live, self._growing = [], 0
            self.streams.expect([group.prompt[:-1] for group in self._queue])
            while self._queue or self._live:
                self._admit()
                self._check_stop()
                self._step()
        except BaseException:
            # After an interruption, the notes may no longer match the cells.
            self.clear()
            raise
        finally:
            self.counters.restored_tokens = self.streams.shelf.restored_tokens
            self.counters.spilled_tokens = self.streams.shelf.spilled_tokens
            self.counters.rollbacks = self.streams.rollbacks
            self.counters.recomputed_tokens = self.streams.recomputed_tokens
            for job in jobs:
                for sample in job.samples:
                    sample.chooser.close()

    def clear(self) -> None:
        """Drop everything that was computed."""
        self.streams.clear()

    def _groups(self, jobs: Sequence[Job]) -> deque[_Group]:
        groups: dict[tuple[int, ...], _Group] = {}
        for job in jobs:
            longest = max((sample.max_tokens for sample in job.samples), default=0)
            # The last token that is drawn takes no cell.
            if len(job.prompt) - 1 + longest > self.streams.capacity:
                raise RuntimeError("a job does not fit a stream")
            if job.samples:
                group = groups.setdefault(tuple(job.prompt), _Group(job.prompt))
                group.jobs.append(job)
                group.waiting += job.samples
        return deque(groups.values())

    def _admit(self) -> None:
        """Start samples in order, while each of them can get a stream."""
        while self._queue:
            group = self._queue[0]
            room = self._most - self._growing
            # Samples of one prompt start together, so that they share rows while they agree.
            if len(group.waiting) > room and self._growing:
                return
            self._check_stop()
            samples, group.waiting = group.waiting[:room], group.waiting[room:]
            prompt = group.prompt
            stream, cached = self.streams.take(prompt[:-1])
            for job in group.jobs:
                job.cached_tokens = cached if job is group.jobs[0] else len(prompt) - 1
            group.jobs = []
            for mark in stream.marks:
                self._prefill(stream, prompt[stream.length : mark])
                self.streams.mark(stream)
            self._prefill(stream, prompt[stream.length : -1])
            self._live.append(_Live(stream, prompt[-1], samples))
            self._growing += len(samples)
            self.counters.replayed_tokens += 1
            self.counters.decoded_tokens -= 1
            if not group.waiting:
                self._queue.popleft()

    def _prefill(self, stream: Stream, tokens: Sequence[int]) -> None:
        size = self.context.n_batch
        for start in range(0, len(tokens), size):
            self._check_stop()
            part = tokens[start : start + size]
            first = stream.length
            self.context.decode(
                part,
                range(first, first + len(part)),
                [stream.sequence] * len(part),
                outputs=0,
            )
            stream.extend(part)
            self.counters.prefilled_tokens += len(part)
            self.counters.batches += 1

    def _step(self) -> None:
        """Decode the pending token of every stream, and let the samples draw."""
        left = max(
            sample.max_tokens - len(sample.tokens) for live in self._live for sample in live.samples
        )
        if left >= _STEPS:
            self.streams.pack()
        rows = sorted(self._live, key=lambda live: live.stream.sequence)
        self._live = []
        logits = self.context.decode(
            [live.pending for live in rows],
            [live.stream.length for live in rows],
            [live.stream.sequence for live in rows],
            outputs=len(rows),
        )
        width = len(rows)
        self.counters.decoded_tokens += width
        self.counters.batches += 1
        self.counters.widths[width] = self.counters.widths.get(width, 0) + 1
        for live in rows:
            live.stream.extend([live.pending])
        handle = self.context.handle
        for index, live in enumerate(rows):
            self._draw(live, Row(handle, index, logits[index]))

    def _draw(self, live: _Live, row: Row) -> None:
        growing = draw(live.samples, row, self._ends, self._piece)
        self._growing += sum(map(len, growing.values())) - len(live.samples)
        if not growing:
            self.streams.release(live.stream)
            return
        copies = self.streams.fork(live.stream, len(growing) - 1)
        for stream, (token, samples) in zip([live.stream, *copies], growing.items(), strict=True):
            self._live.append(_Live(stream, token, samples))

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise CancelledError
