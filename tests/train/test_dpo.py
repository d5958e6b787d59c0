"""DPO's loss against its definition, and its gradient against differences and automatic ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from agentr_lite.actors.mlx.blas import use_fast_blas

use_fast_blas()
import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402

from agentr_lite.recipe.groups import TrainSettings  # noqa: E402
from agentr_lite.train.branches import branches_possible  # noqa: E402
from agentr_lite.train.cpu import fast_steps  # noqa: E402
from agentr_lite.train.dpo import (  # noqa: E402
    PairFigures,
    PairSizes,
    PreferenceLoss,
    falling_likelihood,
    pair_figures,
)
from agentr_lite.train.preferences import TokenizedPair  # noqa: E402
from agentr_lite.train.workers import Workers  # noqa: E402
from tests.train.test_branches import pairs, part_of  # noqa: E402
from tests.train.test_train_loss import flat, tiny  # noqa: E402

LOSSES = [
    PreferenceLoss(),
    PreferenceLoss(beta=0.5, label_smoothing=0.2),
    PreferenceLoss(beta=2.0, length_normalised=True),
    PreferenceLoss(beta=1.0, label_smoothing=0.1, length_normalised=True),
]


def drawn(seed: int = 0, pairs: int = 5) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    likelihoods, references = rng.normal(-20, 3, (2, pairs, 2))
    return likelihoods, references, rng.integers(1, 30, (pairs, 2)).astype(np.float64)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_is_that_of_the_papers(loss: PreferenceLoss) -> None:
    likelihoods, references, counts = drawn()
    losses, _, margins = loss(likelihoods, references, counts)
    for pair in range(len(counts)):
        by = counts[pair] if loss.length_normalised else (1, 1)
        chosen, rejected = (
            (likelihoods[pair, side] - references[pair, side]) / by[side] for side in (0, 1)
        )
        margin = loss.beta * (chosen - rejected)
        right = 1 / (1 + math.exp(-margin))
        smoothing = loss.label_smoothing
        expected = -(1 - smoothing) * math.log(right) - smoothing * math.log(1 - right)
        assert losses[pair] == pytest.approx(expected, rel=1e-9)
        assert margins[pair] == pytest.approx(margin)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_is_that_of_the_loss(loss: PreferenceLoss) -> None:
    likelihoods, references, counts = drawn()
    _, slopes, _ = loss(likelihoods, references, counts)
    for pair in range(len(counts)):
        for side in (0, 1):
            step = np.zeros_like(likelihoods)
            step[pair, side] = 1e-5
            above = loss(likelihoods + step, references, counts)[0].sum()
            below = loss(likelihoods - step, references, counts)[0].sum()
            assert slopes[pair, side] == pytest.approx((above - below) / 2e-5, rel=1e-5, abs=1e-9)


def test_extreme_margins_do_not_overflow() -> None:
    far = np.array([[1e6, -1e6], [-1e6, 1e6]])
    losses, slopes, _ = PreferenceLoss(beta=1.0)(far, np.zeros((2, 2)), np.ones((2, 2)))
    assert losses.tolist() == [0.0, 2e6]
    assert slopes.tolist() == [[0.0, 0.0], [-1.0, 1.0]]


def test_a_recipe_says_which_loss() -> None:
    settings = TrainSettings(beta=0.3, label_smoothing=0.1, length_normalised=True)
    assert PreferenceLoss.of(settings) == PreferenceLoss(0.3, 0.1, True)


def plain(model: Any, rows: list[TokenizedPair], references: Any, loss: PreferenceLoss) -> mx.array:
    """The same loss by the definition: whole logits, one sequence after the other."""

    def likelihood(sequences: list[Any]) -> tuple[mx.array, int]:
        total, count = mx.array(0.0), 0
        for sequence in sequences:
            logits = model(mx.array([sequence.tokens[:-1]]))[0]
            scores = nn.log_softmax(logits)
            for place, (token, learnt) in enumerate(
                zip(sequence.tokens[1:], sequence.mask[1:], strict=True)
            ):
                if learnt:
                    total, count = total + scores[place, token], count + 1
        return total, count

    summed, weight = mx.array(0.0), 0.0
    for row, pair in enumerate(rows):
        (chosen, chosen_count), (rejected, rejected_count) = map(likelihood, pair.continuations)
        chosen, rejected = chosen - references[row][0], rejected - references[row][1]
        if loss.length_normalised:
            chosen, rejected = chosen / chosen_count, rejected / rejected_count
        margin = loss.beta * (chosen - rejected)
        smoothing = loss.label_smoothing
        each = -(1 - smoothing) * nn.log_sigmoid(margin) - smoothing * nn.log_sigmoid(-margin)
        summed, weight = summed + pair.weight * each, weight + pair.weight
    return summed / weight


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_has_the_gradient_of_the_definition(loss: PreferenceLoss, packed: bool) -> None:
    model, rows = tiny("llama"), pairs()
    part = part_of(rows, packed=packed, loss=loss)
    with fast_steps(), branches_possible():
        workers = Workers(model, count=1, recomputed=0)
        found = workers.likelihoods([part])
        part.references[:] = [found[row] for row in range(len(rows))]
        # Margins at which the loss bends.
        part.references[:, 0] -= np.linspace(-8, 8, len(rows)) * 0.2 / loss.beta
        loss_value, gradient = workers.gradients([part])
        assert workers.loss([part]) == pytest.approx(loss_value, rel=1e-6)
    expected, wanted = nn.value_and_grad(model, lambda: plain(model, rows, part.references, loss))()
    assert loss_value == pytest.approx(expected.item(), rel=1e-5)
    for name, array in flat(wanted).items():
        gap = np.abs(flat(gradient)[name] - array).max()
        assert gap <= 1e-4 * np.abs(array).max() + 1e-8, name


def test_figures_of_pairs() -> None:
    references = np.array([[-10.0, -10.0], [-20.0, -20.0]])
    likelihoods = references + np.array([[2.0, -2.0], [-3.0, 1.0]])
    sizes = PairSizes(np.ones((2, 2)), np.array([3.0, 1.0]))
    made = pair_figures(7, PreferenceLoss(beta=0.5), likelihoods, references, sizes)
    losses = [math.log1p(math.exp(-2)), math.log1p(math.exp(2))]
    assert made == PairFigures(
        7,
        loss=pytest.approx(0.75 * losses[0] + 0.25 * losses[1]),
        margin=pytest.approx(0.75 * 2 - 0.25 * 2),
        accuracy=0.75,
        chosen=pytest.approx(0.75 * 2 - 0.25 * 3),
        rejected=pytest.approx(-0.75 * 2 + 0.25 * 1),
    )


def row(step: int, chosen: float) -> PairFigures:
    return PairFigures(step, 0.5, 0.1, 1.0, chosen, -9.0)


def test_falling_likelihoods_are_told_with_their_figures() -> None:
    steps = [row(step, -float(step)) for step in range(1, 21)]
    told = falling_likelihood(steps, [])
    # The last tenth: steps 19 and 20.
    assert "by 19.5 nats each on the pairs of the last steps" in told and "-9.0" in told
    assert "by 3.0 nats each on held-out pairs" in falling_likelihood(
        steps, [row(0, 0), row(9, -3)]
    )
    assert falling_likelihood(steps, [row(9, -3), row(20, 0.5)]) == ""
    assert falling_likelihood([row(1, -0.9)], []) == falling_likelihood([], []) == ""
