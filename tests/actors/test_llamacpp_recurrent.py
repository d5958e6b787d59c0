"""Models with recurrent layers: every branch of random trees gets what plain full prefill gives."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from agentr_lite.actors.base import Sampling
from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.integrity import check_streams
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.llamacpp.plan import LanePlan
from agentr_lite.actors.llamacpp.sampler import Forced, Greedy, make_chooser
from agentr_lite.actors.llamacpp.scheduler import Job, Sample
from agentr_lite.actors.llamacpp.stream_lane import StreamLane
from tests.support.tiny_hybrids import FAMILIES, write_tiny_hybrid

CAPACITY = 256
TREES = 3
"""For each of the eight architectures: 24 in all."""
NEAR = 0.15
"""Logits here spread over +-15; states in f32, but keys and values in f16, round by the shape of
the batch."""


@dataclass
class Case:
    """A lane of few small streams, and a context for decoding one sequence as a whole."""

    model: Model
    lane: StreamLane
    plain: Context

    def rows(self, prompt: list[int], answer: list[int]) -> np.ndarray:
        """(answer, vocabulary): the logits from which each token of an answer is drawn."""
        tokens = [*prompt, *answer[:-1]]
        self.plain.clear()
        count = len(tokens)
        logits = self.plain.decode(tokens, range(count), [0] * count, outputs=count)
        return np.array(logits[len(prompt) - 1 :], np.float64)


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


def forced(prompt: list[int], *answers: list[int]) -> Job:
    return Job(prompt, [Sample(Forced(tuple(answer)), len(answer)) for answer in answers])


def check_likelihoods(case: Case, job: Job) -> None:
    for sample in job.samples:
        follower = sample.chooser
        assert isinstance(follower, Forced)
        rows = case.rows(job.prompt, sample.tokens)
        top = rows.max(axis=1)
        sums = top + np.log(np.exp(rows - top[:, None]).sum(axis=1))
        drawn = sum(row[token] for row, token in zip(rows, sample.tokens, strict=True))
        assert follower.log_likelihood == pytest.approx(drawn - sums.sum(), abs=NEAR)


def check_drawn(case: Case, job: Job, sample: Sample) -> None:
    """What was drawn greedily is the likeliest token of plain full prefill, but for near ties."""
    for row, token in zip(case.rows(job.prompt, sample.tokens), sample.tokens, strict=True):
        assert row[token] >= row.max() - NEAR


def grow_tree(case: Case, seed: int, spill_bytes: int) -> None:
    """Grow a random tree as a search does, judge its branches, and compare everything."""
    rng = random.Random(seed)
    lane = case.lane
    lane.clear()
    lane.streams.shelf.budget_bytes = spill_bytes
    words = [token for token in range(5, 300) if token not in case.model.end_tokens]

    def text(least: int, most: int) -> list[int]:
        return [rng.choice(words) for _ in range(rng.randint(least, most))]

    system = text(10, 30)
    nodes = [[*system, *text(3, 15)] for _ in range(rng.randint(1, 3))]
    for _ in range(rng.randint(2, 4)):
        chosen = rng.sample(nodes, min(len(nodes), rng.randint(1, 3)))
        jobs = [
            Job(
                node,
                [Sample(Greedy(), 6)]
                + [
                    Sample(make_chooser(Sampling(temperature=1.0), rng.randrange(99)), 6)
                    for _ in range(rng.randint(0, 5))
                ],
            )
            for node in chosen
        ]
        lane.run(jobs)
        check_streams(lane.streams, lane.context)
        for job in jobs:
            check_drawn(case, job, job.samples[0])
            for sample in job.samples:
                child = [*job.prompt, *sample.tokens, *text(1, 12)]
                if len(child) < CAPACITY - 60:
                    nodes.append(child)
        # A critic asks in mid-history, and siblings are judged from where they part.
        node = rng.choice(nodes)
        asked = [*node[: rng.randint(1, len(node))], *text(1, 20)]
        judged = [forced(asked, text(1, 4), text(1, 4), text(1, 4))]
        judged += [forced(rng.choice(nodes), text(1, 4)) for _ in range(rng.randint(0, 3))]
        lane.run(judged)
        check_streams(lane.streams, lane.context)
        for job in judged:
            check_likelihoods(case, job)


def budgets(case: Case) -> tuple[int, int, int]:
    """RAM for states: none, a little, enough."""
    state = case.lane.context.save_state(0).nbytes
    return 0, 6 * (state + 20_000), 10**9


@pytest.mark.parametrize("tree", range(TREES))
def test_branches_of_random_trees_equal_plain_full_prefill(case: Case, tree: int) -> None:
    for number, budget in enumerate(budgets(case)):
        grow_tree(case, 100 * tree + number, budget)


@pytest.mark.models
@pytest.mark.parametrize("hundred", range(10))
def test_a_thousand_random_trees(case: Case, hundred: int) -> None:
    for tree in range(100):
        grow_tree(case, 1_000 * (1 + hundred) + tree, budgets(case)[tree % 3])


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
