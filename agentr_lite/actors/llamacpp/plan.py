"""How many caches, how large, and how long to keep what lies idle in them.

The figures were measured on 2 CPU cores with llama.cpp of llama-cpp-python 0.3.36; see
``benchmarks/engine.py``. A 3M-parameter model there decodes 4,400 tokens/s with two trees in a
cache, 3,400 with four, 1,300 with sixteen: an attention step reads the whole cache. Flash
attention skips other trees' cells, but its CPU kernel is so much slower on a tree's own that a
recorded search takes such a model 1.8 times as long. A 0.5B model wants the opposite: its steps
are worth making wide, and one cache with flash attention takes 72 s of processor time where four
without take 126.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from agentr_lite.actors.llamacpp.context import SEQUENCES
from agentr_lite.actors.llamacpp.machine import available_bytes
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.llamacpp.tuning import Tuning
from agentr_lite.core.errors import ModelError

_SMALL = 200e6
"""Parameters, up to which a step is too short to be worth dividing between threads."""
_LANES = ((50e6, 16, 4096), (_SMALL, 8, 8192))
"""Parameters up to which so many lanes of so many cells are made; one or two lanes beyond."""
_MOST_SEQUENCES = SEQUENCES - 1
_FEW_SEQUENCES = 95
"""Of small models' lanes: enough for twice 32 branches and what lies idle."""
_LARGE_CELLS = 32_768
_GPU_CELLS = 65_536
_MEMORY_SHARE = 0.4
"""At most this part of the free memory goes to the caches."""
_SPILL_SHARE = 0.2
"""At most this part of it holds evicted prefixes."""
_SPILL_MAX_BYTES = 8 << 30
_WORTH = 0.32
"""Prefilling a token of that model costs as much as reading its cell 1,000 times, a ratio that
grows as parameters / (layers x width)."""
_IDLE = 0.02
"""An idle prefix goes to RAM after this part of that time: coming back is cheap. Of a recorded
search, 0.05 to 0.01 cost the same, 7 % less than 1; the answers took 9.5 s of processor time."""


@dataclass(frozen=True)
class LanePlan:
    """The caches of one model on this machine."""

    count: int
    n_cells: int
    """Of each cache."""
    parallel: bool
    """Lanes on a thread each, rather than all threads on each lane in turn."""
    lends_threads: bool
    """A lane that alone has work gets the other lanes' threads; of no use to small models."""
    max_idle: int | None
    """Tokens decoded after which an unused prefix leaves the cache."""
    cells_a_token: int
    """How many readings of a cell cost as much as computing a prompt token."""
    flash_attention: bool
    n_batch: int = 512
    """Most tokens in one batch."""
    width: int = 32
    """Most branches in one decode batch; a CPU is saturated by then."""
    n_ubatch: int | None = None
    """Tokens computed at once; None: the context's default."""
    chunk: int = 512
    """Most prompt tokens in a batch that branches wait for."""
    spill_bytes: int = 0
    """RAM of each lane for evicted prefixes."""
    sequences: int = _MOST_SEQUENCES
    """Ids of each lane: one a branch, one a leaf of what is cached."""

    def tuned(self, tuning: Tuning) -> LanePlan:
        """The plan with measured batch shapes."""
        return replace(
            self,
            width=tuning.width,
            n_ubatch=tuning.micro_batch,
            n_batch=max(self.n_batch, tuning.micro_batch),
            flash_attention=tuning.flash_attention,
        )


def plan_lanes(
    model: Model, *, context_tokens: int, n_cells: int | None, gpu: bool, n_threads: int
) -> LanePlan:
    """Choose lanes for a model.

    Args:
        model: the loaded model.
        context_tokens: longest conversation; each cache holds at least one.
        n_cells: cells of all caches together; None = by the free memory.
        gpu: whether layers are computed on a GPU.
        n_threads: for all lanes together.

    Raises:
        ModelError: not even one conversation fits the free memory.
    """
    cell = max(1, model.header.cell_bytes())
    affordable = int(available_bytes() * _MEMORY_SHARE) // cell
    if affordable < context_tokens and n_cells is None and not gpu:
        raise ModelError(
            f"a conversation of {context_tokens:,} tokens needs"
            f" {context_tokens * cell / 2**30:.1f} GiB for its cache, more than is free",
            hint="Lower agent.context_tokens, close other programs, or use a smaller model.",
        )
    # Powers of two: evictions, and so the rounding of near ties, shall not follow small changes
    # of the free memory.
    spill = min(_SPILL_MAX_BYTES, int(available_bytes() * _SPILL_SHARE))
    spill = 1 << (spill.bit_length() - 1) if spill else 0
    if gpu:
        # A GPU wants width, and its flash attention is fast.
        cells = max(n_cells or _halved(_GPU_CELLS, affordable), context_tokens)
        return LanePlan(
            1,
            cells,
            parallel=False,
            lends_threads=False,
            max_idle=None,
            cells_a_token=1_000_000,
            flash_attention=True,
            n_batch=2048,
            width=_MOST_SEQUENCES // 2,
            spill_bytes=spill,
        )
    small = model.n_params < _SMALL
    # Two lanes of a thread each need not wait for one another after every operation. With more
    # threads they would only read the weights twice.
    large = (2, _LARGE_CELLS // 2) if n_threads == 2 else (1, _LARGE_CELLS)
    count, cells = next(
        ((count, cells) for limit, count, cells in _LANES if model.n_params < limit), large
    )
    total = n_cells or _halved(count * max(cells, context_tokens), affordable)
    while count > 1 and total // count < context_tokens:
        count //= 2
    width = model.header.architecture_value("embedding_length", 1)
    layers = model.header.architecture_value("block_count", 1)
    worth = _WORTH * model.n_params / max(1, width * layers)
    return LanePlan(
        count,
        max(total // count, context_tokens),
        parallel=small or count == 2,
        lends_threads=not small and count == 2,
        max_idle=int(worth * _IDLE) if spill else int(worth),
        cells_a_token=int(worth),
        flash_attention=not small,
        spill_bytes=spill // count,
        sequences=_FEW_SEQUENCES if small else _MOST_SEQUENCES,
    )


def plan_isolated(plan: LanePlan, *, context_tokens: int, n_threads: int) -> LanePlan:
    """The same for lanes that run one job at a time (``IsolatedLane``).

    How many cells there are decides how many samples grow at once, so it depends on the model
    and the recipe alone, not on the free memory.
    """
    count = n_threads if plan.parallel else 1
    spill = plan.spill_bytes * plan.count // count
    # Some kernels divide a sum between threads: their number shall not depend on what else runs.
    return replace(
        plan, count=count, n_cells=2 * context_tokens, spill_bytes=spill, lends_threads=False
    )


def _halved(cells: int, affordable: int) -> int:
    while cells > max(affordable, 1):
        cells //= 2
    return cells
