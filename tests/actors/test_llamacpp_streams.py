"""Streams: what they hold, what is copied, moved and saved; and a lane of them on a tiny model."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentr_lite.actors.base import Sampling
from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.integrity import check_streams
from agentr_lite.actors.llamacpp.lanes import Lanes
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.llamacpp.plan import LanePlan
from agentr_lite.actors.llamacpp.sampler import Forced, Greedy, Row, make_chooser
from agentr_lite.actors.llamacpp.scheduler import Job, Sample
from agentr_lite.actors.llamacpp.segments import CellBytes
from agentr_lite.actors.llamacpp.shelf import Shelf, begins, common
from agentr_lite.actors.llamacpp.stream_lane import StreamLane
from agentr_lite.actors.llamacpp.streams import Stream, Streams
from agentr_lite.core.errors import ModelError
from tests.support.tiny_gguf import write_tiny_model

CAPACITY = 256
WORTH = 3


class FakeMemory:
    """Cells that are the tokens themselves."""

    def __init__(self, count: int) -> None:
        self.cells: list[list[int]] = [[] for _ in range(count)]
        self.copies = 0

    def remove(self, sequence: int, start: int = 0, end: int = -1) -> None:
        assert end == -1
        del self.cells[sequence][start:]

    def copy_stream(self, source: int, targets: Sequence[int]) -> None:
        self.copies += len(targets)
        for target in targets:
            assert target != source
            self.cells[target] = list(self.cells[source])

    def exchange_streams(self, left: int, right: int) -> None:
        cells = self.cells
        cells[left], cells[right] = cells[right], cells[left]

    def save_sequence(self, sequence: int) -> CellBytes:
        return np.array(self.cells[sequence], np.int32).view(np.uint8)

    def load_sequence(self, data: CellBytes, sequence: int) -> None:
        self.cells[sequence] = data.view(np.int32).tolist()

    def clear(self) -> None:
        self.cells = [[] for _ in self.cells]


def make(count: int, spill_bytes: int = 0) -> tuple[FakeMemory, Streams]:
    memory = FakeMemory(count)
    return memory, Streams(
        memory, count=count, capacity=CAPACITY, copy_tokens=WORTH, spill_bytes=spill_bytes
    )


def compute(memory: FakeMemory, stream: Stream, tokens: Sequence[int]) -> None:
    memory.cells[stream.sequence] += tokens
    stream.extend(tokens)


def hold(memory: FakeMemory, streams: Streams, prompt: Sequence[int]) -> tuple[Stream, int]:
    """Compute a prompt; returns its stream, idle, and how many tokens were known."""
    stream, cached = streams.take(prompt)
    compute(memory, stream, list(prompt[cached:]))
    streams.release(stream)
    return stream, cached


def check(memory: FakeMemory, streams: Streams, busy: int) -> None:
    check_streams(streams, busy=busy)
    for stream in streams.streams:
        assert memory.cells[stream.sequence] == stream.tokens.tolist()
    for entry in streams.shelf.entries:
        assert entry.data.view(np.int32).tolist() == entry.tokens.tolist()


prompts = st.lists(st.integers(0, 2), max_size=40)


@settings(max_examples=200, deadline=None)
@given(
    count=st.integers(1, 5),
    spill_bytes=st.sampled_from([0, 200, 10**6]),
    steps=st.lists(
        st.tuples(st.sampled_from(["take", "go on", "fork", "end", "pack"]), prompts), max_size=40
    ),
)
def test_cells_and_notes_agree_whatever_is_asked(
    count: int, spill_bytes: int, steps: list[tuple[str, list[int]]]
) -> None:
    memory, streams = make(count, spill_bytes)
    busy: list[Stream] = []
    for step, tokens in steps:
        if step == "take" and len(busy) < count:
            wanted = np.array(tokens, np.int32)
            known = max(
                [common(stream.tokens, wanted) for stream in streams.streams]
                + [common(entry.tokens, wanted) for entry in streams.shelf.entries]
            )
            stream, cached = streams.take(tokens)
            assert stream.busy and stream not in busy
            assert stream.tokens.tolist() == tokens[:cached]
            assert known - WORTH <= cached <= known, "only what costs less than a copy is left out"
            compute(memory, stream, tokens[cached:])
            busy.append(stream)
        elif busy and step == "go on":
            compute(memory, busy[-1], tokens[: CAPACITY - busy[-1].length])
        elif busy and step == "fork":
            copies = streams.fork(busy[0], min(len(tokens), count - len(busy)))
            assert all(copy.tokens.tolist() == busy[0].tokens.tolist() for copy in copies)
            busy += copies
        elif busy and step == "end":
            streams.release(busy.pop(len(tokens) % len(busy)))
        elif busy and step == "pack":
            streams.pack()
            places = sorted(stream.sequence for stream in busy)
            assert places == list(range(places[0], places[0] + len(busy)))
        check(memory, streams, len(busy))


def test_a_conversation_goes_on_where_it_is() -> None:
    memory, streams = make(3)
    first, _ = hold(memory, streams, range(50))
    again, cached = hold(memory, streams, range(60))
    assert (again, cached, memory.copies) == (first, 50, 0)


def test_a_sibling_gets_a_copy_and_the_first_stays() -> None:
    memory, streams = make(3)
    hold(memory, streams, [*range(50), *range(100, 120)])
    _, cached = hold(memory, streams, [*range(50), *range(200, 220)])
    assert (cached, memory.copies) == (50, 1)
    assert hold(memory, streams, [*range(50), *range(100, 120), 7])[1] == 70
    assert memory.copies == 1


def test_a_prefix_too_short_for_a_copy_is_computed() -> None:
    memory, streams = make(3)
    hold(memory, streams, [*range(WORTH), *range(50, 80)])
    assert hold(memory, streams, [*range(WORTH), *range(150, 180)])[1] == 0
    assert memory.copies == 0


def test_the_least_recently_used_is_overwritten() -> None:
    memory, streams = make(2)
    talks = [list(range(start, start + 30)) for start in (0, 100, 200)]
    hold(memory, streams, talks[0])
    hold(memory, streams, talks[1])
    hold(memory, streams, talks[0])
    hold(memory, streams, talks[2])
    assert hold(memory, streams, talks[0])[1] == 30
    assert hold(memory, streams, talks[1])[1] == 0


def test_what_is_expected_is_kept() -> None:
    memory, streams = make(2)
    talks = [list(range(start, start + 30)) for start in (0, 100, 200)]
    hold(memory, streams, talks[0])
    hold(memory, streams, talks[1])
    streams.expect([talks[2], talks[0]])
    hold(memory, streams, talks[2])
    assert hold(memory, streams, talks[0])[1] == 30


def test_what_is_overwritten_waits_in_ram_if_no_other_stream_has_it() -> None:
    memory, streams = make(1, spill_bytes=10**6)
    talks = [list(range(start, start + 30)) for start in (0, 100)]
    hold(memory, streams, talks[0])
    hold(memory, streams, talks[1])
    assert hold(memory, streams, talks[0])[1] == 30
    shelf = streams.shelf
    assert (shelf.restored_tokens, shelf.spilled_tokens) == (30, 60)
    assert [entry.tokens.tolist() for entry in shelf.entries] == [talks[1]]
    # The stream's own continuation makes no copy of its beginning.
    assert hold(memory, streams, [*talks[0], 1, 2])[1] == 30
    assert shelf.spilled_tokens == 60
    check(memory, streams, 0)


def test_the_ram_keeps_its_budget_and_the_last_used() -> None:
    shelf = Shelf(100)

    def put(*tokens: int) -> None:
        array = np.array(tokens, np.int32)
        shelf.put(array, np.zeros(40, np.uint8))

    put(1, 2, 3)
    put(4, 5, 6)
    entry, same = shelf.best(np.array([1, 2, 9], np.int32))
    assert entry is not None and same == 2
    shelf.use(entry, same)
    put(7, 8, 9)
    assert [entry.tokens.tolist() for entry in shelf.entries] == [[1, 2, 3], [7, 8, 9]]
    put(7, 8, 9, 10)
    assert [entry.tokens.tolist() for entry in shelf.entries] == [[1, 2, 3], [7, 8, 9, 10]]
    assert shelf.used_bytes == 80


def test_no_idle_stream_is_an_error() -> None:
    _, streams = make(1)
    streams.take([1, 2])
    with pytest.raises(RuntimeError, match="busy"):
        streams.take([1, 2])


def test_common_prefixes() -> None:
    one, two, none = (np.array(tokens, np.int32) for tokens in ([1, 2, 3], [1, 2, 4, 5], []))
    assert (common(one, two), common(one, none), common(two, two)) == (2, 0, 4)
    assert begins(two, none) and begins(two, two[:2]) and not begins(two, one)


# On a model


@dataclass
class Case:
    """A lane of few small streams, and a context for decoding one token after the other."""

    model: Model
    lane: StreamLane
    stop: threading.Event
    plain: Context


def plan(streams: int, *, count: int = 1, n_batch: int = 256, spill_bytes: int = 0) -> LanePlan:
    return LanePlan(
        count,
        streams * CAPACITY,
        parallel=count > 1,
        lends_threads=False,
        max_idle=None,
        cells_a_token=1,
        flash_attention=False,
        n_batch=n_batch,
        spill_bytes=spill_bytes,
        streams=streams,
        copy_tokens=WORTH,
    )


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    model = Model(write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf"))
    stop = threading.Event()
    lane = StreamLane(model, plan(4, n_batch=32), n_threads=1, stop=stop)
    plain = Context(model, n_cells=512, n_batch=256, n_threads=1)
    yield Case(model, lane, stop, plain)
    lane.context.close()
    plain.close()
    model.close()


def plain_rows(case: Case, prompt: list[int], answer: Sequence[int]) -> np.ndarray:
    """(answer, vocabulary): the logits from which each token of an answer is drawn."""
    tokens = [*prompt, *answer[:-1]]
    rows = []
    case.plain.clear()
    for position, token in enumerate(tokens):
        logits = case.plain.decode([token], [position], [0], outputs=1)
        if position >= len(prompt) - 1:
            rows.append(np.array(logits[0], np.float64))
    return np.array(rows)


asked = st.tuples(
    st.integers(0, 2),  # from which known beginning
    st.integers(0, 60),  # how much of it
    st.lists(st.integers(5, 250), min_size=1, max_size=30),  # what follows
    st.lists(st.integers(5, 250), min_size=1, max_size=6),  # the forced answer
    st.integers(0, 3),  # seeded samples
)


@settings(max_examples=40, deadline=None)
@given(
    spill_bytes=st.sampled_from([0, 40_000, 10**9]),
    calls=st.lists(st.lists(asked, min_size=1, max_size=5), min_size=1, max_size=3),
)
def test_any_jobs_get_what_decoding_one_token_after_the_other_gives(
    case: Case, spill_bytes: int, calls: list[list[tuple[int, int, list[int], list[int], int]]]
) -> None:
    lane = case.lane
    lane.clear()
    lane.streams.shelf.budget_bytes = spill_bytes
    known: list[list[int]] = [[7, 8, 9] * 20, [11, 12] * 30, [7, 8, 9] * 10 + [20] * 30]
    for call in calls:
        jobs, forced = [], []
        for which, size, more, answer, seeds in call:
            prompt = [*known[-1 - which][:size], *more]
            forced.append(Forced(tuple(answer)))
            samples = [Sample(forced[-1], len(answer)), Sample(Greedy(), 6)]
            samples += [
                Sample(make_chooser(Sampling(temperature=1.0), seed), 6) for seed in range(seeds)
            ]
            jobs.append(Job(prompt, samples))
        lane.run(jobs)
        check_streams(lane.streams, lane.context)
        for job, follower in zip(jobs, forced, strict=True):
            assert all(sample.finish_reason for sample in job.samples)
            ends, answer = job.samples[0].ended, job.samples[0].tokens
            rows = plain_rows(case, job.prompt, answer)
            top = rows.max(axis=1)
            sums = top + np.log(np.exp(rows - top[:, None]).sum(axis=1))
            likelihood = sum(row[token] for row, token in zip(rows, answer, strict=True))
            # A wrong cell anywhere would show at once: logits here spread over +-15.
            assert follower.log_likelihood == pytest.approx(likelihood - sums.sum(), abs=0.1)
            assert ends or len(answer) == job.samples[0].max_tokens
            greedy = job.samples[1].tokens
            for row, token in zip(plain_rows(case, job.prompt, greedy), greedy, strict=True):
                assert row[token] >= row.max() - 0.1
            known.append([*job.prompt, *greedy])


def job(prompt: list[int], *answers: tuple[int, ...]) -> Job:
    return Job(prompt, [Sample(Forced(answer), len(answer)) for answer in answers])


@pytest.fixture
def lane(case: Case) -> StreamLane:
    case.lane.clear()
    case.lane.streams.shelf.budget_bytes = 0
    return case.lane


def test_samples_that_agree_share_a_stream_and_part_into_copies(lane: StreamLane) -> None:
    before = lane.counters.decoded_tokens
    lane.run([job(list(range(5, 40)), (9, 9, 9), (9, 9, 8), (9, 9, 9))])
    # The last tokens are drawn, not decoded, and the prompt's last one is counted apart.
    assert lane.counters.decoded_tokens - before == 2
    lane.run([job(list(range(5, 40)), (9, 9, 9, 1, 1), (9, 9, 8, 1, 1), (9, 7, 7, 1, 1))])
    held = {tuple(stream.tokens[34:].tolist()) for stream in lane.streams.streams}
    assert {(39, 9, 9, 9, 1), (39, 9, 9, 8, 1), (39, 9, 7, 7, 1)} <= held
    check_streams(lane.streams, lane.context)


def test_samples_that_do_not_fit_at_once_wait(lane: StreamLane) -> None:
    most = 0
    counted = lane.streams.fork

    def fork(stream: Stream, count: int) -> list[Stream]:
        nonlocal most
        copies = counted(stream, count)
        most = max(most, sum(stream.busy for stream in lane.streams.streams))
        return copies

    lane.streams.fork = fork  # type: ignore[method-assign]
    answers = [(10 + index, 20 + index, 30) for index in range(11)]
    asked = [job(list(range(5, 30)), *answers), job(list(range(50, 70)), *answers[:3])]
    lane.run(asked)
    del lane.streams.fork  # type: ignore[method-assign]
    assert most == 4, "all streams were in use, and never more"
    assert [tuple(sample.tokens) for sample in asked[0].samples] == answers
    check_streams(lane.streams, lane.context)


def test_equal_prompts_count_as_cached_and_share_rows(lane: StreamLane) -> None:
    before = lane.counters.replayed_tokens
    twins = [job(list(range(5, 30)), (9, 9)) for _ in range(3)]
    lane.run(twins)
    assert [twin.cached_tokens for twin in twins] == [0, 24, 24]
    assert lane.counters.replayed_tokens - before == 1


def test_long_prompts_are_computed_in_batches(lane: StreamLane) -> None:
    prompt = [5 + index % 200 for index in range(150)]
    lane.run([job(prompt, (9,))])
    again = job([*prompt, 3, 4], (9,))
    lane.run([again])
    assert again.cached_tokens == 150


def test_a_job_that_fits_no_stream_is_an_error(lane: StreamLane) -> None:
    lane.run([job([5] * (CAPACITY - 3), (9, 9, 9, 9))])
    with pytest.raises(RuntimeError, match="does not fit"):
        lane.run([job([5] * (CAPACITY - 2), (9, 9, 9, 9))])


def test_a_stop_empties_the_lane_and_it_works_again(case: Case, lane: StreamLane) -> None:
    class Stopping(Greedy):
        def choose(self, row: Row) -> int:
            case.stop.set()
            return super().choose(row)

    lane.run([job(list(range(5, 40)), (9, 9))])
    with pytest.raises(CancelledError):
        lane.run([Job([5, 6, 7], [Sample(Stopping(), 20)]), job([8, 9], (7,) * 9)])
    case.stop.clear()
    assert not any(stream.length for stream in lane.streams.streams)
    check_streams(lane.streams, lane.context)
    after = job(list(range(5, 40)), (9, 9))
    lane.run([after])
    assert after.cached_tokens == 0 and len(after.samples[0].tokens) == 2


def test_a_stream_without_cells_replaces_one_that_has_some(lane: StreamLane) -> None:
    context = lane.context
    nothing = context.save_sequence(1)
    context.decode([5, 6, 7], [0, 1, 2], [0, 0, 0], outputs=0)
    context.exchange_streams(0, 1)
    assert [context.last_position(sequence) for sequence in (0, 1)] == [-1, 2]
    context.copy_stream(1, [0, 2])
    context.load_sequence(nothing, 1)
    assert [context.last_position(sequence) for sequence in (0, 1, 2)] == [2, -1, 2]


def test_streams_share_no_cells(lane: StreamLane) -> None:
    context = lane.context
    assert context.stream_cells == CAPACITY
    for refused in (
        lambda: context.copy_sequence(0, 1, 2),
        lambda: context.copy_range(0, 1, 0, 2),
        lambda: context.save(0, 0, 2),
        lambda: context.load(np.zeros(8, np.uint8), 0, 0, 2),
    ):
        with pytest.raises(ModelError, match="only together"):
            refused()
    with pytest.raises(ModelError, match="outside 0 to 3"):
        context.remove(4)


def test_lanes_of_streams_get_equal_work_and_conversations_come_back(case: Case) -> None:
    lanes = Lanes(case.model, plan(4, count=2), n_threads=2)
    talks = [[*range(100, 180), *([5 + index] * 20)] for index in range(10)]
    first = lanes.assign([job(talk, (9,) * 20) for talk in talks])
    assert sorted(first) == [0] * 5 + [1] * 5
    longer = lanes.assign([job([*talk, 4, 4, 4], (9,) * 20) for talk in reversed(talks)])
    assert longer == first[::-1]
    twins = lanes.assign([job([*talks[0], *range(9)], (9,) * 20) for _ in range(4)])
    assert len(set(twins)) == 1
    lanes.reset()
    assert lanes.assign([job(talk, (9,) * 20) for talk in talks]) == first
    lanes.close()
