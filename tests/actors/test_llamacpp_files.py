"""Bad model, adapter and template files end in a clear error, never in a dead process."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from agentr_lite.actors.base import GenerateRequest, Sampling
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.actors.llamacpp.gguf_header import ArrayOf, check_model_file, read_header
from agentr_lite.core.errors import EXIT_MODEL, ModelError
from agentr_lite.core.messages import Message
from tests.support.tiny_gguf import CHATML, TinyShape, write_tiny_adapter, write_tiny_model

CHAT: list[Message] = [{"role": "user", "content": "Goal: craft stick"}]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf")


def load_error(path: Path, **options: object) -> ModelError:
    with pytest.raises(ModelError) as caught:
        LlamaCppActor(path, context_tokens=128, **options)  # type: ignore[arg-type]
    error = caught.value
    assert error.exit_code == EXIT_MODEL
    assert "\n" not in error.message
    return error


def test_a_header_tells_what_a_file_is(tiny: Path) -> None:
    header = read_header(tiny)
    shape = TinyShape()
    assert header.architecture == "llama"
    assert header.chat_template == CHATML
    assert header.architecture_value("block_count") == shape.layers
    assert isinstance(header.metadata["tokenizer.ggml.tokens"], ArrayOf)
    names = {tensor.name: tensor.shape for tensor in header.tensors}
    assert names["blk.0.ffn_up.weight"] == (shape.width, shape.hidden)
    head = shape.width // shape.heads
    assert header.cell_bytes() == 2 * 2 * head * shape.kv_heads * shape.layers


def test_a_missing_file(tmp_path: Path) -> None:
    error = load_error(tmp_path / "none.gguf")
    assert "none.gguf" in error.message
    assert error.hint


def test_a_directory(tmp_path: Path) -> None:
    assert "not a file" in load_error(tmp_path).message


@pytest.mark.parametrize("content", [b"", b"GGUF", b"PK\x03\x04" + b"x" * 100, b"\0" * 1000])
def test_not_a_gguf(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    assert "not a GGUF" in load_error(path).message


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file(tiny: Path, tmp_path: Path, share: float) -> None:
    content = tiny.read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(content[: int(len(content) * share)])
    message = load_error(path).message
    assert "truncated" in message or "damaged" in message


def test_an_unknown_version(tiny: Path, tmp_path: Path) -> None:
    content = bytearray(tiny.read_bytes())
    struct.pack_into("<I", content, 4, 99)
    path = tmp_path / "new.gguf"
    path.write_bytes(content)
    assert "version 99" in load_error(path).message


def test_headers_with_flipped_bytes_are_read_or_refused(tiny: Path, tmp_path: Path) -> None:
    content = tiny.read_bytes()
    header_bytes = read_header(tiny).data_offset
    rng = random.Random(3)
    path = tmp_path / "flipped.gguf"
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(4, header_bytes)] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            check_model_file(path)
        except ModelError:
            refused += 1
    assert refused > 20


def test_a_vocabulary_with_a_token_twice(tiny: Path, tmp_path: Path) -> None:
    one_byte = (1).to_bytes(8, "little")
    content = tiny.read_bytes().replace(one_byte + b"a", one_byte + b"b", 1)
    path = tmp_path / "twice.gguf"
    path.write_bytes(content)
    assert "a token twice" in load_error(path).message


def test_an_architecture_that_llama_cpp_does_not_know(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "odd.gguf", TinyShape(arch="nosuch"))
    message = load_error(path).message
    assert "odd.gguf" in message
    assert "nosuch" in message


def test_no_chat_template(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "base.gguf", template=None)
    error = load_error(path)
    assert "base.gguf has no chat template" in error.message
    assert "agent.chat_template" in error.hint
    template = tmp_path / "chat.jinja"
    template.write_text(CHATML)
    actor = LlamaCppActor(path, context_tokens=128, chat_template=template)
    result = actor.generate([GenerateRequest(CHAT, (1,), Sampling(max_tokens=3))])
    assert result[0].completions[0].output_tokens > 0
    actor.close()


def test_a_hostile_chat_template_in_a_model_file(tmp_path: Path) -> None:
    template = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    path = write_tiny_model(tmp_path / "hostile.gguf", template=template)
    assert "chat template" in load_error(path).message


def test_an_unreadable_template_file(tiny: Path, tmp_path: Path) -> None:
    assert "chat template" in load_error(tiny, chat_template=tmp_path / "none.jinja").message


def test_an_adapter_is_no_model_and_a_model_no_adapter(tiny: Path, tmp_path: Path) -> None:
    adapter = write_tiny_adapter(tmp_path / "adapter.gguf")
    assert "is an adapter" in load_error(adapter).message
    actor = LlamaCppActor(tiny, context_tokens=128)
    with pytest.raises(ModelError, match="is a model, not an adapter"):
        actor.use_adapter(tiny)
    actor.close()


@pytest.mark.parametrize(
    ("shape", "arch"),
    [
        (TinyShape(width=32), None),
        (TinyShape(layers=3), None),
        (TinyShape(hidden=96), None),
        (TinyShape(), "qwen2"),
    ],
)
def test_adapters_for_another_base(
    tiny: Path, tmp_path: Path, shape: TinyShape, arch: str | None
) -> None:
    actor = LlamaCppActor(tiny, context_tokens=128)
    request = [GenerateRequest(CHAT, (1,), Sampling(max_tokens=5))]
    before = actor.generate(request)[0].completions
    path = write_tiny_adapter(tmp_path / "other.gguf", shape, arch=arch)
    with pytest.raises(ModelError, match=r"other\.gguf") as caught:
        actor.use_adapter(path)
    assert caught.value.hint
    assert actor.generate(request)[0].completions == before
    actor.close()


def test_broken_adapters(tiny: Path, tmp_path: Path) -> None:
    actor = LlamaCppActor(tiny, context_tokens=128)
    with pytest.raises(ModelError, match="no model file"):
        actor.use_adapter(tmp_path / "none.gguf")
    whole = write_tiny_adapter(tmp_path / "whole.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"truncated|damaged"):
        actor.use_adapter(cut)
    actor.close()


def test_a_context_beyond_the_models_training_is_cut_to_it(tiny: Path) -> None:
    actor = LlamaCppActor(tiny, context_tokens=100_000)
    assert actor.context_tokens == TinyShape().context
    actor.close()
