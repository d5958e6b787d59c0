"""The starter's tokenizer: byte-level BPE in which every common word is one token.

An episode is right only if every token of every name is right. So fewer tokens per name mean fewer
chances to fail. Bytes are the fallback for any other text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

PHRASES = (" [SEP]", "\n\t", "\nAction:", "Thought:")
"""Frequent phrases of pages, listings and turns; each is one token everywhere."""
SPECIAL_TOKENS = ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|pad|>")
END_TOKEN = "<|end|>"
PAD_TOKEN = "<|pad|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def train_tokenizer(
    words: Iterable[str], bare: Iterable[str], texts: Iterable[str], vocab: int
) -> Tokenizer:
    """Train the tokenizer.

    Args:
        words: each becomes one token with a space before it, if the vocabulary has room.
        bare: each becomes one token without a space, such as words after a bracket.
        texts: running text, for punctuation and phrases.
        vocab: number of tokens, with the special tokens and without ``PHRASES``.
    """
    tokenizer = Tokenizer(models.BPE())
    # GPT-2's splitting, which is that of llama.cpp's `gpt-2` pre-tokenizer.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    kept = sorted(set(words))
    corpus = [f" {word}" for word in kept for _ in range(8)]
    corpus += [word for word in sorted(set(bare)) for _ in range(4)]
    tokenizer.train_from_iterator([*corpus, *texts], trainer)
    # These are not special tokens: they may occur in any text.
    tokenizer.add_tokens([AddedToken(phrase, normalized=False) for phrase in PHRASES])
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, directory: Path, context: int) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` for transformers."""
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_TOKEN,
        "pad_token": PAD_TOKEN,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        "chat_template": CHAT_TEMPLATE,
    }
    text = json.dumps(config, indent=2) + "\n"
    (directory / "tokenizer_config.json").write_text(text, encoding="utf-8")
