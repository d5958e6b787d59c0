"""The kernel for attention on a CPU: against numpy, and in llama.cpp's graph."""

from __future__ import annotations

import ctypes
import itertools
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from agentr_lite.actors.base import GenerateRequest, Sampling
from agentr_lite.actors.llamacpp import attention
from agentr_lite.actors.llamacpp import context as context_module
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.actors.llamacpp.attention import Attention, attention_kernel
from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.library import load_library
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.registry import resolve_model
from agentr_lite.core.errors import ModelError
from tests.support.tiny_windows import WINDOW, write_tiny_windows

F32, F16 = 0, 1
STARTER = resolve_model("starter").gguf
kernel = attention_kernel()
pytestmark = pytest.mark.skipif(
    kernel is None, reason="no C compiler here, or no vectors that the kernel knows"
)


def _kernels() -> list[tuple[str, ...]]:
    """Flags for each version of the kernel that this processor can run."""
    flags = attention._processor_flags()
    return [] if flags is None else [flags] + ([attention._AVX2] if len(flags) > 3 else [])


class Graph:
    """ggml tensors with given numbers, and one node of flash attention over them."""

    def __init__(self) -> None:
        self.lib: Any = load_library()._lib
        fields = [("size", ctypes.c_size_t), ("at", ctypes.c_void_p), ("none", ctypes.c_bool)]
        self._memory = type("Memory", (ctypes.Structure,), {"_fields_": fields})
        for name, arguments in {
            "ggml_init": [self._memory],
            "ggml_new_tensor_4d": [ctypes.c_void_p, ctypes.c_int] + [ctypes.c_int64] * 4,
            "ggml_permute": [ctypes.c_void_p] * 2 + [ctypes.c_int] * 4,
            "ggml_flash_attn_ext": [ctypes.c_void_p] * 5 + [ctypes.c_float] * 3,
            "ggml_get_data": [ctypes.c_void_p],
        }.items():
            function = getattr(self.lib, name)
            function.argtypes, function.restype = arguments, ctypes.c_void_p
        self.lib.ggml_free.argtypes = [ctypes.c_void_p]
        self.lib.ggml_op_desc.argtypes = [ctypes.c_void_p]
        self.lib.ggml_op_desc.restype = ctypes.c_char_p
        self.memory = self.lib.ggml_init(self._memory(64 << 20, None, False))

    def tensor(self, values: npt.NDArray[Any]) -> int:
        """A tensor with the same order of numbers in memory."""
        kind = F16 if values.dtype == np.float16 else F32
        made = int(self.lib.ggml_new_tensor_4d(self.memory, kind, *values.shape[::-1]))
        dense = np.ascontiguousarray(values)
        ctypes.memmove(self.lib.ggml_get_data(made), dense.ctypes.data, dense.nbytes)
        return made

    def node(
        self,
        q: npt.NDArray[Any],
        k: npt.NDArray[Any],
        v: npt.NDArray[Any],
        mask: npt.NDArray[Any] | None,
        *,
        bias: float = 0.0,
        cap: float = 0.0,
    ) -> int:
        """Flash attention; q has the axes streams, tokens, heads and size, k and v have cells."""
        q_, k_, v_ = (
            self.lib.ggml_permute(self.memory, self.tensor(x), 0, 2, 1, 3) for x in (q, k, v)
        )
        seen = None if mask is None else self.tensor(mask)
        scale = 1 / np.sqrt(q.shape[-1])
        return int(self.lib.ggml_flash_attn_ext(self.memory, q_, k_, v_, seen, scale, bias, cap))

    def numbers(self, node: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """What a node's memory holds."""
        count = int(np.prod(shape))
        array = (ctypes.c_float * count).from_address(self.lib.ggml_get_data(node))
        return np.array(array, np.float32).reshape(shape)


@pytest.fixture
def graph() -> Iterator[Graph]:
    graph = Graph()
    yield graph
    graph.lib.ggml_free(graph.memory)


def computed(
    graph: Graph,
    parts: tuple[npt.NDArray[Any], ...],
    *,
    threads: int = 1,
    library: ctypes.CDLL | None = None,
) -> npt.NDArray[np.float32]:
    """The kernel's result, shape (streams, tokens, heads, size of a value)."""
    q, _k, v, _mask = parts
    library = library or kernel
    assert library is not None
    node = graph.node(*parts)
    ours = Attention(library, threads)
    assert _step(library, node, ours, ask=True)
    assert graph.lib.ggml_op_desc(node) == b"NONE", "llama.cpp would compute it as well"
    assert _step(library, node, ours, ask=False)
    assert graph.lib.ggml_op_desc(node) == b"FLASH_ATTN_EXT", "the graph is used again"
    assert ours.steps == 1
    ours.close()
    return graph.numbers(node, (*q.shape[:3], v.shape[-1]))


def _step(library: ctypes.CDLL, node: int, ours: Attention, *, ask: bool) -> bool:
    step = library.attention_step
    step.argtypes = [ctypes.c_void_p, ctypes.c_bool, ctypes.c_void_p]
    step.restype = ctypes.c_bool
    return bool(step(node, ask, ours.data))


def drawn(
    seed: int, streams: int, tokens: int, key_heads: int, share: int, cells: int, size: int
) -> tuple[npt.NDArray[Any], ...]:
    """Random queries, keys, values and a mask in which each token sees some cells."""
    rng = np.random.default_rng(seed)
    q = rng.normal(0, 3, (streams, tokens, key_heads * share, size)).astype(np.float32)
    k, v = rng.normal(0, 1, (2, streams, cells, key_heads, size)).astype(np.float16)
    mask = np.full((streams, 1, tokens, cells), -np.inf, np.float16)
    for stream, token in itertools.product(range(streams), range(tokens)):
        begin, end = sorted(rng.choice(cells, 2, replace=False))
        mask[stream, 0, token, begin : end + 1] = 0
        mask[stream, 0, token, rng.integers(cells, size=5)] = -0.5
    return q, k, v, mask


def expected(
    q: npt.NDArray[Any], k: npt.NDArray[Any], v: npt.NDArray[Any], mask: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    share = q.shape[2] // k.shape[2]
    k, v = (np.repeat(x.astype(np.float64), share, axis=2) for x in (k, v))
    scores = np.einsum("sthd,schd->shtc", q.astype(np.float64), k) / np.sqrt(q.shape[-1])
    scores += mask.astype(np.float64)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    result: npt.NDArray[np.float64] = np.einsum("shtc,schd->sthd", weights, v)
    return result


@pytest.mark.parametrize("flags", _kernels())
@pytest.mark.parametrize(
    ("streams", "tokens", "key_heads", "share", "cells", "size"),
    [(3, 1, 3, 3, 256, 64), (1, 40, 2, 7, 512, 64), (2, 5, 1, 4, 256, 128), (1, 3, 5, 1, 768, 80),
     (1, 2, 2, 2, 256, 16), (1, 1, 4, 9, 256, 96), (2, 6, 1, 4, 512, 256)],
)  # fmt: skip
def test_equals_numpy(
    graph: Graph,
    flags: tuple[str, ...],
    streams: int,
    tokens: int,
    key_heads: int,
    share: int,
    cells: int,
    size: int,
) -> None:
    library = attention._compiled(flags)
    parts = drawn(size + cells, streams, tokens, key_heads, share, cells, size)
    result = computed(graph, parts, library=library)
    np.testing.assert_allclose(result, expected(*parts), rtol=0, atol=1e-5)


def test_numbers_of_masked_cells_do_not_matter(graph: Graph) -> None:
    """A cell of another sequence may hold what is no number."""
    q, k, v, mask = drawn(1, 2, 3, 2, 3, 256, 64)
    seen = np.isfinite(mask).any(axis=(1, 2))
    mask[:] = np.where(seen[:, None, None], 0, -np.inf)
    right = computed(graph, (q, k, v, mask))
    k[~seen], v[~seen] = np.nan, np.inf
    assert np.array_equal(computed(graph, (q, k, v, mask)), right)


def test_neither_threads_nor_company_change_a_bit(graph: Graph) -> None:
    q, k, v, mask = drawn(2, 2, 6, 3, 3, 512, 64)
    together = computed(graph, (q, k, v, mask))
    for threads in (2, 3, 8):
        assert np.array_equal(computed(graph, (q, k, v, mask), threads=threads), together)
    alone = computed(graph, (q[1:, 4:5], k[1:], v[1:], mask[1:, :, 4:5]), threads=2)
    assert np.array_equal(alone, together[1:, 4:5])


def test_where_a_conversations_cells_lie_does_not_change_a_bit(graph: Graph) -> None:
    """Conversations that advance in lockstep lie in the cache cell by cell between each other."""
    q, k, v, mask = drawn(4, 1, 3, 3, 3, 512, 64)
    mask[:] = -np.inf
    mask[..., :75] = 0
    together = computed(graph, (q, k, v, mask))
    cells = np.sort(np.random.default_rng(5).choice(512, 75, replace=False))
    far_k, far_v = np.full_like(k, np.nan), np.full_like(v, np.nan)
    far_k[:, cells], far_v[:, cells] = k[:, :75], v[:, :75]
    far_mask = np.full_like(mask, -np.inf)
    far_mask[..., cells] = 0
    assert np.array_equal(computed(graph, (q, far_k, far_v, far_mask)), together)


def test_leaves_what_it_cannot_compute(graph: Graph) -> None:
    q, k, v, mask = drawn(3, 1, 1, 2, 2, 256, 64)
    nodes = [
        graph.node(q, k, v, mask, bias=8.0),
        graph.node(q, k, v, mask, cap=30.0),
        graph.node(q, k.astype(np.float32), v.astype(np.float32), mask),
        graph.node(q[..., :8], k[..., :8], v[..., :8], mask),
        graph.node(q, k[:, :250], v[:, :250], mask[..., :250]),
        graph.tensor(q),
    ]
    assert kernel is not None
    ours = Attention(kernel, 1)
    for node in nodes:
        before = graph.lib.ggml_op_desc(node)
        assert not _step(kernel, node, ours, ask=True)
        assert graph.lib.ggml_op_desc(node) == before
    ours.close()


@pytest.mark.parametrize("unified", [True, False])
def test_logits_are_as_near_to_exact_ones_as_llama_cpps(
    monkeypatch: pytest.MonkeyPatch, unified: bool
) -> None:
    model = Model(STARTER)
    errors = {}
    exact = _logits(model, unified, exact=True)
    for name, found in (("ours", kernel), ("theirs", None)):
        monkeypatch.setattr(context_module, "attention_kernel", lambda found=found: found)
        difference = _logits(model, unified, ours=bool(found)) - exact
        errors[name] = float(np.sqrt(np.square(difference).mean()))
    assert 0 < errors["ours"] < 0.05
    # The quantized weights' products, which round the activations, differ by more than attention.
    assert errors["ours"] < 1.5 * errors["theirs"]
    model.close()


@pytest.mark.parametrize("unified", [True, False])
def test_it_reads_each_tokens_own_window(tmp_path: Path, unified: bool) -> None:
    """Four conversations lie in the cache cell by cell between each other, or in their windows'
    cells, which are used again and again. Both go on until their windows have left the prompt."""
    model = Model(write_tiny_windows(tmp_path / "m.gguf", "gemma3"))
    window = 0 if unified else WINDOW
    exact, ours, theirs = (
        _logits(model, unified, window=window, micro_batch=64, steps=2 * WINDOW, **how)
        for how in ({"exact": True}, {"ours": True}, {"flash": False})
    )
    off = [float(np.sqrt(np.square(each - exact).mean())) for each in (ours, theirs)]
    assert 0 < off[0] < 1.5 * off[1]
    assert off[1] < 0.01 * float(exact.std())
    model.close()


def _logits(
    model: Model,
    unified: bool,
    *,
    exact: bool = False,
    ours: bool = False,
    flash: bool | None = None,
    window: int = 0,
    micro_batch: int = 512,
    steps: int = 6,
) -> npt.NDArray[np.float32]:
    """Of four sequences that share a prompt and go on differently, over some steps."""
    context = Context(
        model,
        n_cells=2048,
        n_batch=512,
        n_threads=1,
        sequences=4,
        unified=unified,
        exact=exact,
        flash_attention=not exact if flash is None else flash,
        n_ubatch=micro_batch,
        window=window,
    )
    prompt = model.tokenize("Goal: craft 4 oak planks. You have 1 oak log. " * 8)
    count = len(prompt)
    context.decode(prompt, range(count), [0] * count, outputs=0)
    for sequence in range(1, 4):
        if unified:
            context.copy_sequence(0, sequence, count)
        else:
            context.copy_stream(0, [sequence])
    rows = [
        context.decode(
            [prompt[(5 * step + s) % count] for s in range(4)],
            [count + step] * 4,
            range(4),
            outputs=4,
        ).copy()
        for step in range(steps)
    ]
    assert (context.attention is not None) == ours
    if context.attention:
        layers = model.header.architecture_value("block_count")
        assert context.attention.steps == (-(-count // micro_batch) + steps) * layers
    context.close()
    return np.stack(rows)


def test_a_failed_batch_does_no_harm() -> None:
    model = Model(STARTER)
    prompt = model.tokenize("Goal: craft 4 oak planks. You have 1 oak log. " * 16)[:200]
    results = []
    for fail in (False, True):
        context = Context(
            model, n_cells=256, n_batch=512, n_threads=1, sequences=1, flash_attention=True
        )
        context.decode(prompt, range(200), [0] * 200, outputs=0)
        if fail:
            with pytest.raises(ModelError, match="the cache is full"):
                context.decode(prompt, range(200, 400), [0] * 200, outputs=0)
            context.remove(0, 200)
        results.append(context.decode([7], [200], [0], outputs=1).copy())
        context.close()
    assert np.array_equal(*results)
    model.close()


_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(
    not _PAGES.exists() or "[never]" in _PAGES.read_text(), reason="the system has no large pages"
)
def test_cells_that_nobody_used_take_no_memory() -> None:
    """llama.cpp has written zeros to the whole cache; most of it is given back for large pages."""
    model = Model(STARTER)
    before = _resident()
    context = Context(
        model, n_cells=1 << 16, n_batch=512, n_threads=1, sequences=1, flash_attention=True
    )
    filled = _resident() - before
    prompt = model.tokenize("Goal: craft 4 oak planks. You have 1 oak log. " * 8)[:100]
    context.decode(prompt, range(100), [0] * 100, outputs=0)
    used = _resident() - before
    assert filled > 128 << 20
    assert used < filled / 2
    context.close()
    model.close()


def _resident() -> int:
    """Bytes of this process that lie in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def test_an_actor_uses_it_on_the_processor() -> None:
    actor = LlamaCppActor(STARTER, context_tokens=512, n_threads=2)
    actor.generate(
        [GenerateRequest([{"role": "user", "content": "Hello"}], (1, 2), Sampling(max_tokens=4))]
    )
    lanes = [lane.context.attention for lane in actor._lanes.lanes]
    assert all(lanes) and any(ours.steps for ours in lanes if ours)
    actor.close()


@pytest.mark.parametrize("missing", ["compiler", "headers", "other headers"])
def test_without_it_llama_cpp_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "compiler":
        monkeypatch.setenv("CC", str(tmp_path / "no-such-compiler"))
        monkeypatch.setenv("AGENTR_LITE_COMPILED", str(tmp_path))
    elif missing == "headers":
        monkeypatch.setattr(attention, "_headers", lambda: tmp_path / "ggml.h")
    else:
        true = attention._headers().read_text("utf-8")
        (tmp_path / "ggml.h").write_text(true.replace("char name[", "char more[8]; char name["))
        monkeypatch.setattr(attention, "_headers", lambda: tmp_path / "ggml.h")
    attention_kernel.cache_clear()
    try:
        assert attention_kernel() is None
        actor = LlamaCppActor(STARTER, context_tokens=512)
        request = GenerateRequest([{"role": "user", "content": "Hello"}], (1,), Sampling())
        assert actor.generate([request])[0].completions[0].output_tokens
        assert not any(lane.context.attention for lane in actor._lanes.lanes)
        actor.close()
    finally:
        attention_kernel.cache_clear()
