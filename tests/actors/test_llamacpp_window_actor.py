"""The actor on models with sliding windows: which cells it keeps, and that answers are the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.actors.base import GenerateRequest, Sampling, ScoreRequest
from agentr_lite.actors.llamacpp import plan as planning
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.actors.llamacpp.gguf_header import read_header
from agentr_lite.actors.llamacpp.gguf_records import Header
from agentr_lite.actors.llamacpp.integrity import check_streams
from agentr_lite.actors.llamacpp.plan import LanePlan, keeps_windows, plan_lanes
from agentr_lite.actors.llamacpp.stream_lane import StreamLane
from agentr_lite.actors.llamacpp.tuning import Tuning
from agentr_lite.actors.llamacpp.windows import MICRO_BATCH, saves_memory, windowed_bytes
from agentr_lite.core.errors import ModelError
from tests.support.crafting_chat import chat
from tests.support.tiny_gguf import write_tiny_model
from tests.support.tiny_windows import WINDOW, write_tiny_windows

CONTEXT = 1024


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_windows(tmp_path_factory.mktemp("models") / "tiny.gguf", "gemma3")


@pytest.fixture(scope="module")
def windowed(path: Path) -> Iterator[LlamaCppActor]:
    actor = LlamaCppActor(path, context_tokens=CONTEXT, n_threads=2, windowed=True)
    yield actor
    actor.close()


@pytest.fixture(scope="module")
def whole(path: Path) -> Iterator[LlamaCppActor]:
    actor = LlamaCppActor(path, context_tokens=CONTEXT, n_threads=2)
    yield actor
    actor.close()


def test_both_ways_answer_the_same(windowed: LlamaCppActor, whole: LlamaCppActor) -> None:
    assert windowed.description["window"] == WINDOW and windowed.description["streams"]
    assert "window" not in whole.description and "streams" not in whole.description
    sampling = Sampling(max_tokens=16, temperature=1.0)
    asked = [GenerateRequest(chat(i, i % 4), (i + 1, i + 9, i + 17), sampling) for i in range(8)]
    questions = [ScoreRequest(chat(i, 3), ("Good", "Bad", "Got 2 stick")) for i in range(4)]
    answers, scores = [], []
    for actor in (windowed, whole):
        actor.reset_cache()
        results = actor.generate(asked)
        answers.append([c.token_ids for result in results for c in result.completions])
        scores.append([score.log_likelihoods for score in actor.score(questions)])
    same = sum(a == b for a, b in zip(*answers, strict=True))
    assert same >= 0.9 * len(answers[0]), f"only {same} of {len(answers[0])} agree"
    for ours, theirs in zip(*scores, strict=True):
        assert ours == pytest.approx(theirs, abs=0.1)
    for lane in windowed._lanes.lanes:
        assert isinstance(lane, StreamLane) and lane.context.window == WINDOW
        check_streams(lane.streams, lane.context)


def test_the_same_calls_after_a_reset_give_the_same_bits(windowed: LlamaCppActor) -> None:
    def work() -> list[object]:
        windowed.reset_cache()
        results: list[object] = []
        for turn in range(4):
            asked = [
                GenerateRequest(chat(i, turn), (i + 1, i + 2), Sampling(max_tokens=8))
                for i in range(8)
            ]
            results += windowed.generate(asked)
            results += windowed.score(
                [ScoreRequest(chat(i, turn), ("Good", "Bad")) for i in range(4)]
            )
        return results

    assert work() == work()


def test_deterministic_answers_need_all_cells(path: Path) -> None:
    actor = LlamaCppActor(
        path, context_tokens=CONTEXT, n_threads=1, windowed=True, deterministic=True
    )
    assert "window" not in actor.description
    actor.close()


@dataclass(frozen=True)
class Gemma:
    """Sizes of Gemma 3 270M: 15 of 18 layers see 512 tokens."""

    header: Header
    n_params: int = 268_098_176


@pytest.fixture(scope="module")
def gemma(path: Path) -> Gemma:
    sizes = {
        "embedding_length": 640,
        "block_count": 18,
        "attention.head_count": 4,
        "attention.head_count_kv": 1,
        "attention.key_length": 256,
        "attention.value_length": 256,
        "attention.sliding_window": 512,
    }
    header = read_header(path)
    header.metadata.clear()
    header.metadata.update({f"gemma3.{key}": value for key, value in sizes.items()})
    header.metadata["general.architecture"] = "gemma3"
    return Gemma(header)


def planned(model: Gemma, **changes: Any) -> LanePlan:
    wanted: dict[str, Any] = {
        "context_tokens": 4096,
        "n_cells": None,
        "gpu": False,
        "n_threads": 2,
        "live_tokens": 16 * 4096,
    }
    return plan_lanes(model, **{**wanted, **changes})


def test_what_a_conversation_takes(gemma: Gemma) -> None:
    header = gemma.header
    assert (header.window, header.cell_bytes(), header.window_cell_bytes()) == (512, 18432, 15360)
    assert windowed_bytes(header, 4096) == 4096 * 3072 + (512 + MICRO_BATCH) * 15360
    assert windowed_bytes(header, 4000) == windowed_bytes(header, 4096), "cells are rounded up"
    # A conversation that is no longer than the cells of its windows gains nothing.
    assert [saves_memory(header, tokens) for tokens in (512, 768, 769)] == [False, False, True]
    assert windowed_bytes(header, 512) == 512 * 18432


def test_all_cells_are_kept_where_they_fit(gemma: Gemma, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, alone = 4096 * 18432, windowed_bytes(gemma.header, 4096)
    share = planning._MEMORY_SHARE

    def with_free(conversations: float, **changes: Any) -> LanePlan:
        free = int(conversations * whole / share) + 1
        monkeypatch.setattr(planning, "available_bytes", lambda: free)
        return planned(gemma, **changes)

    for conversations in (1, 2, 40):
        assert not with_free(conversations).streams
        assert not keeps_windows(gemma.header, 4096)
    short = (3.01 * alone) / whole
    for conversations in (short, 0.99):
        found = with_free(conversations)
        taken = found.count * (found.n_cells * 3072 + found.streams * found.state_bytes)
        assert found.window == 512 and found.streams
        assert taken + found.count * found.copy_bytes <= conversations * whole + 1
        assert keeps_windows(gemma.header, 4096)
        with pytest.raises(ModelError, match="more than is free") as caught:
            with_free(conversations, windowed=False)
        assert "agent.deterministic" in caught.value.hint
    with pytest.raises(ModelError, match="more than is free") as caught:
        with_free(2.9 * alone / whole)
    assert "agent.deterministic" not in caught.value.hint
    # Where nothing is gained, memory does not matter.
    assert not planned(gemma, context_tokens=512, windowed=True).streams


def test_windows_alone_can_be_asked_for(gemma: Gemma, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "available_bytes", lambda: 64 << 30)
    found = planned(gemma, windowed=True)
    assert (found.window, found.count, found.streams, found.n_ubatch) == (512, 2, 9, MICRO_BATCH)
    assert found.state_bytes == (512 + MICRO_BATCH) * 15360
    assert found.tuned(Tuning(64, 1024, True)) == found
    small = planned(gemma, windowed=True, n_cells=3 * 4096)
    assert small.count * small.n_cells <= 4 * 4096


def test_models_without_windows_have_no_choice(tmp_path: Path) -> None:
    header = read_header(write_tiny_model(tmp_path / "m.gguf"))
    assert not keeps_windows(header, CONTEXT)
    found = planned(Gemma(header), context_tokens=CONTEXT, windowed=True)
    assert not found.window
