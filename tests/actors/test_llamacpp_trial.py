"""Files that make llama.cpp abort: refused by the header's check, or lost with a child process."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from agentr_lite.actors.llamacpp import trial
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.actors.llamacpp.gguf_header import check_adapter_file, check_model_file
from agentr_lite.actors.llamacpp.model import Model, check_vocabulary
from agentr_lite.actors.registry import STARTER, resolve_model
from agentr_lite.core.child import ChildLost
from agentr_lite.core.errors import EXIT_MODEL, ModelError
from tests.support.gguf_mutants import (
    CAUGHT,
    DECLINED,
    OPENED,
    REFUSED,
    Gguf,
    Value,
    mutate,
    outcome,
)
from tests.support.tiny_gguf import write_tiny_adapter, write_tiny_model

INF = float("inf")
KINDS = {int: 4, float: 6, bool: 7, str: 8}


def with_value(source: Path, target: Path, key: str, value: object) -> Path:
    """A copy with one value of the metadata set."""
    file = Gguf.read(source)
    file.metadata = [row for row in file.metadata if row[0] != key.encode()]
    file.metadata.append((key.encode(), Value(KINDS[type(value)], value)))
    file.write(target)
    return target


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture(autouse=True)
def unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file was opened before."""
    monkeypatch.setattr(trial, "_opened", set())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("block_count", 0),
        ("block_count", 2**32 - 1),
        ("block_count", 9_999),
        ("embedding_length", 0),
        ("embedding_length", 63),
        ("context_length", 0),
        ("context_length", 2**32 - 1),
        ("feed_forward_length", 2**32 - 1),
        ("vocab_size", 0),
        ("attention.head_count", 0),
        ("attention.head_count", 2**32 - 1),
        ("attention.head_count", 3),
        ("attention.head_count", True),
        ("attention.head_count", "4"),
        ("attention.head_count_kv", 0),
        ("attention.head_count_kv", 3),
        ("attention.head_count_kv", 8),
        ("attention.key_length", 0),
        ("attention.value_length", 2**31),
        ("attention.layer_norm_rms_epsilon", float("nan")),
        ("attention.layer_norm_rms_epsilon", -1.0),
        ("attention.layer_norm_rms_epsilon", 7),
        ("rope.dimension_count", 2**32 - 1),
        ("rope.dimension_count", 18),
        ("rope.dimension_count", 7),
        ("rope.freq_base", INF),
        ("rope.freq_base", -1.0),
        ("expert_count", 2**32 - 1),
        ("expert_used_count", 2),
    ],
)
def test_numbers_that_no_model_has(tiny: Path, tmp_path: Path, key: str, value: object) -> None:
    path = with_value(tiny, tmp_path / "odd.gguf", f"llama.{key}", value)
    with pytest.raises(ModelError, match=r"odd\.gguf is damaged: ") as caught:
        check_model_file(path)
    assert caught.value.hint and len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: setattr(f.tensors[0], "shape", []), "0 dimensions"),
        (lambda f: setattr(f.tensors[0], "shape", [64, 0]), "has the shape"),
        (lambda f: setattr(f.tensors[3], "name", f.tensors[4].name), "there twice"),
        (lambda f: setattr(f.tensors[3], "name", b"n" * 64), "too long"),
        (lambda f: setattr(f.tensors[3], "offset", f.tensors[3].offset + 1), "not aligned"),
        (lambda f: setattr(f.tensors[3], "offset", 2**63), "truncated"),
        (lambda f: setattr(f.tensors[0], "kind", 12), "in blocks of 256"),
        (lambda f: f.metadata.append((b"general.alignment", Value(4, 48))), "power of two|trunc"),
        (
            lambda f: f.metadata.append((b"general.alignment", Value(4, 2**31))),
            "power of two|trunc",
        ),
        (lambda f: _value(f, b"tokenizer.ggml.tokens").value.pop(), "tokens"),
        (lambda f: _value(f, b"tokenizer.ggml.token_type").value.pop(), "not as many token_type"),
        (lambda f: setattr(_value(f, b"tokenizer.ggml.tokens"), "value", []), "list of texts"),
        (lambda f: setattr(_value(f, b"general.architecture"), "value", b""), "architecture"),
        (lambda f: setattr(_value(f, b"general.architecture"), "kind", 7), "architecture"),
    ],
)
def test_headers_that_contradict_themselves(
    tiny: Path, tmp_path: Path, change: object, says: str
) -> None:
    file = Gguf.read(tiny)
    assert callable(change)
    change(file)
    path = tmp_path / "odd.gguf"
    file.write(path)
    with pytest.raises(ModelError, match=says):
        check_model_file(path)


def _value(file: Gguf, key: bytes) -> Value:
    return dict(file.metadata)[key]


def test_random_mistakes_end_in_errors(tiny: Path, tmp_path: Path) -> None:
    """With the command in ``gguf_mutants``, hundreds of them."""
    path = tmp_path / "mutant.gguf"
    found = []
    for seed in range(24):
        file = Gguf.read(tiny)
        mutate(file, random.Random(f"test {seed}"))
        file.write(path)
        found.append(outcome(path)[0])
    assert {REFUSED, DECLINED} <= set(found) <= {REFUSED, DECLINED, CAUGHT, OPENED}


def test_what_aborts_is_lost_with_the_child(tiny: Path, tmp_path: Path) -> None:
    path = with_value(tiny, tmp_path / "odd.gguf", "llama.nextn_predict_layers", 13)
    check_model_file(path)
    for load in (Model, check_vocabulary, LlamaCppActor):
        with pytest.raises(ModelError, match=r"odd\.gguf cannot be used: llama.cpp") as caught:
            load(path)
        assert caught.value.exit_code == EXIT_MODEL
    assert not trial.opened_files().exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda f: setattr(_value(f, b"adapter.type"), "value", b"dora"),
        lambda f: setattr(_value(f, b"adapter.lora.alpha"), "value", INF),
        lambda f: f.tensors.pop(),
        lambda f: setattr(f.tensors[0], "shape", [f.tensors[0].shape[0]]),
        lambda f: setattr(f.tensors[0], "shape", [f.tensors[0].shape[0], 2]),
        lambda f: setattr(f.tensors[0], "name", b"blk.0.attn_q.weight"),
        lambda f: setattr(f.tensors[0], "name", b"nothing.lora_a"),
        lambda f: f.tensors.clear(),
    ],
)
def test_adapters_that_are_none(tiny: Path, tmp_path: Path, change: object) -> None:
    file = Gguf.read(write_tiny_adapter(tmp_path / "adapter.gguf"))
    assert callable(change)
    change(file)
    path = tmp_path / "odd.gguf"
    file.write(path)
    with pytest.raises(ModelError, match=r"odd\.gguf"):
        check_adapter_file(path, check_model_file(tiny))


def test_random_mistakes_in_adapters(tiny: Path, tmp_path: Path) -> None:
    source = write_tiny_adapter(tmp_path / "adapter.gguf")
    assert outcome(tiny, source) == (OPENED, "")
    path = tmp_path / "mutant.gguf"
    for seed in range(12):
        file = Gguf.read(source)
        mutate(file, random.Random(f"adapter {seed}"))
        file.write(path)
        assert outcome(tiny, path)[0] in (REFUSED, DECLINED, CAUGHT, OPENED)


def test_a_file_is_tried_once(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Path] = []
    once = trial._try

    def count(path: Path, adapter: Path | None) -> None:
        tried.append(path)
        once(path, adapter)

    monkeypatch.setattr(trial, "_try", count)
    trial.check_opens(tiny)
    trial.check_opens(tiny)
    monkeypatch.setattr(trial, "_opened", set())
    trial.check_opens(tiny)
    assert tried == [tiny]
    # Another version of the library may read the file otherwise.
    monkeypatch.setattr(trial, "_opened", set())
    monkeypatch.setattr(trial, "library_version", lambda: "another")
    trial.check_opens(tiny)
    assert tried == [tiny, tiny]
    trial.check_opens(resolve_model(STARTER).gguf)
    monkeypatch.setattr(trial, "_made", set())
    made = write_tiny_adapter(tmp_path / "adapter.gguf")
    trial.note_made(made)
    trial.check_opens(tiny, made)
    assert len(tried) == 2


def test_a_home_that_cannot_be_written(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AGENTR_LITE_HOME", str(tmp_path / "file" / "home"))
    trial.check_opens(tiny)


def test_a_lost_child_is_an_error_of_the_file(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(path: Path, adapter: Path | None) -> None:
        raise ChildLost("took more than 3,000 MB")

    monkeypatch.setattr(trial, "_try", lose)
    with pytest.raises(ModelError, match=r"cannot be used: llama.cpp took more than 3,000 MB when"):
        trial.check_opens(tiny)
    adapter = write_tiny_adapter(tmp_path / "adapter.gguf")
    with pytest.raises(ModelError, match=r"adapter\.gguf cannot be used with .*tiny\.gguf"):
        trial.check_opens(tiny, adapter)
