"""Random trees on tiny models: every branch is compared with plain full prefill."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import pytest

from agentr_lite.actors.base import Sampling
from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.integrity import check_integrity, check_streams
from agentr_lite.actors.llamacpp.lanes import Lane
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.llamacpp.sampler import Forced, Greedy, make_chooser
from agentr_lite.actors.llamacpp.scheduler import Job, Sample
from agentr_lite.actors.llamacpp.stream_lane import StreamLane

NEAR = 0.15
"""Logits here spread over +-15; keys and values in f16 round by the shape of the batch."""


@dataclass(frozen=True)
class Lengths:
    """Least and most tokens of a tree's texts."""

    system: tuple[int, int]
    task: tuple[int, int]
    answer: tuple[int, int]
    longest: int
    """Longer prompts are not gone on with."""


@dataclass
class Case:
    """A lane with little room, and a context for decoding one sequence as a whole."""

    model: Model
    lane: StreamLane | Lane
    plain: Context

    def begin(self, spill_bytes: int) -> None:
        """Empty the lane, and give it so much RAM for what is evicted."""
        self.lane.clear()
        if isinstance(self.lane, StreamLane):
            self.lane.streams.shelf.budget_bytes = spill_bytes
        else:
            self.lane.tree.spill.budget_bytes = spill_bytes

    def check(self) -> None:
        """Recount the lane's books."""
        if isinstance(self.lane, StreamLane):
            check_streams(self.lane.streams, self.lane.context)
        else:
            check_integrity(self.lane.tree)

    def rows(self, prompt: list[int], answer: list[int]) -> np.ndarray:
        """(answer, vocabulary): the logits from which each token of an answer is drawn."""
        tokens = [*prompt, *answer[:-1]]
        self.plain.clear()
        count = len(tokens)
        logits = self.plain.decode(tokens, range(count), [0] * count, outputs=count)
        return np.array(logits[len(prompt) - 1 :], np.float64)


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


def grow_tree(case: Case, seed: int, spill_bytes: int, lengths: Lengths) -> None:
    """Grow a random tree as a search does, judge its branches, and compare everything.

    Args:
        case: the lane, and what it is compared with.
        seed: of the tree.
        spill_bytes: RAM for what is evicted.
        lengths: of the tree's texts.
    """
    rng = random.Random(seed)
    lane = case.lane
    case.begin(spill_bytes)
    words = [token for token in range(5, 300) if token not in case.model.end_tokens]

    def text(least: int, most: int) -> list[int]:
        return [rng.choice(words) for _ in range(rng.randint(least, most))]

    system = text(*lengths.system)
    nodes = [[*system, *text(*lengths.task)] for _ in range(rng.randint(1, 3))]
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
        case.check()
        for job in jobs:
            check_drawn(case, job, job.samples[0])
            for sample in job.samples:
                child = [*job.prompt, *sample.tokens, *text(*lengths.answer)]
                if len(child) < lengths.longest:
                    nodes.append(child)
        # A critic asks in mid-history, and siblings are judged from where they part.
        node = rng.choice(nodes)
        asked = [*node[: rng.randint(1, len(node))], *text(1, 20)]
        judged = [forced(asked, text(1, 4), text(1, 4), text(1, 4))]
        judged += [forced(rng.choice(nodes), text(1, 4)) for _ in range(rng.randint(0, 3))]
        lane.run(judged)
        case.check()
        for job in judged:
            check_likelihoods(case, job)
