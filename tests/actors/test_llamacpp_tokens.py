"""Conversations as the engine's tokens."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from agentr_lite.actors.chat.tokenizer import Tokenizer
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.core.messages import Message
from tests.support.tiny_gguf import CHATML, TinyShape, write_tiny_model

CHAT: list[Message] = [
    {"role": "system", "content": "You craft things."},
    {"role": "user", "content": "Craft 1 bowl."},
]


def test_a_begin_token_comes_once(tmp_path: Path) -> None:
    for name, prefix in (("with", "{{ bos_token }}"), ("without", "")):
        path = write_tiny_model(tmp_path / f"{name}.gguf", template=prefix + CHATML, bos=True)
        actor = LlamaCppActor(path, context_tokens=256)
        tokens = actor.encoder.prompt(CHAT)
        assert tokens is not None
        assert tokens.count(actor._model.bos) == 1
        assert tokens[0] == actor._model.bos
        actor.close()


@pytest.mark.parametrize("arch", ["llama", "qwen2"])
def test_tokenizing_in_fragments_is_exact(tmp_path: Path, arch: str) -> None:
    model = Model(write_tiny_model(tmp_path / "m.gguf", TinyShape(arch=arch)))
    tokenizer = Tokenizer(model)
    assert tokenizer._boundaries is not None
    rng = random.Random(5)
    alphabet = [
        "<|im_start|>",
        "<|im_end|>",
        "<|",
        "|>",
        " ",
        "\n",
        "craft",
        " oak",
        "9",
        "é",
        "漢",
    ]
    for _ in range(300):
        text = "".join(rng.choices(alphabet, k=rng.randint(0, 20)))
        assert tokenizer.prompt(text) == list(model.tokenize(text))
    model.close()
