"""Initial weights that can already copy: induction heads, written by hand.

Copying names from the commands is what the starter needs most and learns last. Two heads of the
first layer look one and two tokens back and leave what they saw beside the token; one head of
the second layer looks for the place where the same tokens came before and says what followed.
Training takes it from there.

Source: Olsson et al., "In-context Learning and Induction Heads" (2022), for the circuit; writing
it down by hand for rotary positions is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agentr_lite.starter.maker.network import Attention, Network

_SHARPNESS = 24.0
"""Logit by which a look-back head prefers its offset, about."""
_MATCH = 14.0
"""Logit of a match of one token in the induction head, about."""


@torch.no_grad()
def write_induction_heads(network: Network, generator: torch.Generator) -> None:
    """Overwrite parts of the first two layers' weights of a freshly initialized network.

    The residual stream is divided: the first half of the channels holds the token itself, of which
    channel 0 is the same for every token; the second half receives what the look-back heads saw.

    Args:
        network: at least two layers and two heads; changed in place.
        generator: for the random projections.
    """
    size = network.size
    width, head = size.width, size.head_width
    if size.layers < 2 or size.heads < 2:
        raise ValueError("induction heads need two layers of two heads")
    token = width // 2
    part = (width - token) // 2
    embedding = network.model.embed_tokens.weight
    embedding.normal_(std=token**-0.5, generator=generator)
    embedding[:, token:] = 0
    # After RMSNorm every channel counts relative to the root mean square of the row.
    embedding[:, 0] = token**-0.5 * 2
    # Hashes of a token: what the look-back heads write down, and what the matching head compares.
    hashing = torch.randn(part, token, generator=generator) / token**0.5
    hashing[:, 0] = 0

    first = network.model.layers[0].self_attn
    for index in range(2):
        rows = slice(index * head, (index + 1) * head)
        _look_back(first, rows, offset=index + 1, base=size.rope_base)
        first.v_proj.weight[rows] = 0
        first.v_proj.weight[rows][:part, :token] = hashing
        first.o_proj.weight[:, rows] = 0
        start = token + index * part
        first.o_proj.weight[start : start + part, rows][:, :part] = torch.eye(part)

    second = network.model.layers[1].self_attn
    rows = slice(0, head)
    # Slow channels of the rotation hardly turn over a context: matching ignores positions.
    slots = _slow_channels(head, 2 * part)
    half = len(slots) // 2
    query, key = torch.zeros(head, width), torch.zeros(head, width)
    for slot, row in zip(slots[:half], range(half), strict=True):
        # Now = one back there: the token here against what the place has written down.
        query[slot, :token] = hashing[row % part]
        key[slot, token + row % part] = 1
    for slot, row in zip(slots[half:], range(half), strict=True):
        # One back here = two back there.
        query[slot, token + row % part] = 1
        key[slot, token + part + row % part] = 1
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
    # Only turning channels tell places apart.
    weight = (angles / offset > 0.02).float()
    count = weight.sum()
    amplitude = (_SHARPNESS * head**0.5 / count) ** 0.5
    attention.q_proj.weight[rows] = 0
    attention.k_proj.weight[rows] = 0
    # Channel 0 is constant; after RMSNorm it is about this large.
    constant = 2.0
    q = torch.cat((weight, torch.zeros(half))) * amplitude / constant
    k = torch.cat((weight * angles.cos(), weight * angles.sin())) * amplitude / constant
    attention.q_proj.weight[rows, 0] = q
    attention.k_proj.weight[rows, 0] = k


def _slow_channels(head: int, wanted: int) -> list[int]:
    """Indices of the head's most slowly turning channels, both halves of each pair."""
    half = head // 2
    pairs = min(half, wanted // 2)
    return [i for j in range(half - pairs, half) for i in (j, j + half)]
