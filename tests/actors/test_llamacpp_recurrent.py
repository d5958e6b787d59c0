"""Models with recurrent layers: every branch of random trees gets what plain full prefill gives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.llamacpp.plan import LanePlan
from agentr_lite.actors.llamacpp.stream_lane import StreamLane
from tests.support.random_trees import (
    NEAR,
    Case,
    Lengths,
    grow_tree,
)
from tests.support.tiny_hybrids import FAMILIES, write_tiny_hybrid

CAPACITY = 256
TREES = 3
"""For each of the eight architectures: 24 in all."""
LENGTHS = Lengths((10, 30), (3, 15), (1, 12), CAPACITY - 60)


def plan(streams: int, *, spill_bytes: int = 0) -> LanePlan:
    return LanePlan(
        1,
        streams * CAPACITY,
        parallel=False,
        lends_threads=False,
        max_idle=None,
        cells_a_token=1,
        flash_attention=False,
        n_batch=64,
        spill_bytes=spill_bytes,
        streams=streams,
        copy_tokens=3,
    )


@pytest.fixture(scope="module", params=FAMILIES)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models")
    return write_tiny_hybrid(directory / f"{request.param}.gguf", request.param)


@pytest.fixture(scope="module")
def case(path: Path) -> Iterator[Case]:
    model = Model(path)
    lane = StreamLane(model, plan(4), n_threads=1, stop=threading.Event())
    plain = Context(model, n_cells=512, n_batch=512, n_threads=1, sequences=1, unified=False)
    yield Case(model, lane, plain)
    lane.context.close()
    plain.close()
    model.close()


def budgets(case: Case) -> tuple[int, int, int]:
    """RAM for states: none, a little, enough."""
    state = case.lane.context.save_state(0).nbytes
    return 0, 6 * (state + 20_000), 10**9


@pytest.mark.parametrize("tree", range(TREES))
def test_branches_of_random_trees_equal_plain_full_prefill(case: Case, tree: int) -> None:
    for number, budget in enumerate(budgets(case)):
        grow_tree(case, 100 * tree + number, budget, LENGTHS)


@pytest.mark.models
@pytest.mark.parametrize("hundred", range(10))
def test_a_thousand_random_trees(case: Case, hundred: int) -> None:
    for tree in range(100):
        grow_tree(case, 1_000 * (1 + hundred) + tree, budgets(case)[tree % 3], LENGTHS)


def test_a_wrong_state_shows(case: Case) -> None:
    """The comparison above is as sharp as it has to be: another text's state is far off."""
    lane = case.lane
    lane.clear()
    prompt, other = list(range(10, 40)), list(range(110, 140))
    context = lane.context
    for sequence, tokens in enumerate((prompt, other)):
        context.decode(tokens, range(30), [sequence] * 30, outputs=0)
    right, wrong = context.save_state(0), context.save_state(1)
    [expected] = case.rows([*prompt, 7], [1])
    off = []
    for state in (right, wrong):
        context.rewind(0, state, 30)
        row = context.decode([7], [30], [0], outputs=1)[0]
        off.append(np.abs(row - expected).max())
    assert off[0] < NEAR < off[1] / 3
    lane.clear()
