"""The starter's network in PyTorch: a plain llama (RMSNorm, RoPE, SwiGLU, tied embeddings).

Only remaking the starter needs PyTorch; playing needs llama.cpp, and fine-tuning needs MLX. The
parameters have Hugging Face's names, so mlx-lm and the GGUF converter can read the saved file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class NetworkSize:
    """Shape of the network."""

    vocab: int
    width: int = 192
    layers: int = 5
    heads: int = 3
    hidden: int = 512
    context: int = 2048
    rope_base: float = 10_000.0
    norm_eps: float = 1e-5

    @property
    def head_width(self) -> int:
        """Number of channels per head."""
        return self.width // self.heads

    def to_hf_config(self, *, end_token: int) -> dict[str, Any]:
        """The content of ``config.json`` for transformers, mlx-lm and the GGUF converter."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocab,
            "hidden_size": self.width,
            "intermediate_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "head_dim": self.head_width,
            "max_position_embeddings": self.context,
            "rms_norm_eps": self.norm_eps,
            "rope_theta": self.rope_base,
            "rope_scaling": None,
            "attention_bias": False,
            "mlp_bias": False,
            "hidden_act": "silu",
            "tie_word_embeddings": True,
            "eos_token_id": end_token,
            "bos_token_id": None,
            "torch_dtype": "float16",
        }


def rope_tables(size: NetworkSize) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions, each of shape (context, head_width / 2)."""
    half = size.head_width // 2
    frequencies = size.rope_base ** (-torch.arange(half, dtype=torch.float32) / half)
    angles = torch.arange(size.context, dtype=torch.float32)[:, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Half-split rotary embedding of ``x`` (batch, heads, length, head_width)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Attention(nn.Module):
    """Causal self-attention without biases."""

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        self.heads = size.heads
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, nn.Linear(size.width, size.width, bias=False))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, width = x.shape

        def split(y: Tensor) -> Tensor:
            return y.view(batch, length, self.heads, -1).transpose(1, 2)

        q = rotate(split(self.q_proj(x)), cos, sin)
        k = rotate(split(self.k_proj(x)), cos, sin)
        v = split(self.v_proj(x))
        y = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, width))


class Mlp(nn.Module):
    """The feed-forward part of a layer, with SwiGLU."""

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(size.width, size.hidden, bias=False)
        self.up_proj = nn.Linear(size.width, size.hidden, bias=False)
        self.down_proj = nn.Linear(size.hidden, size.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """One transformer layer, pre-norm."""

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(size.width, eps=size.norm_eps)
        self.self_attn = Attention(size)
        self.post_attention_layernorm = nn.RMSNorm(size.width, eps=size.norm_eps)
        self.mlp = Mlp(size)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Trunk(nn.Module):
    """The network without its output embedding: embedding, layers and final norm."""

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(size.vocab, size.width)
        self.layers = nn.ModuleList(Block(size) for _ in range(size.layers))
        self.norm = nn.RMSNorm(size.width, eps=size.norm_eps)


class Network(nn.Module):
    """A causal language model with tied input and output embeddings."""

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        self.size = size
        self.model = Trunk(size)
        cos, sin = rope_tables(size)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=size.width**-0.5)
        for block in self.model.layers:
            # Residual branches start at zero: the first steps train only the embeddings.
            nn.init.zeros_(block.self_attn.o_proj.weight)
            nn.init.zeros_(block.mlp.down_proj.weight)

    def hidden(self, tokens: Tensor) -> Tensor:
        """Final hidden states (batch, length, width) of ``tokens`` (batch, length)."""
        length = tokens.shape[1]
        cos, sin = self.cos[:length], self.sin[:length]
        x = self.model.embed_tokens(tokens)
        for block in self.model.layers:
            x = block(x, cos, sin)
        return self.model.norm(x)

    def loss(self, tokens: Tensor, weights: Tensor) -> Tensor:
        """Weighted mean cross-entropy of the next token.

        Args:
            tokens: (batch, length) token ids.
            weights: (batch, length) weight of each token *as a target*; the first is unused.
        """
        x = self.hidden(tokens[:, :-1])
        targets, w = tokens[:, 1:], weights[:, 1:]
        # Project only the targets: most tokens are prompts and observations.
        kept = w > 0
        logits = F.linear(x[kept], self.model.embed_tokens.weight).float()
        losses = F.cross_entropy(logits, targets[kept], reduction="none")
        return (losses * w[kept]).sum() / w[kept].sum()
