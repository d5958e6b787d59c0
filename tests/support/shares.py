"""The distribution that a sampler should have."""

from __future__ import annotations

import numpy as np

from agentr_lite.actors.base import Sampling


def expected_shares(logits: np.ndarray, sampling: Sampling) -> np.ndarray:
    """The distribution after top-k, top-p, min-p and temperature, in llama.cpp's order."""
    order = np.argsort(-logits, kind="stable")
    keep = order[: sampling.top_k or len(order)]
    shares = np.exp(logits[keep] - logits.max())
    shares /= shares.sum()
    if sampling.top_p < 1:
        keep = keep[np.cumsum(shares) - shares < sampling.top_p]
    keep = keep[logits[keep] >= logits.max() + np.log(sampling.min_p or 1e-30)]
    found = np.zeros(len(logits))
    found[keep] = np.exp((logits[keep] - logits.max()) / sampling.temperature)
    return found / found.sum()
