"""The actor on models with recurrent layers: answers, likelihoods, adapters, memory, tuning."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest

from agentr_lite.actors.base import GenerateRequest, Sampling, ScoreRequest
from agentr_lite.actors.digest import file_sha256
from agentr_lite.actors.llamacpp import calibrate, recurrence, tuning
from agentr_lite.actors.llamacpp import plan as planning
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.integrity import check_streams
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.llamacpp.plan import plan_lanes
from agentr_lite.actors.llamacpp.stream_lane import StreamLane
from agentr_lite.core.errors import ModelError
from agentr_lite.core.messages import Message
from tests.support.command_line import Call
from tests.support.crafting_chat import chat
from tests.support.tiny_hybrids import FAMILIES, tiny_shape, write_tiny_hybrid

CONTEXT = 256
KINDS = ("qwen35", "lfm2", "mamba")
"""A hybrid with a large state, one with a small state, and a model without attention."""


@pytest.fixture(scope="module", params=KINDS)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models")
    return write_tiny_hybrid(directory / f"{request.param}.gguf", request.param)


@pytest.fixture(scope="module")
def shared_actor(path: Path) -> Iterator[LlamaCppActor]:
    actor = LlamaCppActor(path, context_tokens=CONTEXT, n_threads=2)
    yield actor
    actor.close()


@pytest.fixture
def actor(shared_actor: LlamaCppActor) -> LlamaCppActor:
    shared_actor.use_adapter(None)
    shared_actor.reset_cache()
    return shared_actor


def requests(count: int, samples: int = 3, temperature: float = 1.0) -> list[GenerateRequest]:
    sampling = Sampling(max_tokens=16, temperature=temperature)
    return [
        GenerateRequest(chat(i, i % 3), tuple(range(10 * i + 1, 10 * i + 1 + samples)), sampling)
        for i in range(count)
    ]


def check(actor: LlamaCppActor) -> None:
    for lane in actor._lanes.lanes:
        assert isinstance(lane, StreamLane)
        check_streams(lane.streams, lane.context)


def test_a_batch_answers_what_each_request_alone_gets(actor: LlamaCppActor) -> None:
    asked = requests(6)
    together = [c.token_ids for r in actor.generate(asked) for c in r.completions]
    check(actor)
    alone = []
    for request in asked:
        for seed in request.seeds:
            actor.reset_cache()
            single = GenerateRequest(request.messages, (seed,), request.sampling)
            alone.append(actor.generate([single])[0].completions[0].token_ids)
    same = sum(a == b for a, b in zip(together, alone, strict=True))
    assert same >= 0.9 * len(alone), f"only {same} of {len(alone)} agree"


def test_the_same_calls_after_a_reset_give_the_same_bits(actor: LlamaCppActor) -> None:
    def work() -> list[object]:
        actor.reset_cache()
        results: list[object] = []
        for turn in range(3):
            asked = [
                GenerateRequest(chat(i, turn), (i + 1, i + 2), Sampling(max_tokens=8))
                for i in range(8)
            ]
            results += actor.generate(asked)
            results += actor.score([ScoreRequest(chat(i, turn), ("Good", "Bad")) for i in range(4)])
        return results

    assert work() == work()
    check(actor)


def test_deterministic_answers_do_not_depend_on_others(path: Path) -> None:
    actor = LlamaCppActor(path, context_tokens=CONTEXT, n_threads=2, deterministic=True)
    try:
        asked = requests(4)
        questions = [ScoreRequest(chat(i, 2), ("Good", "Bad", "Got 2 stick")) for i in range(3)]
        alone, judged = [], []
        for request in asked:
            actor.reset_cache()
            alone += [actor.generate([request])[0].completions]
        for question in questions:
            actor.reset_cache()
            judged += [actor.score([question])[0].log_likelihoods]
        for turn in range(2):
            order = slice(None, None, -1 if turn else 1)
            results = actor.generate(asked[order])[order]
            assert [result.completions for result in results] == alone
            scores = actor.score(questions[order])[order]
            assert [score.log_likelihoods for score in scores] == judged
        assert all(result.cached_tokens for result in results), "blocks were restored"
    finally:
        actor.close()


def logits_of(path: Path, tokens: list[int]) -> np.ndarray:
    model = Model(path)
    context = Context(model, n_cells=512, n_batch=512, n_threads=1, sequences=1, unified=False)
    count = len(tokens)
    rows = np.array(context.decode(tokens, range(count), [0] * count, outputs=count), np.float64)
    context.close()
    model.close()
    return rows


def likelihood(actor: LlamaCppActor, path: Path, question: list[Message], answer: str) -> float:
    """By plain full prefill of a file."""
    prompt = actor.encoder.prompt(question)
    assert prompt is not None
    tokens = actor.encoder.tokenizer.continuation(answer)
    rows = logits_of(path, prompt + tokens)[len(prompt) - 1 :]
    top = rows.max(axis=1)
    sums = top + np.log(np.exp(rows - top[:, None]).sum(axis=1))
    return float(sum(row[t] - s for row, t, s in zip(rows, tokens, sums, strict=False)))


def test_scores_equal_the_sums_over_the_full_logits(actor: LlamaCppActor, path: Path) -> None:
    answers = ("Good", "Bad", "Got 2 stick")
    actor.generate(requests(2))
    # The histories are beginnings of each other, and of what was generated.
    asked = [chat(1, turns) for turns in (2, 0, 1)]
    for question, result in zip(
        asked, actor.score([ScoreRequest(q, answers) for q in asked]), strict=True
    ):
        for answer, score in zip(answers, result.log_likelihoods, strict=True):
            assert score == pytest.approx(likelihood(actor, path, question, answer), abs=0.05)
    check(actor)


def write_adapter(path: Path, base: Path, merged: Path) -> None:
    """A random adapter for all matrices of the layers, and the base with it in its weights."""
    rng = np.random.default_rng(3)
    shutil.copy(base, merged)
    reader = gguf.GGUFReader(merged, "r+")
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    for tensor in reader.tensors:
        multiplied = "conv" not in tensor.name.replace("shortconv.", "")
        if tensor.name.startswith("blk.") and len(tensor.shape) == 2 and multiplied:
            if not tensor.name.endswith(".weight") or "norm" in tensor.name:
                continue
            rows, columns = tensor.data.shape
            a = rng.normal(0.0, 1.0 / np.sqrt(columns), (4, columns)).astype(np.float32)
            b = rng.normal(0.0, 0.05, (rows, 4)).astype(np.float32)
            tensor.data[:] += (8.0 / 4) * (b @ a)
            writer.add_tensor(f"{tensor.name}.lora_a", a)
            writer.add_tensor(f"{tensor.name}.lora_b", b)
    reader.data.flush()
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_an_adapter_computes_as_merged_weights_do(
    actor: LlamaCppActor, path: Path, tmp_path: Path
) -> None:
    adapter, merged = tmp_path / "adapter.gguf", tmp_path / "merged.gguf"
    write_adapter(adapter, path, merged)
    ask = [ScoreRequest(chat(1), ("Good", "Got 2 stick"))]
    base = actor.score(ask)[0].log_likelihoods
    actor.use_adapter(adapter)
    tuned = actor.score(ask)[0].log_likelihoods
    actor.use_adapter(None)
    assert actor.score(ask)[0].log_likelihoods == base
    for answer, before, after in zip(ask[0].continuations, base, tuned, strict=True):
        assert abs(after - before) > 0.2
        assert after == pytest.approx(likelihood(actor, merged, chat(1), answer), abs=0.1)


def test_what_an_earlier_state_costs_is_counted(actor: LlamaCppActor) -> None:
    before = actor._lanes.counters()
    actor.generate([GenerateRequest(chat(1, 2), (1,), Sampling(max_tokens=4))])
    assert actor._lanes.counters().rollbacks == before.rollbacks
    # Another observation after the same action: tokens are known, their state is not.
    other = [*chat(1, 2)[:-1], {"role": "user", "content": "Got nothing at all"}]
    actor.generate([GenerateRequest(other, (1,), Sampling(max_tokens=4))])  # type: ignore[list-item]
    after = actor._lanes.counters()
    assert after.rollbacks == before.rollbacks + 1
    assert 0 < after.recomputed_tokens - before.recomputed_tokens < CONTEXT
    check(actor)


@pytest.mark.parametrize("arch", FAMILIES)
def test_the_header_tells_the_size_of_cells_and_states(arch: str, tmp_path: Path) -> None:
    model = Model(write_tiny_hybrid(tmp_path / "tiny.gguf", arch))
    context = Context(model, n_cells=512, n_batch=256, n_threads=1, sequences=2, unified=False)
    context.decode([5] * 200, range(200), [0] * 200, outputs=0)
    state, whole = (save(0).nbytes for save in (context.save_state, context.save_sequence))
    # llama.cpp writes a few numbers for each layer, and for each cell.
    assert model.header.state_bytes() == pytest.approx(state, abs=250)
    assert model.header.cell_bytes() == pytest.approx((whole - state) / 200, abs=30)
    assert model.recurrent and model.has_cells == (tiny_shape(arch).attention != ())
    context.close()
    model.close()


def test_memory_is_planned_with_the_states(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(path)
    header = model.header
    one = CONTEXT * header.cell_bytes() + header.state_bytes()

    def plan(free: int, **changes: object) -> planning.LanePlan:
        monkeypatch.setattr(planning, "available_bytes", lambda: free)
        wanted = {"context_tokens": CONTEXT, "n_cells": None, "gpu": False, "n_threads": 2}
        return plan_lanes(model, **{**wanted, **changes})  # type: ignore[arg-type]

    whole = plan(1 << 34)
    assert (whole.count, whole.streams, whole.state_bytes) == (2, 16, header.state_bytes())
    assert not plan(1 << 34, streams=False, live_tokens=None).max_idle
    few = plan(1 << 34, live_tokens=4 * CONTEXT)
    assert (few.count, few.streams) == (2, 3)
    for free in (10 * one, 20 * one, 60 * one, 200 * one):
        tight = plan(free)
        taken = tight.count * (tight.streams * one + tight.copy_bytes)
        assert tight.streams and taken <= free * planning._MEMORY_SHARE
    with pytest.raises(ModelError, match="for its cells and its state") as caught:
        plan(5 * one)
    assert "context_tokens" in caught.value.hint
    model.close()


def test_recurrent_layers_of_an_unknown_kind_are_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurrence, "is_recurrent", lambda header: False)
    with pytest.raises(ModelError, match="size of its recurrent layers' state is not known"):
        Model(path)


def test_a_sequence_of_another_length_is_not_cut_silently(path: Path) -> None:
    model = Model(path)
    context = Context(model, n_cells=512, n_batch=256, n_threads=1, sequences=2, unified=False)
    context.decode([5] * 20, range(20), [0] * 20, outputs=0)
    with pytest.raises(ModelError, match="cannot cut a sequence back to 10 tokens"):
        context.remove(0, 10)
    context.remove(0, 20)
    assert context.last_position(0) == 19
    context.close()
    model.close()


def test_tuning_measures_streams(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "PROMPT_TOKENS", 64)
    monkeypatch.setattr(calibrate, "MICRO_BATCHES", (256, 512))
    found = calibrate.calibrate(path, turns=1, n_threads=2)
    assert {shape.micro_batch for shape in found.shapes} == {256, 512}
    for shape in found.shapes:
        assert set(shape.decode) == set(calibrate.STREAM_WIDTHS)
        assert shape.prefill > 0 and min(shape.decode.values()) > 0
    tuning.store(file_sha256(path), "tiny", found.best)
    actor = LlamaCppActor(path, context_tokens=CONTEXT, n_threads=2)
    assert len(actor.generate(requests(1))[0].completions) == 3
    actor.close()
    tuning.forget(file_sha256(path))


def test_show_says_what_works(path: Path, cli: Call) -> None:
    code, out, err = cli("models", "show", path, "--json")
    assert code == 0, err
    shown = json.loads(out)
    model = Model(path)
    assert shown["state_bytes_a_conversation"] == model.header.state_bytes()
    assert shown["cache_bytes_a_token"] == (model.header.cell_bytes() or None)
    # The adapters of Mamba are not made here.
    trains = model.header.architecture != "mamba"
    model.close()
    works = {ability["name"]: ability["works"] for ability in shown["abilities"]}
    always = dict.fromkeys(("play", "score", "adapter", "sharing", "memory"), True)
    assert works == {**always, "train": trains}
    code, out, _ = cli("models", "show", path)
    assert code == 0 and "recurrent layers" in out
    assert ("cannot be converted to" in out) != trains
