"""Which matrices of a model get adapters.

All projections of each layer do, those of recurrent layers too: in most layers of Qwen3.5, LFM2
and Granite 4 there are no others beside the MLP. Left out are the two projections of Qwen3.5's
linear attention that have a row for each head only (decay and step size), convolutions, norms and
embeddings.
"""

from __future__ import annotations

from typing import Any

PROJECTIONS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
"""The projections of most models, by their names within a layer."""
FURTHER = (
    # LFM2
    "self_attn.out_proj",
    "conv.in_proj",
    "conv.out_proj",
    "feed_forward.w1",
    "feed_forward.w2",
    "feed_forward.w3",
    # Qwen3.5
    "linear_attn.in_proj_qkv",
    "linear_attn.in_proj_z",
    "linear_attn.out_proj",
    # Granite 4
    "mamba.in_proj",
    "mamba.out_proj",
    # Gemma 4
    "per_layer_input_gate",
    "per_layer_projection",
)
"""The projections that only some families have."""


def targets(model: Any) -> list[str]:
    """Names within a layer of what gets adapters.

    Args:
        model: mlx-lm's.
    """
    here = {name for layer in model.layers for name, _ in layer.named_modules()}
    return [name for name in (*PROJECTIONS, *FURTHER) if name in here]
