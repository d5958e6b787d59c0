"""Initial weights from a smaller, earlier starter: its layers and the embeddings of its words.

A model learns copying slowly, and copying is the same skill in every environment. So a model that
can copy is the better start for more environments, more words and more layers.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from torch import Tensor

from agentr_lite.starter.maker.network import Network
from agentr_lite.starter.maker.tokenizer import PHRASES

_NARROW_INPUT = "down_proj"
"""The matrix whose columns, not rows, are the hidden channels."""


@torch.no_grad()
def grow_from(network: Network, tokenizer: Tokenizer, ancestor: Path) -> int:
    """Overwrite parts of a fresh network with an ancestor's weights.

    Additional layers and hidden channels have no effect at first, so the grown network computes
    what the ancestor computes. A phrase that is one token now starts with the mean embedding of the
    tokens that it consisted of. Other new words start with random embeddings from the distribution
    of the ancestor's words.

    Args:
        network: freshly initialized, with the ancestor's width and heads, and with at least as many
            layers and hidden channels.
        tokenizer: the network's.
        ancestor: an exported directory (config.json, model.safetensors, tokenizer.json).

    Returns:
        The number of the tokenizer's tokens that the ancestor knew.

    Raises:
        ValueError: the shapes do not fit.
    """
    tensors = {
        name: torch.from_numpy(value).float()
        for name, value in load_file(ancestor / "model.safetensors").items()
    }
    state = network.state_dict()
    for name, old in tensors.items():
        if name == "model.embed_tokens.weight":
            continue
        if name not in state or old.ndim != state[name].ndim:
            raise ValueError(f"{ancestor}: the network has no place for {name}")
        new = state[name]
        if old.ndim == 2 and name.endswith(f"{_NARROW_INPUT}.weight"):
            # The additional channels add nothing at first.
            new.zero_()
        if any(size > limit for size, limit in zip(old.shape, new.shape, strict=True)):
            raise ValueError(f"{ancestor}: {name} is larger than the network's")
        new[tuple(slice(0, size) for size in old.shape)] = old
    earlier = Tokenizer.from_file(str(ancestor / "tokenizer.json"))
    old = tensors["model.embed_tokens.weight"]
    return _fill_words(network.model.embed_tokens.weight, tokenizer, earlier, old)


def _fill_words(embedding: Tensor, tokenizer: Tokenizer, earlier: Tokenizer, old: Tensor) -> int:
    mean = old.mean(0)
    centred = old - mean
    # The square root of the covariance gives white noise the distribution of the words.
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(old))
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    copied, known = 0, earlier.get_vocab()
    for token, index in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        if token in known:
            embedding[index] = old[known[token]]
            copied += 1
            continue
        if token in PHRASES:
            pieces = earlier.encode(token, add_special_tokens=False).ids
            embedding[index] = old[pieces].mean(0)
            continue
        embedding[index] = mean + root @ torch.randn(old.shape[1])
    return copied
