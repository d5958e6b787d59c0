"""``train.max_tokens``: where the plan of a training ends."""

from __future__ import annotations

from typing import Any

import pytest

from agentr_lite.recipe.groups import TrainSettings
from agentr_lite.train.batches import Tokenized
from agentr_lite.train.loop import Material
from agentr_lite.train.parts import pair_tokens
from agentr_lite.train.preferences import TokenizedPair


def row(length: int, start: int = 0) -> Tokenized:
    tokens = [0, *range(start, start + length - 1)]
    return Tokenized(tokens, [False] + [True] * (length - 1))


def material(most: int, *, examples: int = 10, pairs: int = 0, **settings: Any) -> Material:
    """Examples of 10 tokens; pairs of 10 and 6, which share their first."""
    return Material(
        [row(10) for _ in range(examples)],
        [],
        [TokenizedPair([row(10)], [row(6, start=50)]) for _ in range(pairs)],
        settings=TrainSettings(**{"batch_size": 2, "max_tokens": most, **settings}),
        seed=1,
    )


@pytest.mark.parametrize(
    ("most", "steps"), [(0, 15), (300, 15), (299, 14), (40, 2), (39, 1), (20, 1), (1, 1)]
)
def test_the_plan_ends_before_the_step_that_would_take_too_many(most: int, steps: int) -> None:
    planned = material(most)
    assert planned.steps == steps
    assert planned.plan == material(0).plan[:steps]
    assert planned.tokens(0, steps) <= max(most, 20) or not most


def test_with_enough_epochs_more_and_less_to_learn_train_equally_long() -> None:
    taken = [material(1000, examples=count, epochs=1000.0) for count in (4, 10, 30)]
    assert {planned.tokens(0, planned.steps) for planned in taken} == {1000}


@pytest.mark.parametrize(("examples", "objective"), [(0, "dpo"), (10, "sft+dpo")])
def test_pairs_count_with_what_they_share_once(examples: int, objective: str) -> None:
    whole = material(0, examples=examples, pairs=10, objective=objective)
    a_pair = pair_tokens([whole.pairs[0]], packed=True)
    assert 10 < a_pair < 16
    a_step = whole.tokens(0, 1)
    assert a_step == 2 * a_pair + (20 if examples else 0)
    cut = material(5 * a_step - 1, examples=examples, pairs=10, objective=objective)
    assert (cut.steps, len(cut.plan), len(cut.pair_plan)) == (4, 4, 4)
    assert cut.pair_plan == whole.pair_plan[:4]
