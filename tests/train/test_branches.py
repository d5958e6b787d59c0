"""A row with branches is its sequences: the same losses and gradients, with less to compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agentr_lite.actors.mlx.blas import use_fast_blas

use_fast_blas()
import mlx.core as mx  # noqa: E402

from agentr_lite.train import branches as branches_module  # noqa: E402
from agentr_lite.train import cpu as cpu_module  # noqa: E402
from agentr_lite.train import loss as loss_module  # noqa: E402
from agentr_lite.train.batches import Tokenized  # noqa: E402
from agentr_lite.train.branches import (  # noqa: E402
    branches_possible,
    branching,
    takes_branches,
)
from agentr_lite.train.cpu import fast_steps  # noqa: E402
from agentr_lite.train.dpo import PreferenceLoss  # noqa: E402
from agentr_lite.train.loss import Halves, comes_apart  # noqa: E402
from agentr_lite.train.packing import pack  # noqa: E402
from agentr_lite.train.parts import (  # noqa: E402
    PairPart,
    make_pair_part,
    pair_tokens,
    split_pairs,
)
from agentr_lite.train.preferences import TokenizedPair  # noqa: E402
from agentr_lite.train.workers import Workers  # noqa: E402
from tests.train.test_train_loss import VOCABULARY, flat, tiny  # noqa: E402


def sequence(tokens: list[int], shared: int, seed: int) -> Tokenized:
    """Some of what is not shared is learnt."""
    mask = np.random.default_rng(seed).random(len(tokens)) < 0.6
    mask[:shared] = False
    mask[-1] = True
    return Tokenized(tokens, mask.tolist())


def pairs(count: int = 3, *, longest: int = 30, seed: int = 5) -> list[TokenizedPair]:
    """Pairs of one game: all begin alike, and each has more in common within itself."""
    rng = np.random.default_rng(seed)

    def draw(size: int) -> list[int]:
        return rng.integers(0, VOCABULARY, size).tolist()

    head, made = draw(longest), []
    for number in range(count):
        prefix = head + draw(number * 3)
        chosen, rejected = (prefix + draw(rng.integers(1, longest)) for _ in range(2))
        made.append(
            TokenizedPair(
                [sequence(chosen, len(prefix), number)],
                [sequence(rejected, len(prefix), number + 100)],
                weight=1.0 + number,
            )
        )
    # As where a template rewrites finished turns: several sequences a continuation.
    turns = [sequence(head + draw(size), len(head), size) for size in (4, 9, 6)]
    return [*made, TokenizedPair(turns[:2], turns[2:])]


def part_of(rows: list[TokenizedPair], *, packed: bool, **changes: Any) -> PairPart:
    references = np.random.default_rng(9).normal(-60, 30, (len(rows), 2))
    loss = changes.pop("loss", PreferenceLoss(0.03, 0.1))
    return make_pair_part(rows, range(len(rows)), references, loss, packed=packed)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("recomputed", [0, 2])
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {}),
        ("qwen2", {}),
        ("qwen3", {}),
        ("gemma", {}),
        ("gemma3_text", {"sliding_window": 16}),
        ("llama", {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 16}),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}),
        (
            "llama",
            {
                "rope_scaling": {
                    "rope_type": "llama3",
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 64,
                }
            },
        ),
    ],
)
def test_one_row_is_as_several(
    kind: str,
    changes: dict[str, Any],
    recomputed: int,
    fast: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not fast:
        for module in (loss_module, branches_module, cpu_module):
            monkeypatch.setattr(module, "kernels", lambda: None)
    model, rows = tiny(kind, **changes), pairs(longest=40)
    with fast_steps(), branches_possible():
        assert takes_branches(Halves(model, apart=comes_apart(model)))
        workers = Workers(model, count=2, recomputed=recomputed)
        one, several = (part_of(rows, packed=packed) for packed in (True, False))
        assert one.tokens.shape[0] == 1 and several.tokens.shape[0] == 9
        (packed,), (apart,) = (workers.several_gradients([[part]]) for part in (one, several))
        alone = [part_of([row], packed=True) for row in rows]
        for index, part in enumerate(alone):
            part.references[:] = one.references[index]
        (split,) = workers.several_gradients([alone])
        workers.close()
    assert packed.loss == pytest.approx(apart.loss, rel=1e-5)
    assert split.loss == pytest.approx(apart.loss, rel=1e-5)
    assert list(packed.likelihoods) == list(range(len(rows)))
    for row, expected in apart.likelihoods.items():
        assert packed.likelihoods[row] == pytest.approx(expected, rel=1e-5)
    for other in (packed, split):
        for name, gradient in flat(apart.gradient).items():
            gap = np.abs(flat(other.gradient)[name] - gradient).max()
            assert gap <= 2e-4 * np.abs(gradient).max() + 1e-7, name


def test_rows_longer_than_a_block_of_the_kernel() -> None:
    model, rows = tiny("llama", max_position_embeddings=2048), pairs(2, longest=300)
    with fast_steps(), branches_possible():
        workers = Workers(model, count=1, recomputed=0)
        (one,), (several,) = (
            workers.several_gradients([[part_of(rows, packed=packed)]]) for packed in (True, False)
        )
    assert one.loss == pytest.approx(several.loss, rel=1e-5)
    for name, gradient in flat(several.gradient).items():
        gap = np.abs(flat(one.gradient)[name] - gradient).max()
        assert gap <= 2e-4 * np.abs(gradient).max() + 1e-7, name


def test_a_model_with_an_attention_of_its_own_is_left_to_several_rows() -> None:
    model = tiny("gemma2")
    with fast_steps(), branches_possible():
        assert not takes_branches(Halves(model, apart=comes_apart(model)))


def test_a_model_that_counts_positions_by_itself_is_left_to_several_rows() -> None:
    class Counting(type(tiny("llama").model)):  # type: ignore[misc]
        def __call__(self, tokens: mx.array) -> mx.array:
            places = mx.arange(tokens.shape[1]).astype(mx.float32)
            return super().__call__(tokens) + mx.sin(places)[None, :, None]

    model = tiny("llama")
    model.model.__class__ = Counting
    with fast_steps(), branches_possible():
        assert not takes_branches(Halves(model, apart=False))


def test_branches_end_with_their_block_and_belong_to_their_thread() -> None:
    from concurrent.futures import ThreadPoolExecutor

    model = tiny("llama")
    packed = pack([[1, 2, 3, 4], [1, 2, 5, 6]])
    tokens = mx.array([packed.tokens])
    plain = model(tokens)
    with branches_possible():
        with branching(packed.branches):
            inside = model(tokens)
            mx.eval(inside)
            with ThreadPoolExecutor(1) as pool:
                beside = pool.submit(lambda: np.array(model(tokens))).result()
        after = model(tokens)
        mx.eval(after)
    assert not mx.allclose(inside, plain)
    assert mx.array_equal(after, plain) and np.array_equal(beside, np.array(plain))


def test_parts_hold_whole_pairs_that_have_much_in_common() -> None:
    rows = [*pairs(3, seed=1), *pairs(3, seed=2)]
    for packed in (True, False):
        parts = split_pairs(rows, range(len(rows)), most_tokens=260, packed=packed)
        assert sorted(row for part in parts for row in part) == list(range(len(rows)))
        sizes = [pair_tokens([rows[row] for row in part], packed=packed) for part in parts]
        assert sizes == sorted(sizes, reverse=True)
        for part, size in zip(parts, sizes, strict=True):
            assert size <= 260 or len(part) == 1
            made = make_pair_part(
                rows, part, np.zeros((len(rows), 2)), PreferenceLoss(), packed=packed
            )
            assert made.tokens[:, :-1].size == size
    # Those of one game go together, however they are mixed in the batch.
    games = [pair_tokens(rows[begin : begin + 4], packed=True) for begin in (0, 4)]
    mixed = [0, 4, 1, 5, 2, 6, 3, 7]
    together = split_pairs(rows, mixed, most_tokens=max(games), packed=True)
    assert sorted(map(sorted, together)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    one_each = split_pairs(rows, range(len(rows)), most_tokens=1, packed=True)
    assert len(one_each) == len(rows)
