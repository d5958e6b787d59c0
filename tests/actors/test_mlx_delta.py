"""Linear attention in blocks must be what mlx-lm computes token by token."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agentr_lite.actors.mlx.blas import use_fast_blas

use_fast_blas()


def inputs(tokens: int, *, decay: tuple[float, float] = (0.5, 1.0), like: float = 0.0) -> list[Any]:
    """Random ones: 2 rows, 2 heads of keys, 4 of values.

    Args:
        tokens: of each row.
        decay: the range of the decays.
        like: how far all keys are the same.
    """
    import mlx.core as mx

    rng = np.random.default_rng(tokens)
    q, k = (rng.standard_normal((2, tokens, 2, 8)) for _ in "qk")
    k += like * 10
    k /= np.linalg.norm(k, axis=-1, keepdims=True)
    v = rng.standard_normal((2, tokens, 4, 6))
    g, beta = rng.uniform(*decay, (2, tokens, 4)), rng.uniform(0, 1, (2, tokens, 4))
    state = rng.standard_normal((2, 4, 6, 8))
    return [mx.array(array, mx.float32) for array in (q, k, v, g, beta, state)]


@pytest.mark.parametrize("tokens", [2, 31, 32, 33, 64, 100])
@pytest.mark.parametrize(
    ("decay", "like"), [((0.5, 1.0), 0.0), ((1.0, 1.0), 1.0), ((0.0, 1e-3), 0.0)]
)
def test_same_outputs_states_and_gradients(
    tokens: int, decay: tuple[float, float], like: float
) -> None:
    import mlx.core as mx
    from mlx_lm.models.gated_delta import gated_delta_ops

    from agentr_lite.actors.mlx.delta import gated_delta_blocks

    given = inputs(tokens, decay=decay, like=like)
    rng = np.random.default_rng(0)
    weights = [
        mx.array(rng.standard_normal(shape), mx.float32)
        for shape in ((2, tokens, 4, 6), (2, 4, 6, 8))
    ]

    def total(compute: Any) -> Any:
        def loss(*arrays: Any) -> Any:
            results = compute(*arrays)
            return sum((each * by).sum() for each, by in zip(results, weights, strict=True))

        return mx.grad(loss, argnums=tuple(range(6)))(*given)

    for ours, theirs in zip(gated_delta_blocks(*given), gated_delta_ops(*given), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)
    names = ("q", "k", "v", "g", "beta", "state")
    for name, ours, theirs in zip(
        names, total(gated_delta_blocks), total(gated_delta_ops), strict=True
    ):
        # The logarithm of a decay of 0 has no slope.
        if name != "g" or decay[0] > 0:
            np.testing.assert_allclose(ours, theirs, atol=2e-3, err_msg=name)


def test_a_row_without_a_state_begins_with_zeros() -> None:
    import mlx.core as mx
    from mlx_lm.models.gated_delta import gated_delta_ops

    from agentr_lite.actors.mlx.delta import gated_delta_blocks

    given = inputs(40)[:5]
    (ours, state), (theirs, _) = gated_delta_blocks(*given), gated_delta_ops(*given)
    assert state.dtype == mx.float32
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_no_number_is_lost_where_a_decay_is_nought() -> None:
    import mlx.core as mx

    from agentr_lite.actors.mlx.delta import gated_delta_blocks

    q, k, v, g, beta, state = inputs(40)
    g[:, 10] = 0.0
    found = mx.grad(lambda g: gated_delta_blocks(q, k, v, g, beta, state)[0].sum())(g)
    assert np.isfinite(np.array(found)).all()


def test_models_use_it_within_only() -> None:
    from mlx_lm.models import gated_delta

    from agentr_lite.actors.mlx.delta import delta_in_blocks

    stock = gated_delta.gated_delta_ops
    with delta_in_blocks():
        assert gated_delta.gated_delta_ops is not stock
        y, _ = gated_delta.gated_delta_ops(*inputs(50))
    assert gated_delta.gated_delta_ops is stock
    np.testing.assert_allclose(y, stock(*inputs(50))[0], atol=2e-4)
