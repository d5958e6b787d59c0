"""A training's memory is planned from the model's sizes, and the plan keeps to the limit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from agentr_lite.actors.llamacpp.gguf_header import read_header
from agentr_lite.actors.registry import resolve_model
from agentr_lite.convert.gguf_to_hf import convert_to_hf
from agentr_lite.core.errors import AgentrError
from agentr_lite.recipe.groups import TrainSettings
from agentr_lite.train.memory import (
    MemoryPlan,
    ModelShape,
    directory_shape,
    header_shape,
    plan_memory,
)
from tests.support.tiny_hybrids import trained_shape, write_shape

SMOLLM2 = ModelShape(30, 576, 576, 192, 1536, 49_152, tied=True)
QWEN2_0_5B = ModelShape(24, 896, 896, 128, 4864, 151_936, tied=True)
FREE = 1 << 40


def planned(shape: ModelShape, limit: float, **changes: int) -> MemoryPlan:
    values = {"longest": 1200, "cores": 2, "free": FREE, "batch_size": 4, **changes}
    settings = TrainSettings(memory=limit, batch_size=values.pop("batch_size"))
    return plan_memory(shape, settings, **values)  # type: ignore[arg-type]


def test_parameters_are_those_of_the_models() -> None:
    # Norms and biases are left out.
    assert SMOLLM2.parameters == pytest.approx(134_515_008, rel=0.001)
    assert QWEN2_0_5B.parameters == pytest.approx(494_032_768, rel=0.001)


def test_both_formats_of_a_model_have_the_same_shape() -> None:
    files = resolve_model("starter")
    assert files.train_dir is not None
    shape = directory_shape(files.train_dir)
    assert header_shape(read_header(files.gguf)) == shape
    config = json.loads((files.train_dir / "config.json").read_text("utf-8"))
    assert shape.vocabulary == config["vocab_size"]


def test_sizes_of_a_text_model_inside_another(tmp_path: Path) -> None:
    inner = {
        "hidden_size": 64,
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "intermediate_size": 100,
        "vocab_size": 500,
    }
    (tmp_path / "config.json").write_text(json.dumps({"text_config": inner}))
    assert directory_shape(tmp_path) == ModelShape(3, 64, 64, 64, 100, 500, tied=True)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"hidden_size": "wide"}', "null"])
def test_a_directory_that_does_not_say_its_sizes(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert directory_shape(tmp_path) is None
    plan = plan_memory(None, TrainSettings(memory=1.0), longest=9, cores=2)
    assert plan.workers == 2 and plan.recomputed > 1000


def test_the_adapter_is_counted_as_it_is_made() -> None:
    # 7 matrices a layer; measured on the model with rank 16.
    assert SMOLLM2.adapter_parameters(16, -1) == 4_884_480
    assert SMOLLM2.adapter_parameters(16, 3) * 10 == SMOLLM2.adapter_parameters(16, -1)
    assert SMOLLM2.adapter_parameters(16, 99) == SMOLLM2.adapter_parameters(16, 30)


@pytest.mark.parametrize(("shape", "limit"), [(SMOLLM2, 3.0), (QWEN2_0_5B, 6.0)])
def test_both_cores_work_within_the_limit(shape: ModelShape, limit: float) -> None:
    plan = planned(shape, limit)
    assert plan.workers == 2
    assert plan.peak_bytes <= limit * 1e9


@pytest.mark.parametrize("limit", [1.5, 2.0, 3.0, 4.0, 8.0, 30.0])
def test_no_plan_exceeds_its_limit(limit: float) -> None:
    plan = planned(SMOLLM2, limit, cores=8, batch_size=8)
    assert plan.peak_bytes <= limit * 1e9
    assert 0 <= plan.recomputed <= 30


def test_more_memory_is_used_for_speed() -> None:
    plans = [planned(SMOLLM2, limit) for limit in (1.5, 3.0, 6.0, 30.0)]
    speeds = [(plan.workers, -plan.recomputed) for plan in plans]
    assert speeds == sorted(speeds) and len(set(speeds)) == 4
    assert (plans[-1].workers, plans[-1].recomputed) == (2, 0)
    assert planned(SMOLLM2, 30.0, cores=64, batch_size=4).workers == 4


def test_without_a_limit_half_of_the_free_memory_is_used() -> None:
    plan = planned(SMOLLM2, 0.0, free=8_000_000_000)
    assert 1_500_000_000 < plan.peak_bytes <= 4_000_000_000
    # More than half, if one example at a time needs it.
    assert planned(SMOLLM2, 0.0, free=1_900_000_000).workers == 1
    with pytest.raises(AgentrError, match="less is free"):
        planned(SMOLLM2, 0.0, free=1_000_000_000)


def test_a_limit_that_holds_no_example_is_an_error_that_says_what_it_takes() -> None:
    with pytest.raises(AgentrError, match=r"up to 1,200 tokens needs about 1\.\d GB") as caught:
        planned(SMOLLM2, 0.9)
    assert "train.max_length" in (caught.value.hint or "")


def test_a_gpu_gets_smaller_parts() -> None:
    settings = TrainSettings(memory=4.0)
    tight = plan_memory(QWEN2_0_5B, settings, longest=1200, cores=8, gpu=True, free=FREE)
    free = plan_memory(QWEN2_0_5B, TrainSettings(), longest=1200, cores=8, gpu=True, free=FREE)
    assert tight.workers == free.workers == 1
    assert tight.part_tokens < free.part_tokens
    assert tight.peak_bytes <= 4e9


@pytest.mark.parametrize("kind", ["qwen35", "granitehybrid", "lfm2"])
def test_file_and_directory_say_the_same_of_recurrent_layers(tmp_path: Path, kind: str) -> None:
    file = write_shape(tmp_path / "m.gguf", trained_shape(kind))
    convert_to_hf(file, tmp_path / "hf")
    shape = directory_shape(tmp_path / "hf")
    assert shape is not None and shape == header_shape(read_header(file))
    assert bool(shape.recurrent) == (kind != "lfm2")


def test_states_of_recurrent_layers_count() -> None:
    plain = replace(SMOLLM2, recurrent=0)
    larger = replace(SMOLLM2, recurrent=100_000)
    assert larger.layer_numbers() > plain.layer_numbers()
    assert larger.parameters == plain.parameters
