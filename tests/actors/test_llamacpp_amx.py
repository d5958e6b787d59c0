"""llama.cpp's AMX kernels are used where a trial shows that they are right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agentr_lite.actors.llamacpp import amx, amx_child
from agentr_lite.actors.registry import STARTER, resolve_model


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("AGENTR_LITE_HOME", str(tmp_path / "home"))
    amx.repacks.cache_clear()
    yield
    amx.repacks.cache_clear()


def notes() -> list[str]:
    file = amx.tried_libraries()
    return [line.split()[-1] for line in file.read_text().splitlines()] if file.exists() else []


def test_the_trial_finds_this_build_sound_or_has_amx_to_refuse() -> None:
    # Without AMX, it compares the processor's other kernels, which are right.
    assert amx._try() or amx.has_amx()


def test_no_trial_without_amx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amx, "has_amx", lambda: False)
    monkeypatch.setattr(amx, "_CHILD", "no.such.module")
    assert amx.repacks()
    assert not notes()


def test_a_crash_in_the_trial_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amx, "has_amx", lambda: True)
    with monkeypatch.context() as patch:
        # It ends at its import, without an answer.
        patch.setattr(amx, "_CHILD", "no.such.module")
        assert not amx.repacks()
    assert notes() == ["wrong"]
    amx.repacks.cache_clear()
    monkeypatch.setattr(amx, "_try", lambda: pytest.fail("tried again"))
    assert not amx.repacks()


def test_a_right_build_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amx, "has_amx", lambda: True)
    monkeypatch.setattr(amx, "_try", lambda: True)
    assert amx.repacks()
    assert notes() == ["right"]


@pytest.mark.parametrize("wrong", [1.0, float("nan")])
def test_other_numbers_are_noticed(wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    starter = str(resolve_model(STARTER).gguf)

    def logits(path: Path, *, repacked: bool) -> np.ndarray:
        values = np.linspace(-5, 5, 40, dtype=np.float32).reshape(4, 10)
        values[2, 3] += wrong if repacked and "q4_k_m" in path.name else 0
        return values

    monkeypatch.setattr(amx_child, "_logits", logits)
    assert not amx_child._answer(starter)
    wrong = 0.01
    assert amx_child._answer(starter)
