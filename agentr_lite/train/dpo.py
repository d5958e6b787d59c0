"""Direct preference optimisation: the loss of pairs, their figures, and what these warn of.

Source: DPO (arXiv 2305.18290) equation 7. Label smoothing makes it conservative DPO; the
length-normalised form is that of Tulu 3 (arXiv 2411.15124).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agentr_lite.recipe.groups import TrainSettings
from agentr_lite.train.batches import Tokenized
from agentr_lite.train.preferences import TokenizedPair

FALLING = 1.0
"""By how many nats the chosen continuations' likelihoods may fall on average before it is told."""
FALLING_HINT = (
    "Set train.objective to sft+dpo, lower train.learning_rate, or raise train.beta; compare the"
    " evaluation with that of train.objective=sft."
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PreferenceLoss:
    """DPO's loss, as a recipe has it."""

    beta: float = 0.1
    label_smoothing: float = 0.0
    length_normalised: bool = False

    @classmethod
    def of(cls, settings: TrainSettings) -> PreferenceLoss:
        """The one of a recipe's ``train``."""
        return cls(settings.beta, settings.label_smoothing, settings.length_normalised)

    def __call__(
        self, likelihoods: Floats, references: Floats, counts: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Losses of pairs, their gradients, and their margins.

        Args:
            likelihoods: shape (pairs, 2): the log-likelihoods, in nats, of chosen and rejected.
            references: shape (pairs, 2): the same of the model before the training.
            counts: shape (pairs, 2): over how many tokens each likelihood is summed.

        Returns:
            The losses in nats, shape (pairs,); their gradients with respect to ``likelihoods``,
            shape (pairs, 2); the margins of the implicit rewards, shape (pairs,).
        """
        factors = self.beta / (counts if self.length_normalised else np.ones_like(counts))
        rewards = factors * (likelihoods - references)
        margins = rewards[:, 0] - rewards[:, 1]
        # -log(sigmoid(x)) = log(1 + exp(-x)), of which numpy has a form that does not overflow.
        # Who trains refuses a loss that is not a number, and numpy need not warn of it.
        with np.errstate(invalid="ignore"):
            right, wrong = np.logaddexp(0, -margins), np.logaddexp(0, margins)
        smoothing = self.label_smoothing
        losses = (1 - smoothing) * right + smoothing * wrong
        # exp(-right) is sigmoid(margins), and exp(-wrong) is sigmoid(-margins).
        slopes = smoothing * np.exp(-right) - (1 - smoothing) * np.exp(-wrong)
        return losses, slopes[:, None] * factors * np.array([1.0, -1.0]), margins


@dataclass(frozen=True)
class PairSizes:
    """What of some pairs the loss depends on, whatever the model says of them.

    Attributes:
        counts: shape (pairs, 2): learnt tokens of chosen and rejected.
        weights: shape (pairs,).
    """

    counts: Floats
    weights: Floats

    @classmethod
    def of(cls, pairs: Sequence[TokenizedPair]) -> PairSizes:
        """Those of tokenized pairs."""
        counts = [[_learnt(rows) for rows in pair.continuations] for pair in pairs]
        return cls(
            np.array(counts, np.float64).reshape(-1, 2),
            np.array([pair.weight for pair in pairs], np.float64),
        )


@dataclass(frozen=True, slots=True)
class PairFigures:
    """How well a model tells the continuations of some pairs apart, on average over them."""

    step: int
    """Optimizer steps taken; for the figures of a step, with that step."""
    loss: float
    """DPO's, in nats a pair; before any training it is ln 2."""
    margin: float
    """Of the implicit rewards: ``beta`` times how much likelier the chosen continuation has become
    compared with the rejected one, in nats."""
    accuracy: float
    """Share of the pairs with a margin above 0."""
    chosen: float
    """Change of the chosen continuations' log-likelihoods, in nats a continuation."""
    rejected: float
    """Change of the rejected continuations' log-likelihoods, in nats a continuation."""


def pair_figures(
    step: int, loss: PreferenceLoss, likelihoods: Floats, references: Floats, sizes: PairSizes
) -> PairFigures:
    """The figures of some pairs, each by its weight.

    Args:
        step: see ``PairFigures``.
        loss: with the recipe's settings.
        likelihoods: shape (pairs, 2): log-likelihoods of chosen and rejected, in nats.
        references: shape (pairs, 2): the same before the training.
        sizes: of the pairs.
    """
    losses, _, margins = loss(likelihoods, references, sizes.counts)
    shares = sizes.weights / sizes.weights.sum()
    chosen, rejected = shares @ (likelihoods - references)
    return PairFigures(
        step,
        loss=float(shares @ losses),
        margin=float(shares @ margins),
        accuracy=float(shares @ (margins > 0)),
        chosen=float(chosen),
        rejected=float(rejected),
    )


def falling_likelihood(trained: Sequence[PairFigures], held_out: Sequence[PairFigures]) -> str:
    """A sentence on chosen continuations that have become less likely; empty if they have not.

    Args:
        trained: the figures of each step.
        held_out: the figures of each validation. The last one counts; without any, the last tenth
            of the steps.
    """
    late = list(held_out[-1:]) or list(trained[-max(1, len(trained) // 10) :])
    if not late:
        return ""
    chosen = float(np.mean([row.chosen for row in late]))
    rejected = float(np.mean([row.rejected for row in late]))
    if chosen >= -FALLING:
        return ""
    where = "held-out pairs" if held_out else "the pairs of the last steps"
    return (
        f"the training made the chosen continuations less likely, by {-chosen:.1f} nats each on"
        f" {where} (log-likelihood of the rejected ones: {rejected:+.1f})"
    )


def _learnt(rows: Sequence[Tokenized]) -> int:
    # A first token cannot be predicted.
    return sum(sum(row.mask[1:]) for row in rows)
