"""Model directories with damaged files: errors of the model, whatever mlx-lm raises."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from agentr_lite.actors.mlx.actor import MlxActor
from agentr_lite.core.errors import ModelError
from tests.support.tiny_hf import make_tiny_hf

DAMAGE = {
    "a number": b"3",
    "null": b"null",
    "a list": b"[]",
    "a text": b'"x"',
    "nothing": b"",
    "no text": b"\xff\xfe{",
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "digits": b'{"hidden_size": ' + b"9" * 5_000 + b"}",
    "no numbers": b'{"model_type": "llama", "hidden_size": NaN, "num_hidden_layers": 1e999}',
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_hf(tmp_path_factory.mktemp("model") / "model")


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_damaged_file(whole: Path, tmp_path: Path, name: str, content: bytes) -> None:
    folder = tmp_path / "model"
    shutil.copytree(whole, folder)
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError) as caught:
        MlxActor(folder, context_tokens=128)
    assert "\n" not in caught.value.message and str(folder) in caught.value.message


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", ["generation_config.json", "special_tokens_map.json"])
def test_a_damaged_file_that_may_not_matter(
    whole: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(whole, folder)
    (folder / name).write_bytes(content)
    try:
        MlxActor(folder, context_tokens=128).close()
    except ModelError as error:
        assert str(folder) in error.message
