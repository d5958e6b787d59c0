"""An independent witness of the preference training: TRL's DPOTrainer, on PyTorch.

TRL trains all of a model's weights here. An adapter's gradient follows from theirs: the model adds
``scale * x @ a @ b`` to a matrix's output ``x @ w.T``, so that ``b``'s gradient is
``scale * a.T @ g.T`` where ``g`` is ``w``'s; before the training ``b`` is 0, and so is ``a``'s.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentr_lite.actors.mlx.blas import use_fast_blas

use_fast_blas()

from agentr_lite.recipe.groups import TrainSettings  # noqa: E402
from agentr_lite.train.branches import branches_possible  # noqa: E402
from agentr_lite.train.cpu import fast_steps  # noqa: E402
from agentr_lite.train.dpo import PreferenceLoss  # noqa: E402
from agentr_lite.train.mlx_session import Session  # noqa: E402
from agentr_lite.train.parts import make_pair_part  # noqa: E402
from agentr_lite.train.preferences import TokenizedPair  # noqa: E402
from agentr_lite.train.workers import Workers  # noqa: E402
from tests.convert.test_witness import PYTHON  # noqa: E402
from tests.support.tiny_hf import make_tiny_hf  # noqa: E402
from tests.train.test_branches import sequence  # noqa: E402
from tests.train.test_train_loss import flat  # noqa: E402

pytestmark = pytest.mark.models

SCRIPT = Path(__file__).parents[1] / "support" / "trl_process.py"
SCALE = 2.0


@pytest.fixture(scope="module", autouse=True)
def witness() -> None:
    """Skip where the environment was not made."""
    if not any(PYTHON.parents[1].glob("lib/python*/site-packages/trl")):
        pytest.skip(f"{PYTHON.parents[1]} has no TRL: `make test-models` installs it")


def pairs(count: int = 4) -> list[TokenizedPair]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        prefix, chosen, rejected = (
            rng.integers(5, 370, size).tolist() for size in (20 + number, 6 + 3 * number, 14)
        )
        made.append(
            TokenizedPair(
                [sequence(prefix + chosen, len(prefix), number)],
                [sequence(prefix + rejected, len(prefix), number + 50)],
            )
        )
    return made


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("normalised", [False, True])
def test_loss_and_gradients_are_those_of_trl(tmp_path: Path, kind: str, normalised: bool) -> None:
    model, reference = (
        make_tiny_hf(tmp_path / str(seed), model_type=kind, seed=seed) for seed in (0, 1)
    )
    loss = PreferenceLoss(beta=0.7 if normalised else 0.05, length_normalised=normalised)
    rows = pairs()
    expected = ask_trl(tmp_path, model, reference, rows, loss)
    session = Session(model)
    session.prepare(TrainSettings(rank=4, scale=SCALE), seed=1, steps=1, start_adapter=None)
    references = Session(reference).likelihoods(rows)
    part = make_pair_part(rows, range(len(rows)), references, loss, packed=True)
    with fast_steps(), branches_possible():
        workers = Workers(session.model, count=1, recomputed=1)
        value, gradient = workers.gradients([part])
        workers.close()
    assert value == pytest.approx(float(expected["loss"]), rel=1e-5)
    # Not at the start, where the loss of every model is the same.
    assert abs(value - np.log(2)) > 0.02
    gradients, adapters = flat(gradient), flat(session.model.trainable_parameters())
    checked = 0
    for name, found in gradients.items():
        matrix, _, factor = name.rpartition(".")
        if factor == "lora_a":
            assert np.abs(found).max() < 1e-7
            continue
        wanted = SCALE * adapters[f"{matrix}.lora_a"].T @ expected[matrix].T
        gap = np.abs(found - wanted).max()
        assert gap <= 1e-4 * np.abs(wanted).max(), name
        checked += 1
    assert checked == 2 * 7


def ask_trl(
    folder: Path, model: Path, reference: Path, rows: list[TokenizedPair], loss: PreferenceLoss
) -> Any:
    """TRL's loss, and its gradients by the names of the matrices."""
    sequences = [
        side for part in zip(*(row.continuations for row in rows), strict=True) for (side,) in part
    ]
    batch = {
        "beta": loss.beta,
        "loss_type": "sigmoid_norm" if loss.length_normalised else "sigmoid",
        "rows": [{"tokens": row.tokens, "mask": row.mask} for row in sequences],
    }
    (folder / "batch.json").write_text(json.dumps(batch))
    files = [model, reference, folder / "batch.json", folder / "out.npz"]
    done = subprocess.run([PYTHON, SCRIPT, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return np.load(folder / "out.npz")
