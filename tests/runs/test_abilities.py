"""``models show`` says what works with a file, and only what works."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentr_lite.actors.llamacpp import plan as planning
from agentr_lite.actors.llamacpp.gguf_header import read_header
from agentr_lite.actors.llamacpp.windows import windowed_bytes
from agentr_lite.runs import abilities as module
from agentr_lite.runs.abilities import Ability, abilities
from agentr_lite.runs.window_memory import window_memory
from tests.support.tiny_gguf import write_tiny_model
from tests.support.tiny_hybrids import trained_shape, write_shape, write_tiny_hybrid
from tests.support.tiny_windows import write_tiny_windows


def able(path: Path, *, own_weights: bool = False) -> dict[str, Ability]:
    return {each.name: each for each in abilities(read_header(path), own_weights=own_weights)}


def test_every_question_is_answered(tmp_path: Path) -> None:
    found = able(write_shape(tmp_path / "m.gguf", trained_shape("lfm2")))
    assert list(found) == ["play", "score", "train", "adapter", "sharing", "memory"]
    assert all(each.works and each.why for each in found.values())
    assert found["train"].why == "from this file"
    assert "saved states" in found["sharing"].why and "state" in found["play"].why


def test_attention_alone_shares_cells(tmp_path: Path) -> None:
    found = able(write_tiny_model(tmp_path / "m.gguf"))
    assert "cells" in found["sharing"].why


def test_a_family_without_converted_adapters_does_not_train(tmp_path: Path) -> None:
    path = write_tiny_hybrid(tmp_path / "m.gguf", "jamba")
    for own_weights in (False, True):
        train = able(path, own_weights=own_weights)["train"]
        assert not train.works and "'jamba'" in train.why


def test_an_unknown_tokenizer_needs_the_directory(tmp_path: Path) -> None:
    path = write_shape(tmp_path / "m.gguf", trained_shape("qwen35"), pre="gpt-4o")
    train = able(path)["train"]
    assert not train.works and "'gpt-4o'" in train.why and "train_model" in train.why
    assert able(path, own_weights=True)["train"].works


def test_memory_counts_file_cells_and_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_shape(tmp_path / "m.gguf", trained_shape("qwen35"))
    header = read_header(path)
    needed = header.file_bytes + 1024 * header.cell_bytes() + header.state_bytes()
    monkeypatch.setattr(module, "available_bytes", lambda: needed)
    assert able(path)["memory"].works
    assert "1,024 tokens" in able(path)["memory"].why
    monkeypatch.setattr(module, "available_bytes", lambda: needed - 1)
    assert not able(path)["memory"].works


def test_a_sliding_window_says_which_cells_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiny_windows(tmp_path / "m.gguf", "gemma3")
    header = read_header(path)
    whole, alone = 4096 * header.cell_bytes(), windowed_bytes(header, 4096)
    assert alone < whole / 3
    found = able(path)
    assert "sliding window of 24 tokens" in found["play"].why
    assert "keep the cells of all tokens" in found["memory"].why
    assert f"{whole / 1e6:,.1f} MB, less" in found["memory"].why
    assert f"or {alone / 1e6:,.1f} MB if memory were too short" in found["memory"].why
    monkeypatch.setattr(planning, "available_bytes", lambda: int(2.4 * whole))
    found = able(path)
    assert "keep the window's cells only" in found["memory"].why
    assert f"each more {alone / 1e6:,.1f} MB;" in found["memory"].why
    assert "copied" in found["sharing"].why


def test_a_window_that_is_longer_than_the_conversation_is_no_matter(tmp_path: Path) -> None:
    header = read_header(write_tiny_windows(tmp_path / "m.gguf", "gemma3", window=2048))
    assert window_memory(header, 2048).endswith("all 2,048 tokens: windows would save none")
    assert window_memory(read_header(write_tiny_model(tmp_path / "l.gguf")), 2048) == ""
