"""The starter's tokenizer: words and phrases are single tokens, with the same ids everywhere."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from agentr_lite.convert.hf_to_gguf import convert_to_gguf
from agentr_lite.starter.maker.corpus import Corpus, build_corpus
from agentr_lite.starter.maker.tokenizer import (
    PHRASES,
    SPECIAL_TOKENS,
    save_tokenizer,
    train_tokenizer,
)
from tests.support.llama_logits import llama_tokens
from tests.support.tiny_hf import make_tiny_hf

RECORDED = Path(__file__).parents[1] / "data" / "starter_sciworld.jsonl"
VOCAB = 3000


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return build_corpus(RECORDED)


@pytest.fixture(scope="module")
def texts(corpus: Corpus) -> list[str]:
    return [m["content"] for example in islice(corpus.stream(1), 60) for m in example.messages]


@pytest.fixture(scope="module")
def tokenizer(corpus: Corpus, texts: list[str]) -> Tokenizer:
    return train_tokenizer(["planks", "outside"], ["click"], texts, VOCAB)


def test_words_and_phrases_are_one_token(tokenizer: Tokenizer) -> None:
    for text in (" planks", " outside", "click", *PHRASES, *SPECIAL_TOKENS):
        assert len(tokenizer.encode(text, add_special_tokens=False).ids) == 1, text


def test_any_text_comes_back(tokenizer: Tokenizer, texts: list[str]) -> None:
    for text in (*texts, "naïve café — 漢字 🙂 [SEP]\n\tThought:Thought:"):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_llama_cpp_cuts_the_same_tokens(
    tmp_path: Path, tokenizer: Tokenizer, texts: list[str]
) -> None:
    model = make_tiny_hf(tmp_path / "hf", vocab_size=tokenizer.get_vocab_size())
    save_tokenizer(tokenizer, model, 2048)
    gguf = tmp_path / "tiny.gguf"
    convert_to_gguf(model, gguf, dtype="f16")
    text = "".join(f"<|user|>{text}<|end|><|assistant|>" for text in texts[:150])
    assert llama_tokens(gguf, text) == tokenizer.encode(text, add_special_tokens=False).ids
