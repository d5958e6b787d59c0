"""Models with windows: every branch of random trees gets what plain full prefill gives.

Both with the cells of all tokens, which branches share, and with those of the windows alone.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agentr_lite.actors.llamacpp.attention import attention_kernel
from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.gguf_header import read_header
from agentr_lite.actors.llamacpp.guard import MOST_GUARDED, divided, joined, pieces
from agentr_lite.actors.llamacpp.lanes import Lane
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.llamacpp.plan import LanePlan
from agentr_lite.actors.llamacpp.stream_lane import StreamLane
from agentr_lite.actors.llamacpp.windows import sliding_layers, window_bytes
from agentr_lite.core.errors import ModelError
from tests.support.random_trees import (
    NEAR,
    Case,
    Lengths,
    check_likelihoods,
    forced,
    grow_tree,
)
from tests.support.tiny_gemma4 import make_tiny_gemma4
from tests.support.tiny_windows import FAMILIES, WINDOW, write_tiny_windows

CAPACITY = 768
"""Of a stream, or less than half of a cache that conversations share."""
TREES = 2
LENGTHS = Lengths((3 * WINDOW, 300), (3, 60), (1, 90), CAPACITY - 60)
"""Prompts are many times longer than the window, and most are longer than what a stream keeps in
layers with a window."""


def make_case(path: Path, way: str, *, kernel: bool = False) -> Case:
    model = Model(path)
    streams = 4 if way == "windows" else 0
    plan = LanePlan(
        1,
        streams * CAPACITY or 2 * CAPACITY,
        parallel=False,
        lends_threads=False,
        max_idle=200,
        cells_a_token=1,
        flash_attention=kernel,
        n_batch=128,
        n_ubatch=64,
        width=4,
        chunk=100,
        sequences=20,
        streams=streams,
        copy_tokens=3,
        window=model.header.window if streams else 0,
    )
    stop = threading.Event()
    lane: StreamLane | Lane
    if streams:
        lane = StreamLane(model, plan, n_threads=1, stop=stop)
    else:
        lane = Lane(model, plan, n_threads=1, stop=stop)
    plain = Context(model, n_cells=1024, n_batch=1024, n_threads=1, sequences=1, unified=False)
    return Case(model, lane, plain)


def close(case: Case) -> None:
    case.lane.context.close()
    case.plain.close()
    case.model.close()


@pytest.fixture(scope="module", params=FAMILIES)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models")
    return write_tiny_windows(directory / f"{request.param}.gguf", request.param)


@pytest.fixture(scope="module", params=["windows", "shared"])
def case(path: Path, request: pytest.FixtureRequest) -> Iterator[Case]:
    case = make_case(path, request.param)
    yield case
    close(case)


def budgets(case: Case) -> tuple[int, int, int]:
    """RAM for states: none, a little, enough."""
    whole = window_bytes(case.model.header, CAPACITY)
    return 0, 4 * (whole + 20_000), 10**9


@pytest.mark.parametrize("tree", range(TREES))
def test_branches_of_random_trees_equal_plain_full_prefill(case: Case, tree: int) -> None:
    for number, budget in enumerate(budgets(case)):
        grow_tree(case, 100 * tree + number, budget, LENGTHS)


@pytest.mark.parametrize("way", ["windows", "shared"])
@pytest.mark.parametrize("arch", ["gemma3", "gpt-oss"])
def test_trees_by_our_own_attention(arch: str, way: str, tmp_path: Path) -> None:
    if attention_kernel() is None:
        pytest.skip("our attention cannot be compiled here")
    case = make_case(write_tiny_windows(tmp_path / "m.gguf", arch), way, kernel=True)
    for number, budget in enumerate(budgets(case)):
        grow_tree(case, 7000 + number, budget, LENGTHS)
    # llama.cpp itself computes attention with sinks.
    attention = case.lane.context.attention
    assert attention is not None and (attention.steps > 0) == (arch == "gemma3")
    close(case)


@pytest.mark.parametrize("kind", ["small", "large"])
def test_gemma4(kind: str, tmp_path: Path) -> None:
    _, path = make_tiny_gemma4(tmp_path, kind)  # type: ignore[arg-type]
    for way in ("windows", "shared"):
        case = make_case(path, way)
        check_sizes(case.model)
        for number, budget in enumerate(budgets(case)):
            grow_tree(case, 9000 + number, budget, LENGTHS)
        close(case)


@pytest.mark.models
@pytest.mark.parametrize("hundred", range(10))
def test_a_thousand_random_trees(case: Case, hundred: int) -> None:
    for tree in range(100):
        grow_tree(case, 1_000 * (1 + hundred) + tree, budgets(case)[tree % 3], LENGTHS)


def check_sizes(model: Model) -> None:
    """The header tells what llama.cpp saves of each token: in all layers, and in a window."""
    header = model.header
    context = Context(
        model,
        n_cells=1024,
        n_batch=256,
        n_threads=1,
        sequences=1,
        unified=False,
        window=header.window,
        n_ubatch=256,
    )
    saved = {}
    for start, end in ((0, 10), (10, 20), (20, 200), (200, 400)):
        count = end - start
        context.decode([5] * count, range(start, end), [0] * count, outputs=0)
        saved[end] = len(context.save_sequence(0))
    state = len(context.save_state(0))
    context.close()
    windowed = header.window_cell_bytes()
    # Each cell also has its position and its sequence, which take some bytes.
    some = 40
    assert (saved[20] - saved[10]) / 10 == pytest.approx(header.cell_bytes(), abs=some)
    others = (saved[400] - saved[200]) / 200
    assert others == pytest.approx(header.cell_bytes() - windowed, abs=some)
    assert state / header.window == pytest.approx(windowed, abs=some)


@pytest.fixture
def streams(path: Path) -> Iterator[Case]:
    case = make_case(path, "windows")
    yield case
    close(case)


def test_the_header_tells_what_windows_take(streams: Case) -> None:
    header = streams.model.header
    assert header.window == WINDOW
    assert 0 < header.window_cell_bytes() < header.cell_bytes()
    check_sizes(streams.model)


def test_shared_cells_outlive_the_window(path: Path) -> None:
    """A conversation grows far beyond its beginning, others come and go, and one goes back to it.

    Unguarded, llama.cpp gives the cells of the beginning to the others.
    """
    case = make_case(path, "shared")
    case.begin(0)
    rng = random.Random(3)

    def text(count: int) -> list[int]:
        return [rng.randrange(5, 250) for _ in range(count)]

    talk, others = text(500), [text(200) for _ in range(9)]
    case.lane.run([forced(talk, text(2))])
    for other in others:
        case.lane.run([forced(other, text(2)), forced(talk, text(1))])
    job = forced([*talk[:150], *text(20)], text(4))
    case.lane.run([job])
    assert job.cached_tokens == 150
    check_likelihoods(case, job)
    close(case)


@pytest.mark.parametrize("guarded", [False, True])
def test_a_cell_that_the_window_has_left_is_not_taken(path: Path, guarded: bool) -> None:
    model = Model(path)
    context = Context(model, n_cells=512, n_batch=256, n_threads=1, sequences=4, guarded=guarded)
    talk = [5 + 7 * index % 240 for index in range(100)]
    for sequence, count in ((0, 200), (1, 200)):
        context.decode([9] * count, range(count), [sequence] * count, outputs=0)
    context.decode(talk, range(100), [2] * 100, outputs=0)
    rows = []
    for _ in range(2):
        # A branch from the middle, before and after the room of another sequence was used again.
        context.copy_sequence(2, 3, 10)
        rows.append(context.decode([7], [10], [3], outputs=1)[0].copy())
        context.remove(3)
        context.remove(1)
        context.decode([9] * 205, range(205), [1] * 205, outputs=0)
    kept = np.abs(rows[0] - rows[1]).max() < NEAR
    assert kept == guarded, "without the guard, llama.cpp takes the cells where others are free"
    context.close()
    model.close()


def test_cells_are_guarded_if_llama_cpps_rounding_makes_room_beside_a_window(
    tmp_path: Path,
) -> None:
    model = Model(write_tiny_windows(tmp_path / "m.gguf", "gemma3", window=500))
    for cells, sequences in ((480, MOST_GUARDED), (200, 255)):
        context = Context(model, n_cells=cells, n_batch=256, n_threads=1)
        assert (context.n_cells > 500) == (sequences == MOST_GUARDED)
        assert context.sequences == sequences
        context.close()
    model.close()


def test_what_is_saved_and_restored_has_whole_windows(path: Path) -> None:
    model = Model(path)
    context = Context(model, n_cells=1024, n_batch=256, n_threads=1, sequences=4)
    tokens = [5 + 7 * index % 240 for index in range(300)]
    for start in range(0, 300, 100):
        context.decode(tokens[start : start + 100], range(start, start + 100), [0] * 100, outputs=0)
    context.copy_sequence(0, 1, 100)
    rows = [context.decode([7], [100], [1], outputs=1)[0].copy()]
    context.remove(1)
    saved = context.save(0, 0, 300)
    context.clear()
    context.load(saved, 2, 0, 300)
    context.copy_sequence(2, 3, 100)
    rows.append(context.decode([7], [100], [3], outputs=1)[0].copy())
    assert np.abs(rows[0] - rows[1]).max() < NEAR
    context.close()
    model.close()


def test_saved_parts_end_where_windows_do() -> None:
    assert list(pieces(5, 50, 24)) == [(5, 24), (24, 48), (48, 50)]
    assert list(pieces(5, 50, 0)) == [(5, 50)]
    assert list(pieces(7, 7, 24)) == []
    parts = [np.arange(size, dtype=np.uint8) for size in (3, 0, 8)]
    assert [part.tolist() for part in divided(joined(parts))] == [part.tolist() for part in parts]


def test_a_wrong_window_shows(streams: Case) -> None:
    """The comparison above is as sharp as it has to be: another text's window is far off."""
    case = streams
    rng = random.Random(5)
    prompt = [rng.randrange(5, 250) for _ in range(300)]
    other = [rng.randrange(5, 250) for _ in range(300)]
    context = case.lane.context
    for sequence, tokens in enumerate((prompt, other)):
        for start in range(0, 300, 100):
            part = tokens[start : start + 100]
            context.decode(part, range(start, start + 100), [sequence] * 100, outputs=0)
    right, wrong = context.save_state(0), context.save_state(1)
    [expected] = case.rows([*prompt, 7], [1])
    off = []
    for state in (right, wrong):
        context.rewind(0, state, 300)
        row = context.decode([7], [300], [0], outputs=1)[0]
        off.append(np.abs(row - expected).max())
    assert off[0] < NEAR < off[1] / 3


def test_a_window_that_is_gone_is_not_cut_back_to(streams: Case) -> None:
    context = streams.lane.context
    for start in range(0, 600, 100):
        context.decode([5] * 100, range(start, start + 100), [0] * 100, outputs=0)
    shortest = context.shortest(0)
    assert WINDOW < shortest < 600, "older cells were overwritten, and some are left"
    with pytest.raises(ModelError, match=f"back to {shortest - 1} tokens: the model's windows"):
        context.remove(0, shortest - 1)
    context.remove(0, shortest)
    assert context.last_position(0) == shortest - 1
    context.copy_stream(0, [1])
    assert context.shortest(1) == shortest, "there was nothing before the window to copy"
    context.decode([5] * 3, range(shortest, shortest + 3), [0] * 3, outputs=0)
    assert context.shortest(0) == shortest
    context.copy_stream(0, [1])
    assert context.shortest(1) == shortest + 2, "the last token's window is copied"
    context.remove(0)
    assert (context.shortest(0), context.last_position(0)) == (0, -1)


def test_another_window_than_the_models_is_refused(case: Case) -> None:
    for window, unified in ((WINDOW + 1, False), (WINDOW, True)):
        with pytest.raises(ModelError, match=f"windows of {WINDOW} tokens"):
            Context(
                case.model, n_cells=512, n_batch=256, n_threads=1, window=window, unified=unified
            )


def test_unknown_patterns_have_no_window(tmp_path: Path) -> None:
    header = read_header(write_tiny_windows(tmp_path / "m.gguf", "gemma3"))
    pattern = "gemma3.attention.sliding_window_pattern"
    assert sum(sliding_layers(header)) == 5
    header.metadata[pattern] = 3
    assert sliding_layers(header) == [True, True, False] * 2
    header.metadata[pattern] = [False, True] * 3
    assert sliding_layers(header) == [False, True] * 3
    header.metadata[pattern] = [True]
    assert header.window == 0, "damaged: there are more layers"
    del header.metadata[pattern]
    header.metadata["gemma3.attention.sliding_window"] = 0
    assert header.window == 0 and header.window_cell_bytes() == 0
    header.metadata["general.architecture"] = "llama4"
    assert header.window == 0
