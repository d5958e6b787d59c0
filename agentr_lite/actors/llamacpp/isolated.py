"""Lanes in which a job's answers depend on that job alone, bit for bit.

The rounding of a row of logits depends on the shape of its batches and on the places of its cells
in the cache. So in a shared cache, other work can change how a near tie is decided. Here each job
runs by itself in an empty cache, and its prompt is computed in blocks at fixed positions. Computed
blocks are kept in RAM. Restoring a block puts the same bytes into the same cells as computing it,
so reuse saves time and changes nothing else::

    prompt   | block 0 | block 1 | block 2 | rest, last token |
    source   | RAM     | RAM     | decoded | decoded          |
                                   and saved

The state of recurrent layers cannot be put together from blocks. For models with such layers,
everything up to the last whole block is kept as one (``IsolatedStreamLane``).
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from agentr_lite.actors.llamacpp.lanes import Lane
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.llamacpp.plan import LanePlan
from agentr_lite.actors.llamacpp.scheduler import Job
from agentr_lite.actors.llamacpp.segments import CellBytes
from agentr_lite.actors.llamacpp.stream_lane import StreamLane
from agentr_lite.actors.llamacpp.windows import rounded

BLOCK = 32
"""Tokens in a block; the rest of a prompt after its last whole block is always computed."""
_STREAMS = 8


def plan_isolated(plan: LanePlan, *, context_tokens: int, n_threads: int) -> LanePlan:
    """The plan for lanes that run one job at a time (``IsolatedLane``).

    The number of cells decides how many samples grow at once. So it depends only on the model and
    the settings, not on the free memory.
    """
    count = n_threads if plan.parallel else 1
    spill = plan.spill_bytes * plan.count // count
    if plan.streams:
        size = rounded(context_tokens)
        plan = replace(
            plan,
            count=count,
            n_cells=_STREAMS * size,
            streams=_STREAMS,
            sequences=_STREAMS,
            spill_bytes=spill,
        )
        return replace(plan, lends_threads=False)
    # Some kernels divide a sum between threads, so other work must not change their number.
    return replace(
        plan, count=count, n_cells=2 * context_tokens, spill_bytes=spill, lends_threads=False
    )


class IsolatedLane(Lane):
    """Runs one job after the other, each as if it were the first."""

    def __init__(
        self, model: Model, plan: LanePlan, *, n_threads: int, stop: threading.Event
    ) -> None:
        """See ``Lane``."""
        # Blocks are kept instead of the tree's segments.
        super().__init__(
            model, replace(plan, spill_bytes=0, max_idle=None), n_threads=n_threads, stop=stop
        )
        self._blocks = Blocks(plan.spill_bytes)

    def run(self, jobs: Sequence[Job]) -> None:
        """See ``Scheduler.run``."""
        for job in jobs:
            reused = self._compute_blocks(job.prompt[:-1])
            self.scheduler.run([job])
            job.cached_tokens = reused

    def clear(self) -> None:
        """See ``Lane``."""
        super().clear()
        self._blocks.clear()

    def _compute_blocks(self, prompt: list[int]) -> int:
        """Fill the cache with the whole blocks of a prompt.

        Returns:
            How many tokens were restored instead of decoded.
        """
        tree, context, blocks = self.tree, self.context, self._blocks
        counters = self.scheduler.counters
        tree.clear()
        reused = 0
        keys = list(_keys(prompt))
        for key, end in keys:
            start = end - BLOCK
            segment, _ = tree.insert(prompt[:end])
            sequence = tree.writable(segment)
            data = blocks.get(key)
            if data is not None:
                context.load(data, sequence, start, end)
                reused += BLOCK
            else:
                context.decode(prompt[start:end], range(start, end), [sequence] * BLOCK, outputs=0)
                counters.prefilled_tokens += BLOCK
                counters.batches += 1
                blocks.put(key, context.save(sequence, start, end))
            tree.advance(segment, BLOCK)
            tree.unpin(segment)
        # A block is useful only together with all blocks before it, so the first is dropped last.
        for key, _ in reversed(keys):
            blocks.touch(key)
        tree.spill.restored_tokens += reused
        return reused


class IsolatedStreamLane(StreamLane):
    """``IsolatedLane`` for models with recurrent layers."""

    def __init__(
        self, model: Model, plan: LanePlan, *, n_threads: int, stop: threading.Event
    ) -> None:
        """See ``StreamLane``."""
        # States that the free memory decides about must not decide how a prompt is divided.
        super().__init__(model, replace(plan, spill_bytes=0), n_threads=n_threads, stop=stop)
        self._beginnings = Blocks(plan.spill_bytes)

    def run(self, jobs: Sequence[Job]) -> None:
        """See ``Scheduler.run``."""
        restored = 0
        for job in jobs:
            reused = self._compute_blocks(job.prompt[:-1])
            super().run([job])
            job.cached_tokens = reused
            restored += reused
        self.counters.restored_tokens += restored

    def clear(self) -> None:
        """See ``StreamLane``."""
        super().clear()
        self._beginnings.clear()

    def _compute_blocks(self, prompt: list[int]) -> int:
        """Fill the first stream with the whole blocks of a prompt; all others are empty then.

        Returns:
            How many tokens were restored instead of decoded.
        """
        streams, context = self.streams, self.context
        streams.clear()
        stream = streams.streams[0]
        keys = list(_keys(prompt))
        reused = 0
        for key, end in reversed(keys):
            data = self._beginnings.get(key)
            if data is not None:
                context.load_sequence(data, stream.sequence)
                stream.extend(prompt[:end])
                self._beginnings.touch(key)
                reused = end
                break
        for start in range(reused, len(keys) * BLOCK, BLOCK):
            self._prefill(stream, prompt[start : start + BLOCK])
        if stream.length > reused:
            self._beginnings.put(keys[-1][0], context.save_sequence(stream.sequence))
        return reused


class Blocks:
    """Saved blocks by the digest of all tokens up to their end; drops the least recently used."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._used = 0
        self._data: OrderedDict[bytes, CellBytes] = OrderedDict()

    def clear(self) -> None:
        """Drop all blocks."""
        self._data.clear()
        self._used = 0

    def get(self, key: bytes) -> CellBytes | None:
        """A block's cells, or None if they are not held."""
        return self._data.get(key)

    def touch(self, key: bytes) -> None:
        """Note that a block was used, if it is held."""
        if key in self._data:
            self._data.move_to_end(key)

    def put(self, key: bytes, data: CellBytes) -> None:
        """Hold a block's cells."""
        self._data[key] = data
        self._used += data.nbytes
        while self._used > self._budget:
            _, oldest = self._data.popitem(last=False)
            self._used -= oldest.nbytes


def _keys(tokens: Sequence[int]) -> Iterator[tuple[bytes, int]]:
    """For each whole block: a digest of the tokens up to its end, and the end."""
    digest = hashlib.blake2b(digest_size=16)
    for end in range(BLOCK, len(tokens) + 1, BLOCK):
        digest.update(np.array(tokens[end - BLOCK : end], np.int32).tobytes())
        yield digest.digest(), end
