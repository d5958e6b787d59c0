"""Runs jobs on one model: look up prefixes, prefill the missing ones, decode all answers together.

Prefill and decoding use mlx-lm's own batches. This module chooses their rows, gives each row the
keys and values of its prefix, and keeps new keys and values afterwards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import mlx.core as mx
import numpy as np
from mlx_lm.generate import GenerationBatch, PromptProcessingBatch, StopSequences

from agentr_lite.actors.mlx.pool import Pool, recurrent_states, tail_states
from agentr_lite.actors.mlx.prefix import PrefixTree, Segment
from agentr_lite.actors.mlx.sampler import BatchSampler, Sample

_UNLIMITED = 1 << 30
_PADDED = 1.25
"""With padding, prompts that are prefilled together may cost this many times their own tokens."""
_LOGITS = 1 << 25
"""Most logits that a batch of scores computes at once (in f32: 128 MiB)."""


class Pieces(Protocol):
    """The part of the vocabulary that the decoder uses."""

    end_tokens: frozenset[int]

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to the text."""


@dataclass(eq=False)
class Job:
    """A prompt and the samples that continue it."""

    prompt: list[int]
    """At least one token."""
    samples: list[Sample]
    segment: Segment | None = None
    """Where the prompt without its last token ends."""
    cached_tokens: int = 0


@dataclass(eq=False)
class Scoring:
    """A prompt, and the continuations to compute likelihoods of."""

    prompt: list[int]
    continuations: list[list[int]]
    """Each at least one token."""
    segment: Segment | None = None
    cached_tokens: int = 0
    log_likelihoods: list[float] | None = None


@dataclass
class Counters:
    """What the decoder has computed since it was made, in tokens."""

    prefilled: int = 0
    recomputed: int = 0
    """Of these, tokens whose keys and values were there, but no state of the recurrent layers."""
    replayed: int = 0
    """Last tokens of prompts, which are computed again for their logits."""
    decoded: int = 0
    """Drawn tokens."""
    steps: int = 0


class Decoder:
    """The loop over one model and its prefix tree."""

    def __init__(
        self,
        model: Any,
        vocabulary: Pieces,
        pool: Pool,
        *,
        width: int,
        prefill_tokens: int,
        states: int = 0,
    ) -> None:
        """
        Args:
            model: mlx-lm's model.
            vocabulary: its tokens' texts, and the tokens that end an answer.
            pool: holds keys and values.
            width: most rows in a batch.
            prefill_tokens: most prompt tokens in a batch.
            states: most states of recurrent layers that are kept between batches.
        """
        self._model = model
        self._piece = vocabulary.piece
        self._ends: Collection[int] = vocabulary.end_tokens
        self._pool = pool
        self._width = width
        self._prefill_tokens = prefill_tokens
        self._recurrent = pool.state_bytes > 0
        self._states = max(1, states)
        self.tree = PrefixTree(pool, recurrent=self._recurrent)
        self.counters = Counters()

    def run(self, jobs: Sequence[Job]) -> None:
        """Carry out all jobs; every sample has its tokens and a ``finish_reason`` afterwards."""
        self._in_parts(jobs, self._generate)

    def score(self, jobs: Sequence[Scoring]) -> None:
        """Fill in the log-likelihoods of all jobs."""
        self._in_parts(jobs, self._score)

    def _in_parts(self, jobs: Sequence[Any], work: Any) -> None:
        """Call ``work`` with as many jobs at a time as their prompts fit the pool."""
        waiting = deque(jobs)
        try:
            while waiting:
                admitted: list[Any] = []
                while waiting and self._has_state(admitted) and self._admit(waiting[0]):
                    admitted.append(waiting.popleft())
                if not admitted:
                    raise RuntimeError("a prompt does not fit the cache even alone")
                ends = [job.segment for job in admitted]
                self._prefill(ends)
                self.tree.drop_states(self._states, ends)
                work(admitted)
                for job in admitted:
                    self.tree.unpin(job.segment)
        except BaseException:
            # After an interruption, the tree may claim tokens that the pool does not hold.
            self.tree.clear()
            raise

    def _admit(self, job: Job | Scoring) -> bool:
        inserted = self.tree.insert(job.prompt[:-1])
        if inserted is None:
            return False
        job.segment, job.cached_tokens = inserted
        if self._recurrent:
            missing = self.tree.missing(job.segment)
            job.cached_tokens -= sum(len(each.tokens) for each in missing if each.complete)
        return True

    def _has_state(self, admitted: Sequence[Any]) -> bool:
        """Whether another prompt's state may be held beside those of ``admitted``."""
        return not self._recurrent or len(admitted) < self._states

    def _gather(self, segments: Sequence[Segment]) -> list[Any]:
        """A batch's caches, each row after one of ``segments``."""
        states = [segment.state for segment in segments] if self._recurrent else []
        return self._pool.gather([self.tree.slots(segment) for segment in segments], states)

    # Prompts

    def _prefill(self, ends: Sequence[Segment]) -> None:
        """Compute the missing segments on the paths to ``ends``, each once."""
        missing = [self.tree.missing(segment) for segment in ends]
        depth = 0
        while level := list(dict.fromkeys(path[depth] for path in missing if depth < len(path))):
            # A segment has the same depth among the missing ones on every path through it, so
            # its parent is complete here.
            groups = _groups(level, self._width, self._prefill_tokens, equal=self._recurrent)
            for group in groups:
                self._prefill_group(group)
            depth += 1

    def _prefill_group(self, segments: Sequence[Segment]) -> None:
        batch = PromptProcessingBatch(
            self._model, list(range(len(segments))), [], prefill_step_size=self._prefill_tokens
        )
        batch.prompt_cache = self._gather([segment.parent or segment for segment in segments])
        batch.prompt([list(segment.tokens) for segment in segments])
        fresh = [(row, each) for row, each in enumerate(segments) if not each.complete]
        counts = [(row, len(segment.tokens)) for row, segment in fresh]
        slots = [slot for _, segment in fresh for slot in segment.slots]
        if slots:
            self._pool.store(slots, tail_states(batch.prompt_cache, counts))
        if self._recurrent:
            states = recurrent_states(batch.prompt_cache, range(len(segments)))
            for segment, state in zip(segments, states, strict=True):
                segment.state = state
        for segment in segments:
            self.counters.prefilled += len(segment.tokens)
            self.counters.recomputed += len(segment.tokens) * segment.complete
            segment.complete = True

    # Answers

    def _generate(self, jobs: Sequence[Job]) -> None:
        waiting = deque((job, sample) for job in jobs for sample in job.samples)
        live: _Live | None = None
        while waiting or live:
            room = self._width - (len(live.rows) if live else 0)
            # Joining copies the whole batch, so it waits until several rows are free.
            if waiting and (live is None or room * 4 >= self._width):
                fresh = [waiting.popleft() for _ in range(min(room, len(waiting)))]
                live = self._join(live, fresh)
            assert live is not None
            live.waiting = [job.segment for job, _ in waiting if job.segment]
            if not self._step(live):
                live = None

    def _join(self, live: _Live | None, rows: list[tuple[Job, Sample]]) -> _Live:
        size = len(rows)
        sampler = BatchSampler([sample for _, sample in rows])
        batch = GenerationBatch(
            self._model,
            list(range(size)),
            mx.array([job.prompt[-1] for job, _ in rows]),
            self._gather([job.segment for job, _ in rows if job.segment]),
            [[] for _ in rows],
            [sampler] * size,
            sampler,
            [[] for _ in rows],
            [StopSequences()] * size,
            # This class decides when an answer ends, by its text.
            [_UNLIMITED] * size,
        )
        self.counters.replayed += size
        if live is None:
            return _Live(batch, sampler, rows)
        live.batch.extend(batch)
        live.sampler.extend(sampler)
        live.rows += rows
        live.batch.samplers = [live.sampler] * len(live.rows)
        return live

    def _step(self, live: _Live) -> bool:
        """Draw one token for every row; returns whether any row continues."""
        responses = live.batch.next()
        self.counters.steps += 1
        self.counters.decoded += len(responses)
        growing: list[int] = []
        ended: list[int] = []
        for row, (response, (_, sample)) in enumerate(zip(responses, live.rows, strict=True)):
            token = int(response.token)
            ends = token in self._ends
            continues = sample.accept(token, b"" if ends else self._piece(token), ends)
            (growing if continues else ended).append(row)
        if ended:
            self._keep_cells(live, ended)
            if self._recurrent:
                self.tree.drop_states(self._states, live.waiting)
            live.keep(growing)
        return bool(growing)

    def _keep_cells(self, live: _Live, ended: Sequence[int]) -> None:
        """Put finished answers into the tree, because the next turn's prompt starts with them."""
        slots: list[int] = []
        counts: list[tuple[int, int]] = []
        segments: list[Segment] = []
        rows: list[int] = []
        for row in ended:
            job, sample = live.rows[row]
            tokens = [*job.prompt, *sample.tokens]
            inserted = self.tree.insert(tokens)
            if inserted is None:
                # The pool is full, and prompts need the room.
                continue
            segment, matched = inserted
            segments.append(segment)
            rows.append(row)
            if matched < len(tokens):
                slots += segment.slots
                counts.append((row, len(tokens) - matched))
        if counts:
            self._pool.store(slots, tail_states(live.batch.prompt_cache, counts))
        for segment in segments:
            for computed in self.tree.missing(segment):
                computed.complete = True
        if self._recurrent and rows:
            states = recurrent_states(live.batch.prompt_cache, rows)
            for segment, state in zip(segments, states, strict=True):
                segment.state = state
        for segment in segments:
            self.tree.unpin(segment)

    # Scores

    def _score(self, jobs: Sequence[Scoring]) -> None:
        """Score continuations; those that differ only in their last token share a row."""
        rows: dict[tuple[Segment, tuple[int, ...]], int] = {}
        wanted: list[tuple[int, int, int]] = []
        for job in jobs:
            assert job.segment is not None
            for tokens in job.continuations:
                fed = (job.prompt[-1], *tokens[:-1])
                row = rows.setdefault((job.segment, fed), len(rows))
                wanted += [(row, place, token) for place, token in enumerate(tokens)]
        values = self._log_probabilities(list(rows), wanted)
        at = 0
        for job in jobs:
            job.log_likelihoods = []
            for tokens in job.continuations:
                job.log_likelihoods.append(float(sum(values[at : at + len(tokens)])))
                at += len(tokens)

    def _log_probabilities(
        self,
        rows: Sequence[tuple[Segment, tuple[int, ...]]],
        wanted: Sequence[tuple[int, int, int]],
    ) -> list[float]:
        """Natural-log probabilities of tokens after parts of rows.

        Args:
            rows: the segment where each row's prefix ends, and the tokens that follow it.
            wanted: (row, place of the logits in the row, token).
        """
        results = [0.0] * len(wanted)
        by_row: dict[int, list[int]] = {}
        for index, (row, _, _) in enumerate(wanted):
            by_row.setdefault(row, []).append(index)
        begin = 0
        # Rows of similar length go together, because a batch is padded to its longest row.
        order = sorted(range(len(rows)), key=lambda row: (len(rows[row][1]), row))
        while begin < len(order):
            longest = len(rows[order[begin]][1])
            end = begin + 1
            while end < len(order) and end - begin < self._width:
                grown = len(rows[order[end]][1])
                if (end - begin + 1) * grown * self._pool.vocabulary_size > _LOGITS:
                    break
                longest = grown
                end += 1
            part = order[begin:end]
            fed = np.zeros((len(part), longest), np.int32)
            for line, row in zip(fed, part, strict=True):
                line[: len(rows[row][1])] = rows[row][1]
            caches = self._gather([rows[row][0] for row in part])
            logits = self._model(mx.array(fed), cache=caches).astype(mx.float32)
            sums = mx.logsumexp(logits, axis=-1)
            indices = [(line, index) for line, row in enumerate(part) for index in by_row[row]]
            lines = mx.array([line for line, _ in indices])
            places = mx.array([wanted[index][1] for _, index in indices])
            tokens = mx.array([wanted[index][2] for _, index in indices])
            values = np.array(logits[lines, places, tokens] - sums[lines, places], np.float64)
            for (_, index), value in zip(indices, values, strict=True):
                results[index] = float(value)
            self.counters.replayed += len(part)
            begin = end
        return results


@dataclass(eq=False)
class _Live:
    """The rows that are being decoded."""

    batch: GenerationBatch
    sampler: BatchSampler
    rows: list[tuple[Job, Sample]]
    waiting: Sequence[Segment] = ()
    """Where prompts end whose answers have not begun."""

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these."""
        self.batch.filter(list(rows))
        self.sampler.keep(rows)
        self.rows = [self.rows[row] for row in rows]


def _groups(
    segments: Sequence[Segment], width: int, tokens: int, *, equal: bool
) -> list[list[Segment]]:
    """Groups of segments to prefill together: of similar lengths, and not too large.

    Args:
        segments: to divide.
        width: most segments in a group.
        tokens: most tokens in a group, padding included.
        equal: of equal lengths only. Padding would be computed into a recurrent layer's state
            unless mlx-lm hides it, and batches of unequal lengths were reported to be wrong
            (mlx-lm #1736); so nothing is padded.
    """
    groups: list[list[Segment]] = []
    used = 0
    for segment in sorted(segments, key=lambda segment: len(segment.tokens)):
        length = len(segment.tokens)
        group = groups[-1] if groups else []
        padded = (len(group) + 1) * length
        if (
            group
            and len(group) < width
            and padded <= tokens
            and padded <= (1 if equal else _PADDED) * (used + length)
        ):
            group.append(segment)
            used += length
        else:
            groups.append([segment])
            used = length
    return groups
