"""Matrix products in bfloat16 are right to their precision, and trainings with them repeatable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentr_lite.actors.mlx.blas import use_fast_blas

use_fast_blas()
import mlx.core as mx  # noqa: E402

from agentr_lite.core.errors import UsageError  # noqa: E402
from agentr_lite.train import bfloat16  # noqa: E402
from agentr_lite.train.bfloat16 import bfloat16_products, check_bfloat16  # noqa: E402
from agentr_lite.train.lora import train_lora  # noqa: E402
from tests.support.command_line import Call, one_error  # noqa: E402
from tests.support.tiny_hf import make_tiny_hf  # noqa: E402
from tests.train.test_train_lora import SETTINGS, TRAIN, VALID  # noqa: E402

STEP = 2.0**-8
"""Largest relative error of rounding to bfloat16."""


def reason() -> str:
    try:
        check_bfloat16()
    except UsageError as error:
        return error.message
    return ""


@pytest.fixture
def units() -> None:
    if missing := reason():
        pytest.skip(missing)


@pytest.fixture(autouse=True)
def a_new_search() -> Iterator[None]:
    bfloat16._sgemm.cache_clear()
    yield
    bfloat16._sgemm.cache_clear()


def matrix(rows: int, columns: int, seed: int) -> mx.array:
    return mx.random.normal((rows, columns), key=mx.random.key(seed))


def error(result: mx.array, left: mx.array, right: mx.array, factor: float = 1.0) -> float:
    """Largest error of a product, relative to the sum of its terms' sizes."""
    a, b = (np.array(each, dtype=np.float64) for each in (left, right))
    terms = np.abs(a) @ np.abs(b)
    return float(np.max(np.abs(np.array(result) - factor * (a @ b)) / (factor * terms)))


@pytest.mark.usefixtures("units")
@pytest.mark.parametrize("turned", ["neither", "left", "right", "both"])
@pytest.mark.parametrize("sizes", [(200, 96, 160), (129, 255, 67), (1, 4096, 600)])
def test_products_are_right_to_the_precision_of_their_factors(
    turned: str, sizes: tuple[int, int, int]
) -> None:
    m, n, k = sizes
    left = matrix(k, m, 1).T if turned in ("left", "both") else matrix(m, k, 1)
    right = matrix(n, k, 2).T if turned in ("right", "both") else matrix(k, n, 2)
    exact = left @ right
    mx.eval(exact)
    assert error(exact, left, right) < 1e-6
    with bfloat16_products():
        # Twice: the second one finds everything prepared.
        for _ in range(2):
            rounded = left @ right
            mx.eval(rounded)
            assert 1e-6 < error(rounded, left, right) < 2 * STEP
    again = left @ right
    mx.eval(again)
    assert mx.array_equal(exact, again), "afterwards, products are what they were"


@pytest.mark.usefixtures("units")
def test_a_product_is_scaled_and_added() -> None:
    left, right, base = matrix(256, 192, 1), matrix(192, 320, 2), matrix(256, 320, 3)
    with bfloat16_products():
        result = mx.addmm(base, left, right, alpha=2.0, beta=0.5) - 0.5 * base
        mx.eval(result)
    assert 1e-6 < error(result, left, right, factor=2.0) < 2 * STEP


@pytest.mark.usefixtures("units")
def test_small_products_stay_exact() -> None:
    left, right = matrix(8, 16, 1), matrix(16, 8, 2)
    with bfloat16_products():
        result = left @ right
        mx.eval(result)
    assert mx.array_equal(result, left @ right)


@pytest.mark.usefixtures("units")
def test_a_training_learns_as_well_and_gives_the_same_bits_again(tmp_path: Path) -> None:
    # Wide enough that the products of a row are not small.
    model = make_tiny_hf(tmp_path / "model", width=128, feed_forward=512)
    changed = replace(SETTINGS, products="bfloat16")

    def fit(name: str, settings: Any) -> tuple[float, dict[str, Any]]:
        result = train_lora(model, TRAIN, VALID, settings, seed=3, out_dir=tmp_path / name)
        adapter = mx.load(str(tmp_path / name / "adapters.safetensors"))
        return result.valid_losses[-1][1], dict(adapter)

    plain, _ = fit("plain", SETTINGS)
    first, ours = fit("first", changed)
    second, same = fit("second", changed)
    assert first != plain and first == pytest.approx(plain, rel=0.05)
    assert first == second
    assert all(mx.array_equal(ours[name], same[name]) for name in ours)


def test_a_missing_library_is_told_before_a_run_begins(
    cli: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    if use_fast_blas().sgemm is None:
        pytest.skip(use_fast_blas().reason)
    monkeypatch.setattr(bfloat16, "PACKAGE", "no-such-package")
    code, _, err = cli("run", "textcraft", "--set", "train.products=bfloat16")
    assert code == 2
    assert "no-such-package" in one_error(err)
    assert "agentr-lite[bfloat16]" in err and "float32" in err


def test_a_processor_without_the_units_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    if "needs oneDNN" in reason() or use_fast_blas().sgemm is None:
        pytest.skip(reason())
    bfloat16._sgemm.cache_clear()
    monkeypatch.setattr(bfloat16, "_BFLOAT16_UNITS", 1 << 30)
    with pytest.raises(UsageError, match="no units") as caught:
        check_bfloat16()
    assert "float32" in caught.value.hint
