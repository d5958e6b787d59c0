"""Draws from a whole vocabulary have the model's probabilities."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentr_lite.actors.base import Sampling
from agentr_lite.actors.llamacpp.sampler import Distribution, Drawn, Greedy, Row, make_chooser

LAST = math.nextafter(1.0, 0.0)


def probabilities(logits: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float64]:
    exact = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    return exact / exact.sum()


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10**6),
    st.integers(1, 1500),
    st.floats(0.1, 20.0),
    st.floats(0.1, 3.0),
    st.lists(st.floats(0.0, LAST), max_size=8),
)
def test_a_number_stands_for_the_token_in_whose_part_it_lies(
    seed: int, size: int, spread: float, temperature: float, shares: list[float]
) -> None:
    logits = (np.random.default_rng(seed).standard_normal(size) * spread).astype(np.float32)
    ends = probabilities(logits, temperature).cumsum()
    distribution = Distribution(logits, temperature)
    for share in [0.0, LAST, *shares]:
        token = distribution.token_at(share)
        begin = ends[token - 1] if token else 0.0
        # float32 weights: a token's part ends a little earlier or later.
        assert begin - 1e-5 <= share <= ends[token] + 1e-5


@pytest.mark.parametrize("size", [1, 255, 256, 257, 1000])
@pytest.mark.parametrize("share", [0.0, 0.3, LAST])
def test_a_token_without_a_share_is_never_drawn(size: int, share: float) -> None:
    for only in {0, size // 2, size - 1}:
        logits = np.full(size, -np.inf, np.float32)
        logits[only] = -3.0
        assert Distribution(logits, 0.7).token_at(share) == only


def test_the_rest_of_a_block_belongs_to_its_last_token_with_a_share() -> None:
    logits = np.full(600, -np.inf, np.float32)
    logits[[10, 20, 300]] = 0.0
    distribution = Distribution(logits, 1.0)
    # As if the first block's sum had been rounded up.
    distribution._ends[0] += 1e-9
    assert distribution.token_at((2 + 5e-10) / distribution._ends[-1]) == 20


def test_how_often_tokens_are_drawn() -> None:
    logits = np.array([0.0, 1.0, -1.0, 2.0, -np.inf], np.float32)
    for temperature in (1.0, 0.5):
        row = Row(None, 0, logits)
        drawn = [Drawn(temperature, seed).choose(row) for seed in range(1, 4001)]
        counts = np.bincount(drawn, minlength=5)
        expected = 4000 * probabilities(logits, temperature)
        assert counts[4] == 0
        # Four standard deviations.
        assert np.all(np.abs(counts - expected) <= 4 * np.sqrt(expected) + 1e-9)


def test_samples_of_one_row_share_its_distribution_unless_their_temperatures_differ() -> None:
    row = Row(None, 0, np.arange(5, dtype=np.float32))
    first = row.distribution(1.0)
    assert row.distribution(1.0) is first
    assert row.distribution(0.5) is not first


def test_a_seed_draws_its_own_tokens_whoever_draws_beside_it() -> None:
    rows = [np.random.default_rng(n).standard_normal(700).astype(np.float32) for n in range(20)]
    alone = Drawn(1.0, 5)
    expected = [alone.choose(Row(None, 0, logits)) for logits in rows]
    beside, other = Drawn(1.0, 5), Drawn(1.0, 6)
    drawn = []
    for logits in rows:
        row = Row(None, 0, logits)
        other.choose(row)
        drawn.append(beside.choose(row))
    assert drawn == expected


def test_which_settings_draw_from_the_whole_vocabulary() -> None:
    assert isinstance(make_chooser(Sampling(temperature=0.0), 1), Greedy)
    assert isinstance(make_chooser(Sampling(temperature=0.3), 1), Drawn)
    for cut in (Sampling(top_k=5), Sampling(top_p=0.9), Sampling(min_p=0.1)):
        chooser = make_chooser(cut, 1)
        assert not isinstance(chooser, Drawn)
        chooser.close()
