"""Lanes: several caches over one model, so that trees do not read each other's cells.

On a CPU, an attention step reads every cell of its cache, including the cells of other trees. So
conversations are spread over several caches, with related ones together::

    weights ─┬─ lane 0: cache, prefix tree, scheduler    tree A, tree B
             └─ lane 1: cache, prefix tree, scheduler    tree C, tree D

Each lane of a small model runs on its own thread. Where the plan asks for streams, a lane's
conversations do not read each other's cells either (``StreamLane``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Protocol

from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.llamacpp.plan import LanePlan
from agentr_lite.actors.llamacpp.prefix import PrefixTree
from agentr_lite.actors.llamacpp.scheduler import Counters, Job, Scheduler
from agentr_lite.actors.llamacpp.stream_lane import StreamLane

_BLOCK = 16
"""Tokens in a block; prefixes are compared block by block."""
_ROWS = 25
"""Expected tokens of a sample, if its limit is not lower."""
_CALLS = 10
"""Expected number of calls in which conversations of a lane read each other's cells."""
_KEPT_BLOCKS = 200_000
_ROW_TOKENS = 3
"""Generating a token in a wide step of streams costs as much as prefilling this many. Measured on
SmolLM2-135M with 900 tokens of context: 2 as Q4_1, 3 as f16."""


class AnyLane(Protocol):
    """What all kinds of lanes have in common."""

    @property
    def context(self) -> Context:
        """Its cache."""

    @property
    def counters(self) -> Counters:
        """What it has done."""

    def run(self, jobs: Sequence[Job]) -> None:
        """Carry out all jobs; see ``Scheduler.run``."""

    def clear(self) -> None:
        """Drop everything that was computed."""


class Lane:
    """One cache and its scheduler."""

    def __init__(
        self,
        model: Model,
        plan: LanePlan,
        *,
        n_threads: int,
        stop: threading.Event,
    ) -> None:
        self.context = Context(
            model,
            n_cells=plan.n_cells,
            n_batch=plan.n_batch,
            n_threads=n_threads,
            flash_attention=plan.flash_attention,
            n_ubatch=plan.n_ubatch,
            sequences=plan.sequences,
        )
        self.tree = PrefixTree(
            self.context,
            capacity=self.context.n_cells,
            sequences=self.context.sequences,
            spill_bytes=plan.spill_bytes,
        )
        self.scheduler = Scheduler(
            self.context,
            self.tree,
            width=plan.width,
            chunk=plan.chunk,
            max_idle=plan.max_idle,
            stop=stop,
        )

    @property
    def counters(self) -> Counters:
        """What the lane has done since it was made."""
        return self.scheduler.counters

    def run(self, jobs: Sequence[Job]) -> None:
        """Carry out all jobs; see ``Scheduler.run``."""
        self.scheduler.run(jobs)

    def clear(self) -> None:
        """Drop everything that was computed."""
        self.tree.clear()


class Lanes:
    """Spreads jobs over lanes and runs them.

    A job's lane depends only on the jobs before it since ``reset``. So the same calls give the same
    batches, whatever the timing of the threads.

    Attributes:
        lanes: the lanes.
        streams: the streams of each; 0: their conversations share cells.
    """

    def __init__(
        self,
        model: Model,
        plan: LanePlan,
        *,
        n_threads: int,
        kind: Callable[..., AnyLane] | None = None,
    ) -> None:
        """
        Args:
            model: the weights, which all lanes share.
            plan: number and size of the lanes.
            n_threads: threads of all lanes together.
            kind: the class of a lane; default: ``StreamLane`` if the plan has streams, else
                ``Lane``.

        Raises:
            ModelError: a cache cannot be made; all others are freed.
        """
        self._stop = threading.Event()
        self._cells_a_token = plan.cells_a_token
        self._lent = n_threads if plan.lends_threads else 0
        self.streams = plan.streams
        kind = kind or (StreamLane if plan.streams else Lane)
        self.lanes: list[AnyLane] = []
        try:
            for _ in range(plan.count):
                threads = 1 if plan.parallel else n_threads
                self.lanes.append(kind(model, plan, n_threads=threads, stop=self._stop))
        except BaseException:
            for lane in self.lanes:
                lane.context.close()
            raise
        self._pool = (
            ThreadPoolExecutor(n_threads, thread_name_prefix="lane")
            if plan.parallel and n_threads > 1 and plan.count > 1
            else None
        )
        self._seen: dict[int, int] = {}

    def run(self, jobs: Sequence[Job]) -> None:
        """Carry out all jobs; see ``Scheduler.run``."""
        parts: list[list[Job]] = [[] for _ in self.lanes]
        for job, index in zip(jobs, self.assign(jobs), strict=True):
            parts[index].append(job)
        work = [(lane, part) for lane, part in zip(self.lanes, parts, strict=True) if part]
        try:
            if self._pool is None or len(work) < 2:
                for lane, part in work:
                    self._run_alone(lane, part)
                return
            futures = [self._pool.submit(lane.run, part) for lane, part in work]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                self._stop.set()
                _wait_for_all(futures)
                raise
        except BaseException:
            # An interrupted lane has emptied its cache. The others are emptied too, or the
            # next calls would meet other caches than after an uninterrupted call.
            self.reset()
            raise
        finally:
            self._stop.clear()

    def _run_alone(self, lane: AnyLane, part: Sequence[Job]) -> None:
        if not self._lent:
            lane.run(part)
            return
        lane.context.use_threads(self._lent)
        try:
            lane.run(part)
        finally:
            lane.context.use_threads(1)

    def assign(self, jobs: Sequence[Job]) -> list[int]:
        """Choose a lane for every job: the cheapest one, with costs in prompt tokens.

        A job costs the tokens of its prompt that the lane has not seen. In addition, the job and
        the jobs that the lane already has read each other's cells. Streams do not, so lanes of
        streams get equal work (``_spread``).

        Returns:
            For each job, the index of its lane.
        """
        if len(self.lanes) == 1:
            return [0] * len(jobs)
        if self.streams:
            return self._spread(jobs)
        cells = [0] * len(self.lanes)
        rows = [0] * len(self.lanes)
        now: dict[int, int] = {}
        chosen = []
        for job in jobs:
            chain = _chain(job.prompt)
            resident = self._matched(chain, self._seen)
            planned = self._matched(chain, now)
            length = len(job.prompt)
            own_rows = sum(min(sample.max_tokens, _ROWS) for sample in job.samples)
            best, best_cost = 0, float("inf")
            for lane in range(len(self.lanes)):
                missing = length - resident[lane]
                own = length - planned[lane]
                foreign = max(0, cells[lane] - planned[lane])
                reads = missing * foreign + _CALLS * (own_rows * foreign + rows[lane] * own)
                cost = missing + reads / self._cells_a_token
                if cost < best_cost:
                    best, best_cost = lane, cost
            cells[best] += length - planned[best]
            rows[best] += own_rows
            for key in chain:
                now[key] = now.get(key, 0) | 1 << best
            self._note(chain, best)
            chosen.append(best)
        return chosen

    def _spread(self, jobs: Sequence[Job]) -> list[int]:
        """Choose lanes of streams: for every job, the lane that would be done with it first.

        Work is counted in prompt tokens: those that a lane has not seen, and the samples' rows.
        Equal prompts go to one lane, where their samples share rows.
        """
        work = [0] * len(self.lanes)
        lane_of: dict[tuple[int, ...], int] = {}
        chosen = []
        for job in jobs:
            chain = _chain(job.prompt)
            seen = self._matched(chain, self._seen)
            missing = [len(job.prompt) - tokens for tokens in seen]
            prompt = tuple(job.prompt)
            best = lane_of.get(prompt)
            if best is None:
                best = min(range(len(work)), key=lambda lane: (work[lane] + missing[lane], lane))
                lane_of[prompt] = best
            rows = sum(min(sample.max_tokens, _ROWS) for sample in job.samples)
            work[best] += missing[best] + _ROW_TOKENS * rows
            self._note(chain, best)
            chosen.append(best)
        return chosen

    def _note(self, chain: Sequence[int], lane: int) -> None:
        """Note that a lane sees a prompt."""
        if len(self._seen) > _KEPT_BLOCKS:
            self._seen.clear()
        for key in chain:
            self._seen[key] = self._seen.get(key, 0) | 1 << lane

    def _matched(self, chain: Sequence[int], seen: dict[int, int]) -> list[int]:
        """For every lane, how many of a prompt's tokens it has according to ``seen``."""
        matched = [0] * len(self.lanes)
        for depth, key in enumerate(chain, 1):
            lanes = seen.get(key, 0)
            if not lanes:
                break
            index = 0
            while lanes:
                if lanes & 1:
                    matched[index] = depth * _BLOCK
                lanes >>= 1
                index += 1
        return matched

    def counters(self) -> Counters:
        """The sum of all lanes' counters."""
        total = Counters()
        for lane in self.lanes:
            total.add(lane.counters)
        return total

    def reset(self) -> None:
        """Empty all caches and forget which lane has seen which prompt."""
        self._seen.clear()
        for lane in self.lanes:
            lane.clear()

    def close(self) -> None:
        """Stop the threads and free the caches."""
        if self._pool is not None:
            self._pool.shutdown()
        for lane in self.lanes:
            lane.context.close()


def _wait_for_all(futures: Sequence[Future[None]]) -> None:
    """Wait, even if Ctrl-C is pressed again: a lane must not run while its cache is emptied."""
    while True:
        try:
            wait(futures)
            return
        except KeyboardInterrupt:
            continue


def _chain(tokens: Sequence[int]) -> list[int]:
    """A key for every whole block; it depends on all tokens up to the block's end."""
    keys = []
    key = 0
    for start in range(0, len(tokens) - _BLOCK + 1, _BLOCK):
        # Unlike hashes of strings, hashes of integers are the same in every process.
        key = hash((key, *tokens[start : start + _BLOCK]))
        keys.append(key)
    return keys
