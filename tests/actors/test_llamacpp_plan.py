"""How caches are sized and spread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.actors.llamacpp import machine
from agentr_lite.actors.llamacpp import plan as planning
from agentr_lite.actors.llamacpp.lanes import Lanes
from agentr_lite.actors.llamacpp.library import Gpu
from agentr_lite.actors.llamacpp.machine import available_bytes, physical_cores
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.llamacpp.plan import LanePlan, Sized, plan_lanes
from agentr_lite.actors.llamacpp.sampler import Greedy
from agentr_lite.actors.llamacpp.scheduler import Job, Sample
from agentr_lite.actors.llamacpp.tuning import Tuning
from agentr_lite.core.errors import ModelError
from tests.support.tiny_gguf import write_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    model = Model(write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf"))
    yield model
    model.close()


def job(tokens: list[int]) -> Job:
    return Job(tokens, [Sample(Greedy(), 20)])


def test_the_machine_has_cores_and_memory() -> None:
    assert physical_cores() >= 1
    assert available_bytes() > 1 << 20


def test_a_containers_file_cache_counts_as_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    assert available_bytes() == 100_000
    stat = tmp_path / "memory.stat"
    stat.write_text("anon 50000\nfile 800000\nshmem 50000\n")
    assert available_bytes() == 100_000
    # A model file that was just downloaded.
    stat.write_text("anon 50000\nfile 800000\ninactive_file 700000\nactive_file 50000\n")
    assert available_bytes() == 850_000
    # The files are read one after the other: the numbers need not agree.
    stat.write_text("inactive_file 2000000\n")
    assert available_bytes() == 1_000_000


def test_a_small_model_gets_many_lanes_that_each_hold_a_conversation(model: Model) -> None:
    for context in (64, 1000, 5000):
        plan = plan_lanes(model, context_tokens=context, n_cells=None, gpu=False, n_threads=4)
        assert plan.count > 1
        assert plan.parallel
        assert plan.n_cells >= context


@dataclass(frozen=True)
class SmolLm2:
    """Sizes of SmolLM2-135M; a token's keys and values take 23 kB."""

    header: Any
    n_params: int = 134_515_008


@pytest.fixture
def smollm2(model: Model) -> SmolLm2:
    sizes = {
        "embedding_length": 576,
        "block_count": 30,
        "attention.head_count": 9,
        "attention.head_count_kv": 3,
    }
    metadata = {f"llama.{key}": value for key, value in sizes.items()}
    return SmolLm2(replace(model.header, metadata={"general.architecture": "llama", **metadata}))


def test_caches_hold_no_more_than_is_in_play(
    smollm2: SmolLm2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "available_bytes", lambda: 64 << 30)
    cell = smollm2.header.cell_bytes()
    assert cell == 23_040

    def taken(live_tokens: int | None) -> tuple[int, int]:
        plan = plan_lanes(
            smollm2,
            context_tokens=3072,
            n_cells=None,
            gpu=False,
            n_threads=2,
            live_tokens=live_tokens,
            streams=False,
        )
        assert plan.n_cells >= 3072
        return plan.count * plan.n_cells * cell, plan.count * plan.spill_bytes

    cells, spill = taken(12 * 3072)
    assert cells < 0.3e9 and spill <= 12 * 3072 * cell
    assert taken(4 * 3072)[0] == 4 * 3072 * cell
    assert taken(1)[0] <= planning._LITTLE_BYTES
    assert taken(None)[1] > 4e9


def test_a_medium_model_with_many_threads_keeps_its_lanes(smollm2: SmolLm2) -> None:
    counts = [
        plan_lanes(
            smollm2, context_tokens=512, n_cells=None, gpu=False, n_threads=n, streams=False
        ).count
        for n in (1, 2, 4, 16)
    ]
    assert counts == [4, 4, 8, 8]


def test_with_our_attention_lanes_are_few_and_large(model: Model, smollm2: SmolLm2) -> None:
    for n_threads, small, medium in ((1, 4, 2), (2, 4, 2), (8, 8, 8)):
        for sized, count in ((model, small), (smollm2, medium)):
            plan = streams_of(sized, n_threads=n_threads, kernel=True)
            assert (plan.count, plan.streams, plan.flash_attention) == (count, 0, True)
            assert plan.parallel and plan.n_cells == planning._KERNEL_CELLS
    assert streams_of(smollm2, kernel=True, streams=True).streams
    few = streams_of(smollm2, kernel=True, live_tokens=4 * 2048)
    assert few.count * few.n_cells * smollm2.header.cell_bytes() <= planning._LITTLE_BYTES


def streams_of(model: Sized, **changes: Any) -> LanePlan:
    wanted: dict[str, Any] = {"context_tokens": 2048, "n_cells": None, "gpu": False, "n_threads": 2}
    return plan_lanes(model, **{"live_tokens": 500 * 2048, **wanted, **changes})


def test_a_medium_model_gets_a_lane_of_streams_for_each_thread(
    smollm2: SmolLm2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "available_bytes", lambda: 64 << 30)
    for threads in (1, 2, 4):
        plan = streams_of(smollm2, n_threads=threads)
        assert (plan.count, plan.streams, plan.sequences) == (threads, 16, 16)
        assert plan.n_cells == 16 * 2048
        assert plan.parallel and not plan.flash_attention
    # llama.cpp rounds a stream's cells up.
    assert streams_of(smollm2, context_tokens=2000).n_cells == 16 * 2048
    large = replace(smollm2, n_params=494_000_000)
    assert not streams_of(large).streams
    two = streams_of(large, streams=True)
    assert (two.count, two.parallel, two.lends_threads, two.streams) == (2, True, True, 16)
    # Its weights would be read once for each lane.
    four = streams_of(large, n_threads=4, streams=True)
    assert (four.count, four.parallel, four.lends_threads, four.streams) == (1, False, False, 16)


def test_streams_take_no_more_than_shared_caches_and_their_ram(
    smollm2: SmolLm2, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = smollm2.header.cell_bytes()

    def most(plan: LanePlan) -> int:
        return plan.count * (plan.n_cells * cell + plan.spill_bytes + plan.copy_bytes)

    for free in (1, 2, 4, 8, 16, 64):
        monkeypatch.setattr(planning, "available_bytes", lambda free=free: free << 30)
        for conversations in (1, 4, 12, 43, 500):
            live = conversations * 2048
            shared = streams_of(smollm2, live_tokens=live, streams=False)
            plan = streams_of(smollm2, live_tokens=live)
            assert most(plan) <= most(shared)
            if plan.streams:
                assert plan.streams <= -(-conversations // plan.count) + 1
    few, some = (streams_of(smollm2, live_tokens=count * 2048) for count in (4, 12))
    assert (few.count, few.streams, some.count, some.streams) == (2, 3, 2, 6)


def test_no_streams_where_they_were_not_measured_or_do_not_fit(
    smollm2: SmolLm2, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "available_bytes", lambda: 64 << 30)
    monkeypatch.setattr(planning, "gpus", lambda: [card(64 << 30)])
    assert streams_of(smollm2).streams
    assert not streams_of(smollm2, streams=False).streams
    assert not streams_of(smollm2, gpu=True).streams
    assert not streams_of(smollm2, gpu=True, streams=True).streams
    assert not streams_of(smollm2, n_cells=60_000).streams
    assert not streams_of(smollm2, live_tokens=None).streams
    assert not streams_of(model).streams, "a small model"
    assert not streams_of(replace(smollm2, n_params=2_000_000_000)).streams
    window = {**smollm2.header.metadata, "llama.attention.sliding_window": 1024}
    sliding = replace(smollm2, header=replace(smollm2.header, metadata=window))
    assert not streams_of(sliding).streams
    monkeypatch.setattr(planning, "available_bytes", lambda: 300 << 20)
    assert streams_of(smollm2) == streams_of(smollm2, streams=False)


def test_a_tuning_changes_only_the_micro_batch_of_streams(smollm2: SmolLm2) -> None:
    plan = streams_of(smollm2, streams=True)
    assert plan.tuned(Tuning(64, 1024, True)) == replace(plan, n_ubatch=1024, n_batch=1024)


def test_few_cells_mean_few_lanes(model: Model) -> None:
    plan = plan_lanes(model, context_tokens=300, n_cells=700, gpu=False, n_threads=4)
    assert (plan.count, plan.n_cells) == (2, 350)
    assert plan_lanes(model, context_tokens=300, n_cells=10, gpu=False, n_threads=4).n_cells == 300


def card(free: int, *, shares_ram: bool = False) -> Gpu:
    return Gpu("a card", free, 2 * free, shares_ram)


def test_a_gpu_gets_one_wide_lane(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "gpus", lambda: [card(1 << 30)])
    plan = plan_lanes(model, context_tokens=300, n_cells=None, gpu=True, n_threads=4)
    assert plan.count == 1
    assert plan.flash_attention
    assert plan.width > 32


def test_a_gpus_cache_is_planned_by_its_own_memory(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = model.header.cell_bytes()

    def cells(*cards: Gpu, ram: int) -> int:
        monkeypatch.setattr(planning, "gpus", lambda: list(cards))
        monkeypatch.setattr(planning, "available_bytes", lambda: ram)
        return plan_lanes(model, context_tokens=64, n_cells=None, gpu=True, n_threads=4).n_cells

    much, little = 10**6 * cell, 10**4 * cell
    assert cells(card(much), ram=little) == 65_536
    assert cells(card(little), ram=much) < 4_096
    # Several cards hold a part of the layers each.
    assert cells(card(much // 2), card(much // 2), ram=little) == 65_536
    # A Mac's GPU has no memory of its own.
    assert cells(card(much, shares_ram=True), ram=little) < 4_096


def test_too_little_memory_on_a_gpu_is_said(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "gpus", lambda: [card(100_000)])
    with pytest.raises(ModelError, match="more than is free on the GPU"):
        plan_lanes(model, context_tokens=4096, n_cells=None, gpu=True, n_threads=4)


def test_too_little_memory_is_said(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "available_bytes", lambda: 100_000)
    with pytest.raises(ModelError, match="more than is free"):
        plan_lanes(model, context_tokens=4096, n_cells=None, gpu=False, n_threads=4)


@pytest.fixture
def lanes(model: Model) -> Iterator[Lanes]:
    plan = LanePlan(
        4,
        512,
        parallel=True,
        lends_threads=False,
        max_idle=300,
        cells_a_token=300,
        flash_attention=False,
    )
    lanes = Lanes(model, plan, n_threads=2)
    yield lanes
    lanes.close()


def test_strangers_part_and_relatives_stay_together(lanes: Lanes) -> None:
    talks = [[10 * i + t % 7 for t in range(160)] for i in range(1, 5)]
    first = lanes.assign([job(talk) for talk in talks])
    assert sorted(first) == [0, 1, 2, 3]
    longer = lanes.assign([job([*talk, 5, 6, 7]) for talk in reversed(talks)])
    assert longer == first[::-1]
    twins = lanes.assign([job(talks[2]) for _ in range(3)])
    assert set(twins) == {first[2]}


def test_assignments_repeat_after_a_reset(lanes: Lanes) -> None:
    work = [[job([i % 5] * (40 + 9 * i)) for i in range(12)] for _ in range(3)]
    first = [lanes.assign(jobs) for jobs in work]
    lanes.reset()
    assert [lanes.assign(jobs) for jobs in work] == first


def test_evicted_prefixes_get_a_share_of_the_memory(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "available_bytes", lambda: 1_000_000_000)
    plan = plan_lanes(model, context_tokens=64, n_cells=None, gpu=False, n_threads=4)
    assert 50_000_000 < plan.spill_bytes * plan.count <= 200_000_000
    monkeypatch.setattr(planning, "available_bytes", lambda: 1_010_000_000)
    assert plan_lanes(model, context_tokens=64, n_cells=None, gpu=False, n_threads=4) == plan


def test_a_large_model_gets_one_cache_for_all_trees(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not plan_lanes(
        model, context_tokens=64, n_cells=None, gpu=False, n_threads=4
    ).flash_attention
    monkeypatch.setattr(model, "n_params", 500_000_000)
    plan = plan_lanes(model, context_tokens=64, n_cells=None, gpu=False, n_threads=4, streams=False)
    # Wide steps pay there, and flash attention passes over other trees' cells.
    assert (plan.count, plan.parallel, plan.flash_attention) == (1, False, True)
    two = plan_lanes(model, context_tokens=64, n_cells=None, gpu=False, n_threads=2, streams=False)
    assert (two.count, two.parallel, two.flash_attention) == (2, True, True)
    assert two.n_cells * 2 == plan.n_cells
    lanes = Lanes(model, two, n_threads=2)
    used = []
    for lane in lanes.lanes:
        monkeypatch.setattr(lane.context, "use_threads", used.append)
    strangers = [job([10 * i + t % 7 for t in range(160)]) for i in range(1, 3)]
    lanes.run(strangers[:1])
    assert used == [2, 1], "one lane alone works with both threads"
    lanes.run(strangers)
    assert used == [2, 1], "two lanes work with one each"
    lanes.close()
