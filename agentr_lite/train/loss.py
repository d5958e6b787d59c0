"""The loss of a part, without ever holding the logits of all its positions."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import numpy.typing as npt

from agentr_lite.train.dpo import Floats
from agentr_lite.train.kernels import kernels
from agentr_lite.train.parts import PairPart, Part

_LOGITS_BYTES = 32 << 20
"""Logits that exist at a time. There are about three arrays of this size."""
_SAME = 1e-3
"""Largest difference, relative to the largest logit, of a model and its two halves."""


class Halves:
    """A model as its layers, and the projection to the vocabulary with all that follows it.

    The projection treats each position by itself in every model; so it is given only the positions
    with loss, and these in small groups. A model that cannot be taken apart is all layers.
    """

    def __init__(self, model: Any, *, apart: bool) -> None:
        """Take a model of mlx-lm apart.

        Args:
            model: its layers may be replaced by adapters' at any time.
            apart: the result of ``comes_apart``.
        """
        self._whole = model
        self._given: _Given | None = None
        if apart:
            model = language_model(model)
            self._body = model.model
            self._given = _Given(model.model)
            # The same modules, but for the one that is exchanged.
            self._last = copy.copy(model)
            self._last.model = self._given

    def body(self, tokens: mx.array) -> mx.array:
        """Hidden states, shape (rows, length, width); without halves, the logits."""
        states: mx.array = (self._whole if self._given is None else self._body)(tokens)
        return states

    def head(self, states: mx.array) -> mx.array:
        """Logits of ``body``'s states, shape (positions, width) to (positions, vocabulary)."""
        if self._given is None:
            return states
        self._given.give(states[None])
        try:
            logits: mx.array = self._last(mx.zeros((1, len(states)), mx.int32))[0]
        finally:
            self._given.give(None)
        return logits.astype(mx.float32)


class _Given(nn.Module):
    """Stands where the layers were and returns given states; the rest is the layers' own."""

    def __init__(self, layers: Any) -> None:
        super().__init__()
        # Not as a member: the model's parameters would count twice.
        object.__setattr__(self, "_layers", layers)
        self.give(None)

    def give(self, states: mx.array | None) -> None:
        object.__setattr__(self, "_states", states)

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self._states

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_layers"), name)


def language_model(model: Any) -> Any:
    """The part of a model for images and text that computes text; otherwise the model."""
    return getattr(model, "language_model", model)


def comes_apart(model: Any) -> bool:
    """Whether a model's layers and its projection, one after the other, are the model."""
    if not isinstance(getattr(language_model(model), "model", None), nn.Module):
        return False
    tokens = mx.arange(1, 6)[None]
    halves = Halves(model, apart=True)
    try:
        states = halves.body(tokens)[0]
        # One by one, to notice a projection that looks at several positions.
        ours = mx.concatenate([halves.head(states[i : i + 1]) for i in range(len(states))])
    except (TypeError, ValueError, AttributeError):
        return False
    whole = model(tokens)[0].astype(mx.float32)
    if ours.shape != whole.shape:
        return False
    return bool((mx.abs(ours - whole).max() <= _SAME * mx.abs(whole).max()).item())


@dataclass
class Computed:
    """What a part's loss was made of."""

    likelihoods: Floats | None = None
    """Of a part of pairs: log-likelihoods of chosen and rejected in nats, shape (pairs, 2)."""


def summed_loss(
    halves: Halves, part: Part, *, learns: bool, computed: Computed | None = None
) -> mx.array:
    """Weighted sum of a part's losses in nats: of predicting the tokens to be learnt, or of pairs.

    Args:
        halves: the model.
        part: some rows.
        learns: a gradient will be asked for; without one this takes half of the time.
        computed: is filled.
    """
    states = halves.body(mx.array(part.tokens[:, :-1]))
    picked = states.reshape(-1, states.shape[-1])[mx.array(part.picks)]
    computed = computed or Computed()
    if not learns:
        return mx.array(_losses(halves, picked, part, computed, learns=False)[0])

    @mx.custom_function
    def loss(picked: mx.array) -> tuple[mx.array, mx.array]:
        total, gradients = _losses(halves, picked, part, computed, learns=True)
        return mx.array(total), mx.concatenate(gradients)

    @loss.vjp
    def gradient(_: Any, cotangents: Any, outputs: Any) -> mx.array:
        # The gradient was computed with the loss: the logits are gone.
        return cotangents[0] * outputs[1]

    results: Any = loss(picked)
    summed: mx.array = results[0]
    return summed


def _losses(
    halves: Halves, picked: mx.array, part: Part, computed: Computed, *, learns: bool
) -> tuple[float, list[mx.array]]:
    """The sum of the losses and, if ``learns``, its gradients with respect to the states."""
    total, gradients = 0.0, [picked[:0]]
    losses: list[Floats] = [np.empty(0)]
    fast = kernels() if mx.default_device() == mx.Device(mx.cpu) else None
    begin = 0
    while begin < len(part.picks):
        # The vocabulary's size is known only from a row of logits.
        if begin == 0:
            width = halves.head(picked[:1]).shape[-1]
        here = slice(begin, begin + max(1, _LOGITS_BYTES // (4 * width)))
        states, targets, weights = picked[here], part.targets[here], part.weights[here]
        begin = here.stop
        if fast is not None:
            each, incoming = fast.cross_entropy(halves.head(states), targets, weights)
            if learns:
                (outgoing,) = mx.vjp(halves.head, [states], [incoming])[1]
        else:
            each, outgoing = _differentiated(halves, states, targets, weights, learns)
        total += float(each.sum(dtype=np.float64))
        losses.append(each.astype(np.float64))
        if learns:
            mx.eval(outgoing)
            gradients.append(outgoing)
    if isinstance(part, PairPart):
        total, factors = _preferences(part, np.concatenate(losses), computed)
        if learns:
            # Each pick's gradient so far is that of its own loss alone.
            gradients = [mx.concatenate(gradients) * mx.array(factors[:, None])]
    return total, gradients


def _preferences(
    part: PairPart, losses: Floats, computed: Computed
) -> tuple[float, npt.NDArray[np.float32]]:
    """The sum of the pairs' losses, and its derivatives with respect to the picks' losses."""
    pairs = len(part.pairs)
    summed: Floats = np.asarray(np.bincount(part.groups, losses, 2 * pairs), np.float64)
    likelihoods = -summed.reshape(pairs, 2)
    computed.likelihoods = likelihoods
    values, slopes, _ = part.loss(likelihoods, part.references, part.sizes.counts)
    weights = part.sizes.weights
    slopes = weights[:, None] * slopes
    return float(weights @ values), -slopes.reshape(-1)[part.groups].astype(np.float32)


def _differentiated(
    halves: Halves, states: mx.array, targets: Any, weights: Any, learns: bool
) -> tuple[npt.NDArray[np.float32], Any]:
    """Weighted losses, and their sum's gradient with respect to the states."""

    def loss(states: mx.array) -> tuple[mx.array, mx.array]:
        losses = nn.losses.cross_entropy(halves.head(states), mx.array(targets))
        losses = losses * mx.array(weights)
        return losses.sum(), losses

    if learns:
        (_, losses), outgoing = mx.value_and_grad(loss)(states)
    else:
        (_, losses), outgoing = loss(states), None
    return np.array(losses), outgoing


def number(array: mx.array) -> float:
    """The value of an array without axes."""
    value: Any = array.item()
    return float(value)
