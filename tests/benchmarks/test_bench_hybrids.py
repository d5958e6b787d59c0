"""Benchmarks on models with recurrent layers: what is written, counted and foreseen is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentr_lite.actors.llamacpp.gguf_header import check_model_file
from benchmarks import replay
from benchmarks.hybrids import LFM2_350M, QWEN3_5_0_8B, HybridShape, tensors
from benchmarks.replay import Settings
from tests.benchmarks.test_bench_engine import small_search
from tests.support.class_evaluations import counted_evaluations
from tests.support.tiny_hybrids import write_tiny_hybrid

CONTEXT = 256
KINDS = ("qwen35", "lfm2", "mamba")


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_hybrid(tmp_path_factory.mktemp("bench") / "tiny.gguf", request.param)


def test_ours_decodes_each_unique_token_once(model: Path) -> None:
    load = small_search()
    measured = replay.ours(model, load, context=CONTEXT, n_threads=1)
    assert measured.decoded_tokens is not None
    assert measured.decoded_tokens >= load.unique_tokens()
    assert measured.decoded_tokens <= load.unique_tokens() + 2 * len(load.calls)
    assert measured.counters.rollbacks == 0


def test_the_deterministic_engine_plays_it_too(model: Path) -> None:
    load = small_search()
    exact = Settings(deterministic=True)
    measured = replay.ours(model, load, context=CONTEXT, n_threads=1, settings=exact)
    assert measured.answer_tokens == load.answer_tokens
    assert measured.counters.restored_tokens > 0


def test_the_class_evaluates_every_prompt_again(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated = counted_evaluations(monkeypatch)
    measured = replay.high_level(
        model,
        small_search(),
        context=CONTEXT,
        n_threads=1,
        fresh=False,
        name="class",
        limit_seconds=600,
    )
    assert measured.run == 1
    assert measured.decoded_tokens == evaluated()


@pytest.mark.parametrize(
    ("shape", "millions", "state"), [(QWEN3_5_0_8B, 498, 20_201_472), (LFM2_350M, 287, 81_920)]
)
def test_the_shapes_are_those_of_the_models(
    shape: HybridShape, millions: int, state: int, tmp_path: Path
) -> None:
    inner = sum(
        size[0] * (size[1] if len(size) > 1 else 1)
        for name, size in tensors(shape, 1)
        if name.startswith("blk.")
    )
    assert round(inner / 1e6) == millions
    # The state does not depend on the widths of the projections, so a file of one layer tells it.
    header = check_model_file(write_tiny_hybrid(tmp_path / "tiny.gguf", shape.arch))
    sizes = {
        "block_count": shape.layers,
        "embedding_length": shape.width,
        "attention.head_count_kv": [
            shape.kv_heads * (layer in shape.attention) for layer in range(shape.layers)
        ],
        "ssm.conv_kernel": shape.kernel,
        "ssm.state_size": shape.state,
        "ssm.inner_size": shape.inner,
        "ssm.group_count": shape.groups,
    }
    header.metadata.update({f"{shape.arch}.{key}": value for key, value in sizes.items()})
    assert header.state_bytes() == state
