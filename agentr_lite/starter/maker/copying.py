"""Initial weights that can already copy: induction heads, written by hand.

The starter needs to copy names from the commands more than anything else, and it learns this last.
Two heads of the first layer look one and two tokens back and write what they see beside the token.
One head of the second layer looks for the place where the same tokens came before, and predicts the
token that followed there. Training starts from these weights.

Source: Olsson et al., "In-context Learning and Induction Heads" (2022), for the circuit; the
weights for rotary positions are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agentr_lite.starter.maker.network import Attention, Network

_SHARPNESS = 24.0
"""Approximate logit by which a look-back head prefers its offset."""
_MATCH = 14.0
"""Approximate logit of a match of one token in the induction head."""


@torch.no_grad()
def write_induction_heads(network: Network, generator: torch.Generator) -> None:
    """Overwrite parts of the first two layers' weights of a freshly initialized network.

    The residual stream is divided. The first half of the channels holds the token itself; channel 0
    is the same for every token. The second half receives what the look-back heads write.

    Args:
        network: with at least two layers and two heads; changed in place.
        generator: for the random projections.

    Raises:
        ValueError: the network is too small.
    """
    size = network.size
    width, head = size.width, size.head_width
    if size.layers < 2 or size.heads < 2:
        raise ValueError("induction heads need two layers of two heads")
    token = width // 2
    written = (width - token) // 2
    embedding = network.model.embed_tokens.weight
    embedding.normal_(std=token**-0.5, generator=generator)
    embedding[:, token:] = 0
    # After RMSNorm, every channel is relative to the root mean square of the row.
    embedding[:, 0] = token**-0.5 * 2
    # Hashes of a token: the look-back heads write them, and the matching head compares them.
    hashing = torch.randn(written, token, generator=generator) / token**0.5
    hashing[:, 0] = 0

    first = network.model.layers[0].self_attn
    for index in range(2):
        rows = slice(index * head, (index + 1) * head)
        _look_back(first, rows, offset=index + 1, base=size.rope_base)
        first.v_proj.weight[rows] = 0
        first.v_proj.weight[rows][:written, :token] = hashing
        first.o_proj.weight[:, rows] = 0
        start = token + index * written
        first.o_proj.weight[start : start + written, rows][:, :written] = torch.eye(written)

    second = network.model.layers[1].self_attn
    rows = slice(0, head)
    # Slow channels hardly rotate over a context, so the match does not depend on the position.
    slots = _slow_channels(head, 2 * written)
    half = len(slots) // 2
    query, key = torch.zeros(head, width), torch.zeros(head, width)
    for slot, row in zip(slots[:half], range(half), strict=True):
        # The current token equals the token before the other place: compare with its hash there.
        query[slot, :token] = hashing[row % written]
        key[slot, token + row % written] = 1
    for slot, row in zip(slots[half:], range(half), strict=True):
        # The token before the current one equals the one two before the other place.
        query[slot, token + row % written] = 1
        key[slot, token + written + row % written] = 1
    scale = (_MATCH * head**0.5 / max(1, half)) ** 0.5
    second.q_proj.weight[rows] = query * scale * 1.6
    second.k_proj.weight[rows] = key * scale * 1.6
    second.v_proj.weight[rows] = 0
    second.v_proj.weight[rows][: min(head, token), :token] = _identity(min(head, token), token)
    second.o_proj.weight[:, rows] = 0
    second.o_proj.weight[:token, rows][:, : min(head, token)] = (
        _identity(token, min(head, token)) * 2
    )


def _identity(rows: int, columns: int) -> Tensor:
    return torch.eye(max(rows, columns))[:rows, :columns]


def _look_back(attention: Attention, rows: slice, *, offset: int, base: float) -> None:
    """Queries and keys of one head that prefer the token ``offset`` places back."""
    head = rows.stop - rows.start
    half = head // 2
    angles = offset * base ** (-torch.arange(half, dtype=torch.float32) / half)
    # Only channels that rotate distinguish positions.
    weight = (angles / offset > 0.02).float()
    count = weight.sum()
    amplitude = (_SHARPNESS * head**0.5 / count) ** 0.5
    attention.q_proj.weight[rows] = 0
    attention.k_proj.weight[rows] = 0
    # Channel 0 is constant; after RMSNorm it has about this value.
    constant = 2.0
    q = torch.cat((weight, torch.zeros(half))) * amplitude / constant
    k = torch.cat((weight * angles.cos(), weight * angles.sin())) * amplitude / constant
    attention.q_proj.weight[rows, 0] = q
    attention.k_proj.weight[rows, 0] = k


def _slow_channels(head: int, wanted: int) -> list[int]:
    """Indices of the head's most slowly rotating channels, with both halves of each pair."""
    half = head // 2
    pairs = min(half, wanted // 2)
    return [i for j in range(half - pairs, half) for i in (j, j + half)]
