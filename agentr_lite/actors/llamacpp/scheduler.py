"""Runs jobs over one context: admit, prefill, start, step, finish.

All samples of all jobs grow together, one token in each round. Samples that have drawn the same
tokens so far share one branch, which is one row of the batch. Where their draws differ, the branch
splits. So no token is computed twice while it is in the cache, not even a generated one.

A prompt's last token is not prefilled. It is the first token of its branch, because its logits are
needed and a cached cell has none.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field

from agentr_lite.actors.answer import Answer
from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.prefix import PrefixTree
from agentr_lite.actors.llamacpp.sampler import Chooser, Row
from agentr_lite.actors.llamacpp.segments import Branch, Segment


class Sample(Answer):
    """One growing continuation, and the chooser that draws its tokens."""

    __slots__ = ("chooser",)

    def __init__(self, chooser: Chooser, max_tokens: int, stop: Sequence[bytes] = ()) -> None:
        super().__init__(max_tokens, stop)
        self.chooser = chooser


@dataclass(eq=False)
class Job:
    """A prompt and the samples that continue it."""

    prompt: list[int]
    """At least one token."""
    samples: list[Sample]
    segment: Segment | None = None
    """Where the prompt without its last token ends; None until the job is admitted."""
    cached_tokens: int = 0
    admitted: int = 0
    """How many samples were admitted so far."""
    started: int = 0


@dataclass(eq=False)
class Live:
    """A branch and the samples on it."""

    branch: Branch
    pending: int
    """The token that was drawn last and is not in the cache yet."""
    samples: list[Sample]


class _Entries:
    """Entries of a batch."""

    __slots__ = ("positions", "sequences", "tokens")

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.sequences: list[int] = []


@dataclass
class Counters:
    """What a scheduler has done since it was made."""

    prefilled_tokens: int = 0
    replayed_tokens: int = 0
    """Last tokens of prompts, which are decoded for their logits."""
    decoded_tokens: int = 0
    """Rows of generated tokens; fewer than the drawn tokens where samples agree."""
    restored_tokens: int = 0
    """Prompt tokens that were restored from RAM instead of decoded."""
    spilled_tokens: int = 0
    """Tokens evicted to RAM."""
    rollbacks: int = 0
    """How often recurrent layers had no state at the end of a known beginning of a prompt, so that
    an earlier one was taken."""
    recomputed_tokens: int = 0
    """Known tokens that were decoded again from these states on; ``prefilled_tokens`` has them."""
    batches: int = 0
    widths: dict[int, int] = field(default_factory=dict)
    """Width -> number of decode batches of that width."""

    def add(self, other: Counters) -> None:
        """Add another's counts to this one's."""
        self.prefilled_tokens += other.prefilled_tokens
        self.replayed_tokens += other.replayed_tokens
        self.decoded_tokens += other.decoded_tokens
        self.restored_tokens += other.restored_tokens
        self.spilled_tokens += other.spilled_tokens
        self.rollbacks += other.rollbacks
        self.recomputed_tokens += other.recomputed_tokens
        self.batches += other.batches
        for width, count in other.widths.items():
            self.widths[width] = self.widths.get(width, 0) + count


class Scheduler:
    """The loop over one context and its prefix tree."""

    def __init__(
        self,
        context: Context,
        tree: PrefixTree,
        *,
        width: int,
        chunk: int = 512,
        max_idle: int | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """
        Args:
            context: decodes the batches.
            tree: the prefixes in the context's cache.
            width: most branches in one decode batch.
            chunk: most prompt tokens in a batch that branches wait for.
            max_idle: evict prefixes that were not used while this many tokens were decoded;
                None: only when cells run out.
            stop: set by another thread to stop ``run``.
        """
        self._max_idle = max_idle
        self._stop = stop or threading.Event()
        self._context = context
        self._tree = tree
        self._width = width
        # A growing sample needs one id for its branch and at most one for the leaf above it.
        self._most = context.sequences // 2
        self._chunk = chunk
        self._piece = context.model.piece
        self._ends: Collection[int] = context.model.end_tokens
        self.counters = Counters()
        self._queue: deque[tuple[Job, Sample]] = deque()
        self._waiting: list[Job] = []
        self._live: list[Live] = []
        self._reserved = 0
        self._growing = 0

    def run(self, jobs: Sequence[Job]) -> None:
        """Carry out all jobs; afterwards every sample has its tokens and a ``finish_reason``.

        Each job must fit the cache alone: its prompt and one sample's ``max_tokens``.

        Raises:
            CancelledError: ``stop`` was set.
        """
        self._queue = deque((job, sample) for job in jobs for sample in job.samples)
        self._waiting, self._live = [], []
        self._reserved = self._growing = 0
        try:
            while self._queue or self._waiting or self._live:
                if self._stop.is_set():
                    raise CancelledError
                if self._queue:
                    self._admit()
                    if self._max_idle is not None:
                        self._tree.expire(self._max_idle)
                self._start()
                self._step()
        except BaseException:
            # After an interruption, the tree may no longer match the cache.
            self._tree.clear()
            raise
        finally:
            self.counters.restored_tokens = self._tree.spill.restored_tokens
            self.counters.spilled_tokens = self._tree.spill.spilled_tokens
            for job in jobs:
                for sample in job.samples:
                    sample.chooser.close()

    def _admit(self) -> None:
        """Admit samples in order, while their worst case fits."""
        tree = self._tree
        while self._queue and self._growing < self._most:
            job, sample = self._queue[0]
            need = sample.max_tokens
            if job.segment is None:
                need += tree.unpinned(job.prompt[:-1])
            if tree.pinned + self._reserved + need > tree.capacity:
                if not self._growing:
                    raise RuntimeError("a job does not fit the cache even alone")
                return
            self._queue.popleft()
            if job.segment is None:
                job.segment, job.cached_tokens = tree.insert(job.prompt[:-1])
            if job.admitted == job.started:
                self._waiting.append(job)
            job.admitted += 1
            self._reserved += sample.max_tokens
            self._growing += 1

    def _missing(self, room: int) -> _Entries:
        """Missing prompt tokens for the next batch; segments saved in RAM are restored."""
        tree = self._tree
        entries = _Entries()
        fresh: set[Segment] = set()
        for job in self._waiting:
            assert job.segment is not None
            for segment in tree.incomplete(job.segment):
                # This batch completes the parent. A segment below it can join the same batch
                # only with the same id: a fork would copy marks of cells that do not exist yet.
                if segment.parent in fresh and not tree.continues(segment):
                    break
                if (
                    segment.saved is not None
                    and segment.parent not in fresh
                    and tree.restore(segment)
                ):
                    continue
                size = min(len(segment.tokens) - segment.decoded, room)
                if size == 0:
                    break
                if not tree.make_room(size):
                    raise RuntimeError("admitted prompts exceed the cache")
                first = segment.start + segment.decoded
                entries.tokens += segment.tokens[segment.decoded : segment.decoded + size]
                entries.positions += range(first, first + size)
                entries.sequences += [tree.writable(segment)] * size
                tree.advance(segment, size)
                room -= size
                if not segment.complete:
                    break
                fresh.add(segment)
            if room == 0:
                break
        return entries

    def _start(self) -> None:
        """Start a branch for samples whose prompt is computed; equal prompts share a branch."""
        tree = self._tree
        groups: dict[tuple[Segment, int], Live] = {}
        waiting = []
        for job in self._waiting:
            assert job.segment is not None
            if not job.segment.complete:
                waiting.append(job)
                continue
            samples = job.samples[job.started : job.admitted]
            job.started = job.admitted
            key = (job.segment, job.prompt[-1])
            group = groups.get(key)
            if group is None:
                groups[key] = Live(tree.fork(job.segment), job.prompt[-1], samples)
                self.counters.replayed_tokens += 1
            else:
                group.samples = group.samples + samples
            if job.started == len(job.samples):
                tree.unpin(job.segment)
        self._waiting = waiting
        self._live += groups.values()
        self.counters.decoded_tokens -= len(groups)

    def _step(self) -> None:
        """Decode the pending token of every branch, together with missing prompt tokens."""
        live = self._live
        self._live = []
        # Equal parts, instead of full batches and a narrow last one.
        parts = max(1, -(-len(live) // self._width))
        for part in range(parts):
            self._decode(live[part * len(live) // parts : (part + 1) * len(live) // parts])

    def _decode(self, chunk: Sequence[Live]) -> None:
        tree, counters = self._tree, self.counters
        rows = len(chunk)
        room = self._context.n_batch - rows
        entries = self._missing(min(room, self._chunk) if rows else room)
        if not tree.make_room(rows):
            raise RuntimeError("admitted samples exceed the cache")
        if not rows and not entries.tokens:
            return
        logits = self._context.decode(
            [live.pending for live in chunk] + entries.tokens,
            [live.branch.position for live in chunk] + entries.positions,
            [live.branch.sequence for live in chunk] + entries.sequences,
            outputs=rows,
        )
        counters.prefilled_tokens += len(entries.tokens)
        counters.decoded_tokens += rows
        counters.batches += 1
        if rows:
            counters.widths[rows] = counters.widths.get(rows, 0) + 1
        handle = self._context.handle
        for index, live in enumerate(chunk):
            tree.extend(live.branch, live.pending)
            self._draw(live, Row(handle, index, logits[index]))

    def _draw(self, live: Live, row: Row) -> None:
        """Let every sample of a branch draw; continue, split or end the branch."""
        growing = draw(live.samples, row, self._ends, self._piece)
        for sample in live.samples:
            if sample.finish_reason is not None:
                self._reserved -= sample.max_tokens
                self._growing -= 1
        if len(growing) == 1:
            live.pending, live.samples = next(iter(growing.items()))
            self._live.append(live)
            return
        segment = self._tree.commit(live.branch)
        for token, samples in growing.items():
            self._live.append(Live(self._tree.fork(segment), token, samples))
        self._tree.unpin(segment)


def draw(
    samples: Sequence[Sample], row: Row, ends: Collection[int], piece: Callable[[int], bytes]
) -> dict[int, list[Sample]]:
    """Let every sample of a branch draw its next token.

    Args:
        samples: the branch's.
        row: its logits.
        ends: tokens that end an answer.
        piece: gives a token's text.

    Returns:
        The samples that continue, by the token that they drew.
    """
    growing: dict[int, list[Sample]] = {}
    for sample in samples:
        token = sample.chooser.choose(row)
        ended = token in ends
        if sample.accept(token, b"" if ended else piece(token), ended):
            growing.setdefault(token, []).append(sample)
    return growing
