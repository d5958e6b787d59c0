"""Real models: from the GGUF file to MLX, to a trained adapter, and back to llama.cpp."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentr_lite.actors.download.places import IndexFile
from agentr_lite.convert.adapter_check import compare_adapter
from agentr_lite.convert.check import (
    DIVERGENCE_LIMITS,
    LIKELIHOOD_LIMIT,
    TOLERANCE,
    check_copy,
)
from agentr_lite.convert.gguf_to_hf import convert_to_hf
from agentr_lite.recipe.groups import TrainSettings
from agentr_lite.train.batches import TrainExample
from agentr_lite.train.lora import train_lora
from tests.support.chat_families import FAMILIES
from tests.support.real_models import GEMMA3, SMOLLM2, fetch

pytestmark = pytest.mark.models

SETTINGS = TrainSettings(
    epochs=2, learning_rate=5e-4, rank=8, scale=4.0, batch_size=2, max_length=512, patience=0
)
EXAMPLES = [
    TrainExample(
        [
            {"role": "user", "content": f"Goal: craft {count} {thing}."},
            {"role": "assistant", "content": f"Action: get {count} {thing}"},
            {"role": "user", "content": "Could not find it."},
            {"role": "assistant", "content": f"Action: craft {count} {thing}"},
        ],
        [False, True, False, True],
    )
    for count, thing in ((2, "oak planks"), (4, "sticks"), (1, "chest"), (3, "ladders"))
]


@pytest.fixture(scope="module", params=[SMOLLM2, GEMMA3], ids=["SmolLM2", "Gemma 3"])
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[IndexFile, Path, Path]:
    """(the model, its file, its weights for MLX)."""
    real: IndexFile = request.param
    file, folder = fetch(real), tmp_path_factory.mktemp("weights") / "hf"
    convert_to_hf(file, folder)
    return real, file, folder


def test_the_copy_is_the_same_model(model: tuple[IndexFile, Path, Path]) -> None:
    _, file, folder = model
    quantized = check_copy(file, folder)
    print(file.name, quantized)
    assert quantized.rounding == "8 bits" and quantized.agreement.tokens == 1536
    assert quantized.agreement.divergence < DIVERGENCE_LIMITS["8 bits"] / 10
    exact = check_copy(file, folder, exact=True)
    print(file.name, exact)
    assert exact.rounding is None and exact.agreement.likelihood < LIKELIHOOD_LIMIT


def test_a_trained_adapter_does_the_same_on_both_sides(
    model: tuple[IndexFile, Path, Path], tmp_path: Path
) -> None:
    real, file, folder = model
    template = None
    if real is GEMMA3:
        # A base model: it has no template of its own.
        template = tmp_path / "gemma.jinja"
        template.write_text(next(f.template for f in FAMILIES if f.name == "gemma-3"))
    trained = train_lora(
        folder,
        EXAMPLES,
        EXAMPLES[:1],
        SETTINGS,
        seed=1,
        out_dir=tmp_path / "adapter",
        chat_template=template,
    )
    assert trained.train_losses[-1][1] < trained.train_losses[0][1]
    for exact in (False, True):
        # Where the file's own rounding hides the adapter, this compares on an unquantized copy.
        checked = compare_adapter(
            trained.adapter_dir,
            trained.gguf_path,
            file,
            mlx_base=folder,
            exact=exact,
            texts=(),
            tolerance=TOLERANCE,
            scratch=tmp_path,
        )
        print(file.name, checked)
        checked.require()
    assert checked.exact and checked.error_rms < 0.01 * checked.effect_rms
