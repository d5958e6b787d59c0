"""The loss of a part is the plain cross-entropy of the whole model, and so is its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agentr_lite.actors.mlx.blas import use_fast_blas

use_fast_blas()
import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402
from mlx.utils import tree_flatten  # noqa: E402
from mlx_lm.models import gemma, gemma2, gemma3_text, llama, qwen2, qwen3  # noqa: E402
from mlx_lm.tuner.utils import linear_to_lora_layers  # noqa: E402

from agentr_lite.train import loss as loss_module  # noqa: E402
from agentr_lite.train import workers as workers_module  # noqa: E402
from agentr_lite.train.batches import Tokenized  # noqa: E402
from agentr_lite.train.cpu import fast_steps  # noqa: E402
from agentr_lite.train.loss import Halves, comes_apart, summed_loss  # noqa: E402
from agentr_lite.train.parts import Part, make_part  # noqa: E402
from agentr_lite.train.workers import Workers  # noqa: E402

VOCABULARY = 50
KINDS = {
    "gemma": gemma,
    "gemma2": gemma2,
    "gemma3_text": gemma3_text,
    "llama": llama,
    "qwen2": qwen2,
    "qwen3": qwen3,
}


def tiny(kind: str, **changes: Any) -> Any:
    """A random model of a family, with adapters that are not 0."""
    config = {
        "model_type": kind,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "intermediate_size": 48,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "rms_norm_eps": 1e-6,
        "vocab_size": VOCABULARY,
        "rope_theta": 10_000.0,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        "query_pre_attn_scalar": 8,
        "sliding_window_pattern": 2,
        **changes,
    }
    mx.random.seed(7)
    module: Any = KINDS[kind]
    model = module.Model(module.ModelArgs.from_dict(config))
    model.freeze()
    keys = {"self_attn.q_proj", "mlp.down_proj"}
    linear_to_lora_layers(model, 2, {"rank": 2, "scale": 2.0, "dropout": 0.0, "keys": keys})
    for _, module in model.named_modules():
        if "lora_b" in module:
            module.lora_b = mx.random.normal(module.lora_b.shape)
    mx.eval(model.parameters())
    return model


def examples(lengths: tuple[int, ...] = (40, 31, 7)) -> list[Tokenized]:
    rng = np.random.default_rng(3)
    return [
        Tokenized(
            rng.integers(0, VOCABULARY, length).tolist(),
            (rng.random(length) < 0.4).tolist(),
            weight=1.0 + row,
        )
        for row, length in enumerate(lengths)
    ]


def plain_loss(model: Any, rows: list[Tokenized]) -> mx.array:
    """Written down as directly as possible: row by row, all logits."""
    total = mx.array(0.0)
    for row in rows:
        tokens = mx.array([row.tokens])
        losses = nn.losses.cross_entropy(model(tokens[:, :-1]).astype(mx.float32), tokens[:, 1:])
        total = total + row.weight * (losses[0] * mx.array(row.mask[1:])).sum()
    return total / sum(row.weight * sum(row.mask[1:]) for row in rows)


def flat(tree: Any) -> dict[str, np.ndarray[Any, Any]]:
    return {name: np.array(value) for name, value in tree_flatten(tree)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("logits_bytes", [1, 32 << 20])
def test_loss_and_gradients_are_those_of_all_logits(
    kind: str, logits_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With 1 byte, each position has its own logits.
    monkeypatch.setattr(loss_module, "_LOGITS_BYTES", logits_bytes)
    model, rows = tiny(kind), examples()
    wanted, gradients = nn.value_and_grad(model, plain_loss)(model, rows)
    with fast_steps():
        workers = Workers(model, count=2, recomputed=1)
        loss, ours = workers.gradients([make_part(rows[:1]), make_part(rows[1:])])
        validation = workers.loss([make_part(rows)])
        workers.close()
    assert loss == pytest.approx(wanted.item(), rel=1e-5)
    assert validation == pytest.approx(wanted.item(), rel=1e-5)
    for name, gradient in flat(gradients).items():
        assert np.abs(flat(ours)[name] - gradient).max() < 1e-5 * max(1, np.abs(gradient).max())


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_comes_apart(kind: str) -> None:
    assert comes_apart(tiny(kind))


def test_untied_models_use_their_own_head() -> None:
    model, rows = tiny("llama", tie_word_embeddings=False), examples()
    assert comes_apart(model)
    halves = Halves(model, apart=True)
    total = summed_loss(halves, make_part(rows), learns=False).item()
    weight = make_part(rows).weight
    assert total / weight == pytest.approx(plain_loss(model, rows).item(), rel=1e-5)


def test_a_model_that_does_more_with_its_layers_is_left_whole() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = tiny("llama").model

        def __call__(self, tokens: mx.array) -> mx.array:
            # The sum looks at other positions.
            return self.model.embed_tokens.as_linear(mx.cumsum(self.model(tokens), axis=1))

    odd, rows = Odd(), examples()
    assert not comes_apart(odd)
    total = summed_loss(Halves(odd, apart=False), make_part(rows), learns=False).item()
    wanted = plain_loss(odd, rows).item() * make_part(rows).weight
    assert total == pytest.approx(wanted, rel=1e-5)


def test_without_kernels_the_result_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, part = tiny("llama"), make_part(examples())
    results = []
    for module in (None, loss_module):
        if module is not None:
            monkeypatch.setattr(module, "kernels", lambda: None)
        workers = Workers(model, count=1, recomputed=2)
        results.append(workers.gradients([part]))
    (one, first), (two, second) = results
    assert one == pytest.approx(two, rel=1e-6)
    for name, gradient in flat(first).items():
        assert np.abs(flat(second)[name] - gradient).max() < 1e-5


def test_a_batch_without_loss_is_zero_not_nan() -> None:
    model = tiny("llama")
    tokens = np.ones((2, 5), np.int32)
    nothing = np.zeros(0, np.int32)
    part = Part(tokens, nothing, nothing, nothing.astype(np.float32))
    loss, gradients = Workers(model, count=1, recomputed=0).gradients([part])
    assert loss == 0
    assert all(not gradient.any() for gradient in flat(gradients).values())


def test_an_error_in_a_worker_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(workers_module, "summed_loss", fail)
    workers = Workers(tiny("llama"), count=2, recomputed=0)
    with pytest.raises(MemoryError, match="no room"):
        workers.loss([make_part(examples())] * 3)
    workers.close()


def test_a_part_must_hold_as_many_targets_as_picks() -> None:
    part = make_part(examples())
    with pytest.raises(ValueError, match="differ in number"):
        Part(part.tokens, part.picks, part.targets[:1], part.weights)
