"""The CPU's faster steps change no result beyond rounding, and are undone afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from agentr_lite.actors.mlx.blas import use_fast_blas

use_fast_blas()
import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402

from agentr_lite.train import kernels as kernels_module  # noqa: E402
from agentr_lite.train.cpu import blockwise_attention, fast_kernels, freed_memory_kept  # noqa: E402
from agentr_lite.train.kernels import kernels  # noqa: E402

TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def on_the_cpu() -> Iterator[None]:
    before = mx.default_device()
    mx.set_default_device(mx.cpu)
    yield
    mx.set_default_device(before)


def attention(length: int, keys: int, mask: object, heads: int = 4) -> tuple[mx.array, mx.array]:
    """Output and the gradient of its sum of squares with respect to queries, keys and values."""
    # Fewer key heads than query heads, as in grouped-query models.
    shapes = ((2, heads, length, 16), (2, heads // 2, keys, 16), (2, heads // 2, keys, 16))
    arrays = [mx.random.normal(shape, key=mx.random.key(i)) for i, shape in enumerate(shapes)]

    def attend(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        return mx.fast.scaled_dot_product_attention(q, k, v, scale=0.25, mask=mask)

    gradients = mx.grad(lambda *a: attend(*a).square().sum(), argnums=(0, 1, 2))(*arrays)
    return attend(*arrays), mx.concatenate([g.flatten() for g in gradients])


@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 37])
def test_blocks_give_the_same_attention_and_gradients(length: int) -> None:
    whole, whole_gradient = attention(length, length, "causal")
    with blockwise_attention(block=8):
        parts, parts_gradient = attention(length, length, "causal")
    assert mx.abs(whole - parts).max().item() < TOLERANCE
    assert mx.abs(whole_gradient - parts_gradient).max().item() < TOLERANCE * 10


@pytest.mark.parametrize(
    ("length", "keys", "mask"), [(20, 30, "causal"), (20, 20, None), (20, 20, "array")]
)
def test_other_attention_is_left_alone(length: int, keys: int, mask: str | None) -> None:
    used: object = mx.random.normal((length, keys)) if mask == "array" else mask
    whole, _ = attention(length, keys, used)
    with blockwise_attention(block=8):
        parts, _ = attention(length, keys, used)
    assert mx.array_equal(whole, parts).item()


def test_it_is_undone_also_after_an_error() -> None:
    stock = mx.fast.scaled_dot_product_attention
    with pytest.raises(RuntimeError), blockwise_attention(), fast_kernels(), freed_memory_kept():
        assert mx.fast.scaled_dot_product_attention is not stock
        raise RuntimeError
    assert mx.fast.scaled_dot_product_attention is stock


@pytest.mark.parametrize("length", [1, 5, 127, 128, 129, 300])
@pytest.mark.parametrize("strided", [False, True])
def test_the_attention_kernel_is_mlx_attention(length: int, strided: bool) -> None:
    fast = kernels()
    if fast is None:
        pytest.skip("no kernels on this machine")

    def random(heads: int, seed: int) -> mx.array:
        # As models have them: heads behind tokens, and transposed.
        shape = (2, length, heads, 16) if strided else (2, heads, length, 16)
        array = mx.random.normal(shape, key=mx.random.key(seed))
        return array.transpose(0, 2, 1, 3) if strided else array

    arrays = random(6, 0), random(2, 1), random(2, 2)
    weights = mx.random.normal((2, 6, length, 16), key=mx.random.key(3))

    def stock(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        out = mx.fast.scaled_dot_product_attention(q, k, v, scale=0.25, mask="causal")
        return (out * weights).sum()

    def ours(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        return (fast.attention(q, k, v, 0.25) * weights).sum()

    _, wanted = mx.value_and_grad(stock, argnums=(0, 1, 2))(*arrays)
    _, gradients = mx.value_and_grad(ours, argnums=(0, 1, 2))(*arrays)
    out = mx.fast.scaled_dot_product_attention(*arrays, scale=0.25, mask="causal")
    assert mx.abs(fast.attention(*arrays, 0.25) - out).max().item() < TOLERANCE
    for one, other in zip(wanted, gradients, strict=True):
        assert mx.abs(one - other).max().item() < TOLERANCE


def test_the_silu_kernel_is_silu_also_far_out() -> None:
    fast = kernels()
    if fast is None:
        pytest.skip("no kernels on this machine")
    x = mx.concatenate([mx.linspace(-200, 200, 999), mx.random.normal((1000,))])
    wanted, gradient = mx.value_and_grad(lambda x: nn.silu(x).sum())(x)
    ours, our_gradient = mx.value_and_grad(lambda x: fast.silu(x).sum())(x)
    assert ours.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert mx.abs(fast.silu(x) - nn.silu(x)).max().item() < TOLERANCE
    assert mx.abs(our_gradient - gradient).max().item() < TOLERANCE


def test_the_cross_entropy_kernel_is_that_of_double_precision() -> None:
    fast = kernels()
    if fast is None:
        pytest.skip("no kernels on this machine")
    rng = np.random.default_rng(0)
    # As many columns as a large vocabulary, where sums of float32 lose digits.
    logits = (4 * rng.standard_normal((5, 50_001))).astype(np.float32)
    targets = rng.integers(0, 50_001, 5).astype(np.int32)
    weights = np.array([1, 0.5, 2, 1, 0], np.float32)
    losses, gradient = fast.cross_entropy(mx.array(logits), targets, weights)
    exact = logits.astype(np.float64)
    exact -= exact.max(axis=1, keepdims=True)
    sums = np.exp(exact).sum(axis=1, keepdims=True)
    picked = exact[np.arange(5), targets]
    assert losses == pytest.approx(weights * (np.log(sums[:, 0]) - picked), rel=1e-6)
    wanted = np.exp(exact) / sums
    wanted[np.arange(5), targets] -= 1
    wanted *= weights[:, None]
    assert np.abs(np.array(gradient) - wanted).max() < 1e-6


def test_without_a_compiler_there_are_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no compiler")

    monkeypatch.setattr(kernels_module, "compiled_library", fail)
    assert kernels.__wrapped__() is None
