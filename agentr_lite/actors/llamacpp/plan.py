"""Plans the caches: how many there are, how large they are, and how long they keep idle prefixes.

The figures were measured on 2 CPU cores with llama.cpp of llama-cpp-python 0.3.36; see
``benchmarks/engine.py``. There, a model of 3M parameters decodes 4,400 tokens/s with two trees in a
cache, 3,400 with four and 1,300 with sixteen, because an attention step reads the whole cache.
Our own kernel (``attention``) reads no other trees' cells, so its lanes are few and large. What
follows is for machines where it cannot be compiled. llama.cpp's flash attention skips those cells
too. But its CPU kernel is slower on a tree's own cells, so that a recorded search takes this model
1.8 times as long. A 0.5B model is best with wide batches: one cache with flash attention takes 72 s
of processor time, four caches without it take 126 s.

Conversations can have cells of their own instead, see ``plan_streams``. Without our kernel, they
make evaluations of SmolLM2-135M 1.2 to 1.4 times as fast, and searches 1.0 to 1.1 times. With it,
evaluations take the same time, and searches are slower in them (``benchmarks/streams.py``). So only
models with recurrent layers need them, and those with sliding windows where memory is short.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from agentr_lite.actors.llamacpp.gguf_header import Header
from agentr_lite.actors.llamacpp.library import gpus
from agentr_lite.actors.llamacpp.machine import available_bytes
from agentr_lite.actors.llamacpp.windows import (
    MICRO_BATCH,
    rounded,
    saves_memory,
    window_bytes,
    windowed_bytes,
)
from agentr_lite.core.errors import ModelError

if TYPE_CHECKING:
    # It asks llama.cpp, which the plan of a run does without.
    from agentr_lite.actors.llamacpp.tuning import Tuning

SEQUENCES = 256
"""llama.cpp's number of sequence ids; a larger id aborts the process."""
_SMALL = 200e6
"""Up to this many parameters, a step is too short to divide it between threads."""
_LANES = ((50e6, 16, 4096), (_SMALL, 8, 2048))
"""(parameters, lanes, cells): the plan up to this many parameters; larger models get 1 or 2. A lane
has at least the cells of one conversation."""
_KERNEL_LANES = ((50e6, 4), (_SMALL, 2))
"""(parameters, lanes): the plan where our own kernel computes attention. It reads no other
trees' cells, so lanes may be few and large. Then more branches share a step, and fewer prefixes are
computed in several lanes: with 16 lanes, a search of the starter decodes 1.9 times as many prompt
tokens as with 4 (``benchmarks/streams.py``). There are no fewer lanes than threads."""
_KERNEL_CELLS = 16_384
"""Of each of these lanes."""
_LITTLE_BYTES = 320 << 20
"""Caches up to this size are not made smaller where fewer tokens are in play."""
_STREAMS = (50e6, _SMALL)
"""Models of this size get streams unasked where there is no kernel of our own, in parameters (from,
to). Smaller models lose by them:
see docs/performance.md. Larger ones were not measured."""
_FEW_STREAMS = 4
_BUFFERS = 2
"""Streams that a lane holds in RAM while it copies and exchanges them."""
_MANY_STREAMS = 16
"""Streams of a lane. A step of more is hardly faster for each: see docs/performance.md."""
_CHECKPOINTS = 16
"""Saved states of a conversation, of recurrent layers or windows: about one a turn."""
_FEW_CONVERSATIONS = 1
"""If caches of all tokens' cells hold fewer, windows' cells alone are kept."""
_MUCH_BYTES = 256 << 20
"""Caches that take more get fewer lanes, but two for each thread; not those of the smallest
models, whose lanes matter most."""
_MOST_SEQUENCES = SEQUENCES - 1
_FEW_SEQUENCES = 95
"""Sequence ids of a small model's lane: enough for twice 32 branches and for idle prefixes."""
_LARGE_CELLS = 32_768
_GPU_CELLS = 65_536
_MEMORY_SHARE = 0.4
"""Largest share of the free memory for the caches."""
_SPILL_SHARE = 0.2
"""Largest share of the free memory for evicted prefixes."""
_SPILL_MAX_BYTES = 8 << 30
_WORTH = 0.32
"""Prefilling a token costs as much as reading this many cells, times parameters / (layers x
width); for the 3M-parameter model, about 1,000 cells."""
_IDLE = 0.02
"""With spill, an idle prefix is evicted this many times earlier, because restoring it is cheap. On
a recorded search, values from 0.01 to 0.05 cost the same, and 7 % less than 1."""


class Sized(Protocol):
    """What the plan depends on: a ``Model``, or its file's header alone."""

    @property
    def header(self) -> Header:
        """The header of the model's file."""

    @property
    def n_params(self) -> int:
        """Number of parameters."""


@dataclass(frozen=True)
class LanePlan:
    """The caches of one model on this machine."""

    count: int
    n_cells: int
    """Cells of each cache."""
    parallel: bool
    """Each lane runs on its own thread; otherwise all threads work on one lane after the other."""
    lends_threads: bool
    """If only one lane has work, it uses all threads. This does not help small models."""
    max_idle: int | None
    """An unused prefix leaves the cache after this many decoded tokens."""
    cells_a_token: int
    """Computing a prompt token costs as much as reading this many cells."""
    flash_attention: bool
    n_batch: int = 512
    """Most tokens in one batch."""
    width: int = 32
    """Most branches in one decode batch; more do not make a CPU faster."""
    n_ubatch: int | None = None
    """Tokens computed at once; None: the context's default."""
    chunk: int = 512
    """Most prompt tokens in a batch that branches wait for."""
    spill_bytes: int = 0
    """RAM for each lane's evicted prefixes."""
    sequences: int = _MOST_SEQUENCES
    """Sequence ids of each lane: one for each branch and for each leaf in the cache."""
    streams: int = 0
    """Conversations that each lane holds in cells of their own (``StreamLane``); 0: all share the
    lane's cells (``Lane``)."""
    copy_tokens: int = 4
    """Copying a stream costs as much as prefilling this many tokens: about 10 ms with 900 tokens of
    SmolLM2-135M, where a token takes 4 to 7 ms, and a prompt takes 10 to 20 ms in addition."""
    copy_bytes: int = 0
    """Most RAM of each lane for copying streams."""
    state_bytes: int = 0
    """Bytes of each stream for the state of recurrent layers or for its windows, beside the cells
    of other layers."""
    window: int = 0
    """Tokens of the sliding window whose cells alone are kept in layers that have one; 0: all."""

    def tuned(self, tuning: Tuning) -> LanePlan:
        """This plan with measured batch shapes; those of decoding do not concern streams."""
        if self.window:
            # The cells of a window have room for its own micro-batch.
            return self
        if self.streams:
            return replace(
                self,
                n_ubatch=tuning.micro_batch,
                n_batch=max(self.n_batch, tuning.micro_batch),
            )
        return replace(
            self,
            width=tuning.width,
            n_ubatch=tuning.micro_batch,
            n_batch=max(self.n_batch, tuning.micro_batch),
            flash_attention=tuning.flash_attention,
        )


def plan_lanes(
    model: Sized,
    *,
    context_tokens: int,
    n_cells: int | None,
    gpu: bool,
    n_threads: int,
    live_tokens: int | None = None,
    streams: bool | None = None,
    windowed: bool | None = None,
    kernel: bool = False,
) -> LanePlan:
    """Choose lanes for a model.

    Args:
        model: the model, which need not be loaded.
        context_tokens: longest conversation; each cache holds at least one.
        n_cells: cells of all caches together; None: chosen by the free memory.
        gpu: whether layers are computed on a GPU; then the cache is in the GPU's memory.
        n_threads: threads of all lanes together.
        live_tokens: most tokens of all conversations that are in play at a time; None: unknown.
            Evicted prefixes beyond these are those of conversations that are over.
        streams: whether each conversation gets cells of its own; None: if the model is of medium
            size and there is no kernel. There are none on a GPU or in a small memory. Models with
            recurrent layers always have them. A stream's copy has its windows' cells only, so
            streams of a model with windows keep no others.
        windowed: whether layers with a sliding window keep the window's cells only, if that takes
            less memory; None: if the cells of all tokens do not fit. See ``windows``.
        kernel: whether our own kernel computes attention on a CPU (``attention``).

    Raises:
        ModelError: one conversation does not fit the free memory.
    """
    cell = max(1, model.header.cell_bytes())
    free = int((_gpu_bytes() if gpu else available_bytes()) * _MEMORY_SHARE)
    short = n_cells is None and _needs_windows(model.header, context_tokens, free)
    wanted = short if windowed is None else windowed
    alone = (wanted and saves_memory(model.header, context_tokens)) or (streams and not gpu)
    if model.header.recurrent or (model.header.window and alone):
        return plan_checkpoints(
            model,
            context_tokens=context_tokens,
            n_cells=n_cells,
            gpu=gpu,
            n_threads=n_threads,
            live_tokens=live_tokens,
            windowed=not model.header.recurrent,
            kernel=kernel,
        )
    affordable = free // cell
    if affordable < context_tokens and n_cells is None:
        raise ModelError(
            f"a conversation of {context_tokens:,} tokens needs"
            f" {context_tokens * cell / 2**30:.1f} GiB for its cache, more than is free"
            + (" on the GPU" if gpu else ""),
            hint="Lower agent.context_tokens, close other programs, or use a smaller model."
            + (" Without agent.deterministic, the cells of its windows are enough." * short),
        )
    spill = _spill_bytes()
    live = affordable if live_tokens is None else max(live_tokens, context_tokens)
    spill = min(spill, max(live * cell, _LITTLE_BYTES))
    live = max(live, _LITTLE_BYTES // cell)
    if gpu:
        # A GPU needs wide batches, and its flash attention is fast.
        cells = max(n_cells or min(live, _halved(_GPU_CELLS, affordable)), context_tokens)
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
    # Two lanes with one thread each need not wait for each other after every operation. With
    # more threads, they would only read the weights twice.
    large = (2, _LARGE_CELLS // 2) if n_threads == 2 else (1, _LARGE_CELLS)
    lanes: tuple[tuple[float, int, int], ...] = _LANES
    if kernel:
        lanes = tuple((limit, max(n, n_threads), _KERNEL_CELLS) for limit, n in _KERNEL_LANES)
    count, cells = next(
        ((count, cells) for limit, count, cells in lanes if model.n_params < limit), large
    )
    # Idle prefixes wait in RAM, so a lane seldom holds more than the conversation that it computes.
    medium = _LANES[0][0] <= model.n_params < _SMALL
    while medium and spill and count > 2 * n_threads and count * cells * cell > _MUCH_BYTES:
        count //= 2
    total = n_cells or min(live, _halved(count * max(cells, context_tokens), affordable))
    while count > 1 and total // count < context_tokens:
        count //= 2
    width = model.header.architecture_value("embedding_length", 1)
    layers = model.header.architecture_value("block_count", 1)
    worth = _WORTH * model.n_params / max(1, width * layers)
    plan = LanePlan(
        count,
        max(total // count, context_tokens),
        parallel=small or count == 2,
        lends_threads=not small and count == 2,
        max_idle=int(worth * _IDLE) if spill else int(worth),
        cells_a_token=int(worth),
        flash_attention=kernel or not small,
        spill_bytes=spill // count,
        sequences=_FEW_SEQUENCES if small and not kernel else _MOST_SEQUENCES,
    )
    # A sliding window was not measured, or is of an unknown kind.
    slides = model.header.architecture_value("attention.sliding_window")
    if streams is None:
        medium = _STREAMS[0] <= model.n_params < _STREAMS[1]
        streams = medium and not (slides or kernel) and n_cells is None and live_tokens is not None
    if not streams or slides:
        return plan
    most = None if live_tokens is None else -(-live_tokens // context_tokens)
    return plan_streams(
        plan,
        cell=cell,
        context_tokens=context_tokens,
        n_threads=n_threads,
        most=most,
        kernel=kernel,
    )


def plan_streams(
    plan: LanePlan,
    *,
    cell: int,
    context_tokens: int,
    n_threads: int,
    most: int | None = None,
    kernel: bool = False,
) -> LanePlan:
    """The plan for lanes whose conversations have cells of their own (``StreamLane``).

    There are not more lanes than threads. A lane has a stream for each of its conversations and
    one more, and at most 16. All streams, the RAM for copying them and the RAM for overwritten ones
    together take no more memory than the caches and the RAM for evicted prefixes of ``plan``. But
    streams take their part at once, while evicted prefixes take theirs as they come.

    Args:
        plan: for lanes with shared cells.
        cell: bytes of a token's keys and values.
        context_tokens: longest conversation; a stream holds one.
        n_threads: threads of all lanes together.
        most: most conversations that are in play at a time; None: unknown.
        kernel: whether our own kernel computes attention on a CPU.

    Returns:
        The plan, or ``plan`` itself if a lane would hold too few conversations to gain.
    """
    size = rounded(context_tokens)
    budget = plan.count * (plan.n_cells * cell + plan.spill_bytes)
    fitting = budget // (size * cell)
    count = min(n_threads, plan.count)
    # A copy for a sample that parts from its siblings needs a stream as well.
    wanted = _MANY_STREAMS if most is None else min(_MANY_STREAMS, -(-most // count) + 1)
    streams = min(wanted, fitting // count - _BUFFERS)
    if streams < min(wanted, _FEW_STREAMS):
        return plan
    several = count > 1
    return replace(
        plan,
        count=count,
        n_cells=streams * size,
        # A large model's only lane uses all threads.
        parallel=plan.parallel and (several or not plan.lends_threads),
        lends_threads=plan.lends_threads and several,
        # llama.cpp's would halve the speed, and there are no foreign cells to skip.
        flash_attention=kernel,
        spill_bytes=budget // count - (streams + _BUFFERS) * size * cell,
        copy_bytes=_BUFFERS * size * cell,
        sequences=streams,
        streams=streams,
    )


def plan_checkpoints(
    model: Sized,
    *,
    context_tokens: int,
    n_cells: int | None,
    gpu: bool,
    n_threads: int,
    live_tokens: int | None,
    windowed: bool,
    kernel: bool,
) -> LanePlan:
    """The plan for recurrent layers, or windows' cells alone: lanes of streams (``StreamLane``).

    Such a state cannot be shared or cut back, so each conversation needs a stream, and RAM is
    needed for the states at which conversations part. See ``plan_lanes``.

    Raises:
        ModelError: one conversation does not fit the free memory.
    """
    size = rounded(context_tokens)
    header = model.header
    if windowed:
        state, one = window_bytes(header, size), windowed_bytes(header, size)
    else:
        state = header.state_bytes()
        one = max(1, size * header.cell_bytes() + state)
    free = _gpu_bytes() if gpu else available_bytes()
    fitting = int(free * _MEMORY_SHARE) // one
    if fitting <= _BUFFERS and n_cells is None:
        raise ModelError(
            f"a conversation of {context_tokens:,} tokens needs {one / 2**30:.1f} GiB for its cells"
            f" and its state, and as much for each of {_BUFFERS} copies: more than is free"
            + (" on the GPU" if gpu else ""),
            hint="Lower agent.context_tokens, close other programs, or use a smaller model.",
        )
    small = model.n_params < _SMALL
    count = 1 if gpu else n_threads if small else 2 if n_threads == 2 else 1
    most = None if live_tokens is None else -(-live_tokens // context_tokens)
    wanted = _MANY_STREAMS if most is None else min(_MANY_STREAMS, -(-most // count) + 1)
    while count > 1 and fitting // count < min(wanted, _FEW_STREAMS) + _BUFFERS:
        count -= 1
    if n_cells is not None:
        streams = max(1, min(wanted, n_cells // (count * size)))
    elif fitting // count >= wanted + _BUFFERS:
        streams = wanted
    else:
        # As for the spill.
        streams = 1 << ((fitting // count - _BUFFERS).bit_length() - 1)
    spill = _spill_bytes()
    if most is not None:
        spill = min(spill, max(most * (one + _CHECKPOINTS * state), _LITTLE_BYTES))
    return LanePlan(
        count,
        streams * size,
        parallel=small or count > 1,
        lends_threads=not small and count > 1,
        max_idle=None,
        cells_a_token=1_000_000,
        flash_attention=gpu or kernel,
        n_batch=2048 if gpu else 512,
        spill_bytes=spill // count,
        sequences=streams,
        streams=streams,
        n_ubatch=MICRO_BATCH if windowed else None,
        copy_bytes=_BUFFERS * one,
        state_bytes=state,
        window=header.window if windowed else 0,
    )


def keeps_windows(header: Header, context_tokens: int) -> bool:
    """Whether ``plan_lanes`` would keep windows' cells alone, in RAM and unasked."""
    return _needs_windows(header, context_tokens, int(available_bytes() * _MEMORY_SHARE))


def _needs_windows(header: Header, context_tokens: int, free: int) -> bool:
    """Whether the cells of all tokens do not fit, and those of windows alone do.

    Args:
        header: of the model.
        context_tokens: longest conversation.
        free: bytes for all caches.
    """
    if not saves_memory(header, context_tokens):
        return False
    whole = free // max(1, context_tokens * header.cell_bytes())
    windowed = free // windowed_bytes(header, context_tokens) - _BUFFERS
    return whole < _FEW_CONVERSATIONS and windowed > whole


def _spill_bytes() -> int:
    """RAM for evicted prefixes of all lanes."""
    # Powers of two, so that small changes of the free memory do not change evictions, which
    # change the rounding and thereby near ties.
    spill = min(_SPILL_MAX_BYTES, int(available_bytes() * _SPILL_SHARE))
    return 1 << (spill.bit_length() - 1) if spill else 0


def _gpu_bytes() -> int:
    """Free memory of all GPUs, over which llama.cpp spreads the layers and their caches."""
    found = gpus()
    free = sum(gpu.free_bytes for gpu in found)
    return min(free, available_bytes()) if any(gpu.shares_ram for gpu in found) else free


def _halved(cells: int, affordable: int) -> int:
    while cells > max(affordable, 1):
        cells //= 2
    return cells
