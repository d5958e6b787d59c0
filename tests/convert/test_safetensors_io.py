"""Tensors of every type that a model's weights have, and files that are no such thing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from agentr_lite.actors.mlx.blas import use_fast_blas
from agentr_lite.convert.safetensors_io import (
    LazyTensor,
    SafetensorsFile,
    read_model_tensors,
    write_tensors,
)
from agentr_lite.core.errors import ModelError

VALUES = np.array([[1.0, -2.5], [0.15625, 3e4]], np.float32)
"""Exact in every type."""


@pytest.mark.parametrize("kind", ["float64", "float32", "float16"])
def test_numpy_types(tmp_path: Path, kind: str) -> None:
    save_file({"b": VALUES.astype(kind), "a": VALUES[0].astype(kind)}, str(tmp_path / "f"))
    file = SafetensorsFile(tmp_path / "f")
    assert file.names() == ["a", "b"]
    read = file.read("b")
    assert read.dtype == np.float32
    assert np.array_equal(read, VALUES.astype(kind))
    assert read.flags.writeable


def test_bfloat16_beside_another_type(tmp_path: Path) -> None:
    use_fast_blas()
    import mlx.core as mx

    values = np.array([[1.0, -2.5], [0.15625, 2.0**100]], np.float32)
    arrays = {"b": mx.array(values).astype(mx.bfloat16), "a": mx.array(VALUES)}
    mx.save_safetensors(str(tmp_path / "f.safetensors"), arrays)
    file = SafetensorsFile(tmp_path / "f.safetensors")
    for _ in range(2):
        read = file.read("b")
        assert read.dtype == np.float32
        assert np.array_equal(read, values)
    assert np.array_equal(file.read("a"), VALUES)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    patterns = (VALUES.view(np.uint32) >> 16).astype(np.uint16)
    entries = [
        LazyTensor("rows", "F16", (2, 2), lambda: iter(VALUES.astype(np.float16))),
        LazyTensor("bits", "BF16", (2, 2), lambda: iter([patterns])),
    ]
    write_tensors(tmp_path / "f", entries)
    file = SafetensorsFile(tmp_path / "f")
    assert np.array_equal(file.read("rows"), VALUES.astype(np.float16))
    expected = (patterns.astype(np.uint32) << 16).view(np.float32)
    assert np.array_equal(file.read("bits"), expected)


def test_quantized_tensors_are_refused(tmp_path: Path) -> None:
    save_file({"q": np.zeros((2, 2), np.uint32)}, str(tmp_path / "f"))
    with pytest.raises(ModelError, match=r"'q' in .* is of type U32; needed: F32, F16 or BF16"):
        SafetensorsFile(tmp_path / "f").read("q")


@pytest.mark.parametrize("damage", ["empty", "short", "long"])
def test_damaged_files_are_refused(tmp_path: Path, damage: str) -> None:
    save_file({"a": VALUES}, str(tmp_path / "f"))
    whole = (tmp_path / "f").read_bytes()
    data = {"empty": b"", "short": whole[:-1], "long": whole + b"0"}[damage]
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(ModelError, match="is not a whole safetensors file") as caught:
        SafetensorsFile(tmp_path / "f")
    assert caught.value.hint


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no file .*f"):
        SafetensorsFile(tmp_path / "f")
    with pytest.raises(ModelError, match=r"no model\.safetensors in"):
        next(read_model_tensors(tmp_path))


def test_shards_are_read_in_order(tmp_path: Path) -> None:
    parts: list[dict[str, Any]] = [{"b": VALUES}, {"a": VALUES[0]}]
    for number, part in enumerate(parts, 1):
        save_file(part, str(tmp_path / f"model-0000{number}-of-00002.safetensors"))
    assert [name for name, _ in read_model_tensors(tmp_path)] == ["b", "a"]
