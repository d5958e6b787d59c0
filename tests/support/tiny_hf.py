"""Tiny random models in Hugging Face's format, made by the tests that need one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL_TOKENS = ("<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

TEXTS = (
    "Goal: craft 4 sticks.",
    "Thought: I need planks first.\nAction: craft 4 oak planks using 1 oak logs",
    "Action: get 2 oak logs",
    "Got 2 oak logs\nInventory: [oak logs] (2)",
    "Could not find enough items to craft minecraft:stick",
    "Action: inventory",
    "def f(x):\n    return x + 1  # naïve café — 漢字 🙂\n",
) * 4

_QWEN2_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


EMBEDDING = 0.02
"""Standard deviation of a real model's embeddings before training. Where they are larger, the
epsilon of the norms does nothing."""
SPREAD = 4.0
"""Standard deviation of the logits; of SmolLM2's: 3.3."""


def make_tiny_hf(
    path: Path,
    *,
    model_type: str = "llama",
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    feed_forward: int = 160,
    vocab_size: int = 400,
    tied: bool = True,
    seed: int = 0,
    rope_scaling: dict[str, Any] | None = None,
) -> Path:
    """Write a model directory with random weights and a BPE tokenizer trained on ``TEXTS``.

    Args:
        path: the directory; made if missing.
        model_type: ``llama``, ``qwen2`` (biases on q, k, v), ``qwen3`` (norms on q and k),
            ``gemma``, ``gemma2`` (four norms a layer) or ``gemma3_text`` (and windows).

    Returns:
        ``path``.
    """
    path.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "model_type": model_type,
        "architectures": [f"{model_type.capitalize()}ForCausalLM"],
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": width // heads,
        "intermediate_size": feed_forward,
        "vocab_size": vocab_size,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": tied,
        "eos_token_id": SPECIAL_TOKENS.index("<|end|>"),
    }
    if model_type in ("gemma2", "gemma3_text"):
        config |= {"query_pre_attn_scalar": width // heads, "sliding_window": 64}
    if model_type == "gemma2":
        # mlx-lm leaves Gemma 2's window out: short of it the two are the same.
        config |= {"sliding_window": 2048}
        config |= {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    if rope_scaling is not None:
        config["rope_scaling"] = rope_scaling
    (path / "config.json").write_text(json.dumps(config, indent=1))
    _write_tokenizer(path, "qwen2" if model_type.startswith("qwen") else "gpt-2", vocab_size)
    _write_weights(path, config, np.random.default_rng(seed))
    return path


def like_a_real_one(model: Path) -> None:
    """Small embeddings, widely spread logits, and a BOS token before every text."""
    from safetensors.numpy import load_file, save_file

    weights = load_file(str(model / "model.safetensors"))
    embedding = weights["model.embed_tokens.weight"]
    embedding *= EMBEDDING / embedding.std()
    head = weights.get("lm_head.weight", embedding)
    one = json.loads((model / "config.json").read_text())["model_type"].startswith("gemma")
    final = weights["model.norm.weight"] + one
    final *= SPREAD / (head.std() * np.sqrt(len(final)) * np.abs(final).mean())
    weights["model.norm.weight"] = final - one
    save_file(weights, str(model / "model.safetensors"), metadata={"format": "np"})
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    bos = {"SpecialToken": {"id": "<|pad|>", "type_id": 0}}
    sequence = {"Sequence": {"id": "A", "type_id": 0}}
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [bos, sequence],
        "pair": [bos, sequence, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|pad|>": {"id": "<|pad|>", "ids": [0], "tokens": ["<|pad|>"]}},
    }
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    settings = json.loads((model / "tokenizer_config.json").read_text())
    settings["bos_token"] = "<|pad|>"
    (model / "tokenizer_config.json").write_text(json.dumps(settings))


def _write_tokenizer(path: Path, pre: str, vocab_size: int) -> None:
    tokenizer = Tokenizer(models.BPE())
    if pre == "qwen2":
        from tokenizers import Regex

        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_QWEN2_REGEX), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 3,  # leaves ids without a token, as many models do
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.save(str(path / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|end|>",
        "pad_token": "<|pad|>",
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
    }
    (path / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))


def _write_weights(path: Path, config: dict[str, Any], rng: np.random.Generator) -> None:
    from safetensors.numpy import save_file

    width, feed_forward = config["hidden_size"], config["intermediate_size"]
    head_dim = config["head_dim"]
    q_rows = config["num_attention_heads"] * head_dim
    kv_rows = config["num_key_value_heads"] * head_dim

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (rng.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float32)

    def vector(size: int, around: float) -> np.ndarray:
        return (around + 0.3 * rng.standard_normal(size)).astype(np.float32)

    kind = config["model_type"]
    # Gemma multiplies by 1 + weight.
    one = 0.0 if kind.startswith("gemma") else 1.0
    tensors = {
        "model.embed_tokens.weight": matrix(config["vocab_size"], width),
        "model.norm.weight": vector(width, one),
    }
    if not config["tie_word_embeddings"]:
        tensors["lm_head.weight"] = matrix(config["vocab_size"], width)
    for layer in range(config["num_hidden_layers"]):
        block = f"model.layers.{layer}."
        for name, rows in (("q", q_rows), ("k", kv_rows), ("v", kv_rows)):
            # Sharp attention, so that an error in RoPE's row order shows in the logits.
            tensors[f"{block}self_attn.{name}_proj.weight"] = 2 * matrix(rows, width)
            if kind == "qwen2":
                tensors[f"{block}self_attn.{name}_proj.bias"] = vector(rows, 0.0)
        if kind in ("qwen3", "gemma3_text"):
            tensors[f"{block}self_attn.q_norm.weight"] = vector(head_dim, one)
            tensors[f"{block}self_attn.k_norm.weight"] = vector(head_dim, one)
        tensors[f"{block}self_attn.o_proj.weight"] = matrix(width, q_rows)
        tensors[f"{block}mlp.gate_proj.weight"] = matrix(feed_forward, width)
        tensors[f"{block}mlp.up_proj.weight"] = matrix(feed_forward, width)
        tensors[f"{block}mlp.down_proj.weight"] = matrix(width, feed_forward)
        norms = ["input", "post_attention"]
        if kind in ("gemma2", "gemma3_text"):
            norms += ["pre_feedforward", "post_feedforward"]
        for name in norms:
            tensors[f"{block}{name}_layernorm.weight"] = vector(width, one)
    save_file(tensors, str(path / "model.safetensors"), metadata={"format": "np"})
