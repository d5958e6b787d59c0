"""The batched engine on tiny random models: same answers as one at a time, and the sharing."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from agentr_lite.actors.base import GenerateRequest, Sampling, ScoreRequest
from agentr_lite.actors.chat.tokenizer import Tokenizer
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.actors.llamacpp.attention import attention_kernel
from agentr_lite.actors.llamacpp.context import SEQUENCES, Context
from agentr_lite.actors.llamacpp.integrity import check_integrity, check_streams
from agentr_lite.actors.llamacpp.lanes import Lane
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.llamacpp.prefix import PrefixTree
from agentr_lite.actors.llamacpp.sampler import Forced, make_chooser
from agentr_lite.actors.llamacpp.scheduler import Job, Sample, Scheduler
from agentr_lite.actors.llamacpp.stream_lane import StreamLane
from agentr_lite.core.errors import ModelError
from agentr_lite.core.messages import Message
from tests.support.crafting_chat import chat
from tests.support.tiny_gguf import TinyShape, write_tiny_adapter, write_tiny_model

CONTEXT = 256


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def model_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models")
    # f32: the kernels for quantized matrices round by batch shape on some processors.
    return write_tiny_model(directory / "tiny.gguf", TinyShape(arch=request.param))


@pytest.fixture(scope="module", params=[False, True], ids=["lanes", "streams"])
def shared_actor(request: pytest.FixtureRequest, model_path: Path) -> Iterator[LlamaCppActor]:
    actor = LlamaCppActor(model_path, context_tokens=CONTEXT, n_threads=2, streams=request.param)
    assert all(isinstance(lane, StreamLane) == request.param for lane in actor._lanes.lanes)
    yield actor
    actor.close()


@pytest.fixture
def actor(shared_actor: LlamaCppActor) -> LlamaCppActor:
    shared_actor.use_adapter(None)
    shared_actor.reset_cache()
    return shared_actor


def requests(count: int, samples: int = 4, **sampling: float) -> list[GenerateRequest]:
    settings = Sampling(**{"max_tokens": 24, **sampling})  # type: ignore[arg-type]
    return [
        GenerateRequest(chat(i), tuple(range(10 * i + 1, 10 * i + 1 + samples)), settings)
        for i in range(count)
    ]


def check(actor: LlamaCppActor) -> None:
    for lane in actor._lanes.lanes:
        if isinstance(lane, StreamLane):
            check_streams(lane.streams, lane.context)
        elif isinstance(lane, Lane):
            check_integrity(lane.tree)
            assert lane.tree.pinned == 0


def assert_same_but_for_near_ties(
    left: Sequence[Sequence[int]], right: Sequence[Sequence[int]]
) -> None:
    """Batches of different shapes round differently, which parts a few."""
    same = sum(list(a) == list(b) for a, b in zip(left, right, strict=True))
    assert same >= 0.9 * len(left), f"only {same} of {len(left)} agree"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_batch_answers_what_each_request_alone_gets(
    actor: LlamaCppActor, temperature: float
) -> None:
    asked = requests(10, samples=3, temperature=temperature)
    together = [c.token_ids for r in actor.generate(asked) for c in r.completions]
    alone = []
    for request in asked:
        for seed in request.seeds:
            actor.reset_cache()
            single = GenerateRequest(request.messages, (seed,), request.sampling)
            alone.append(actor.generate([single])[0].completions[0].token_ids)
    assert_same_but_for_near_ties(together, alone)
    check(actor)


def test_the_same_calls_after_a_reset_give_the_same_bits(actor: LlamaCppActor) -> None:
    def work() -> list[object]:
        actor.reset_cache()
        results: list[object] = []
        for turn in range(3):
            asked = [
                GenerateRequest(chat(i, turn), (i + 1, i + 2), Sampling(max_tokens=16))
                for i in range(20)
            ]
            results += actor.generate(asked)
            results += actor.score([ScoreRequest(chat(i, turn), ("Good", "Bad")) for i in range(5)])
        return results

    assert work() == work()


def test_seeds_decide_and_nothing_else(actor: LlamaCppActor) -> None:
    first = actor.generate(requests(1, samples=8))[0].completions
    again = actor.generate(requests(1, samples=8))[0].completions
    assert first == again
    assert len({c.token_ids for c in first}) > 4


def test_prompts_share_prefixes_within_and_between_calls(actor: LlamaCppActor) -> None:
    asked = [GenerateRequest(chat(3), (seed,), Sampling(max_tokens=4)) for seed in range(1, 6)]
    results = actor.generate(asked)
    length = results[0].prompt_tokens
    assert [r.cached_tokens for r in results] == [0] + [length - 1] * 4
    before = actor.usage.decoded_prompt_tokens
    longer = actor.generate([GenerateRequest(chat(3, 1), (1,), Sampling(max_tokens=4))])[0]
    # All of the first prompt but the two tokens that open the assistant's turn differently.
    assert longer.cached_tokens >= length - 1
    decoded = actor.usage.decoded_prompt_tokens - before
    assert decoded == longer.prompt_tokens - longer.cached_tokens
    check(actor)


def test_generated_tokens_stay_in_the_cache(actor: LlamaCppActor) -> None:
    words = Sampling(max_tokens=12, temperature=0.0)
    result = actor.generate([GenerateRequest(chat(1), (1,), words)])[0]
    answer = result.completions[0]
    model = actor._model
    tokens = actor.encoder.prompt(chat(1))
    assert tokens is not None
    job = Job([*tokens, *answer.token_ids], [Sample(make_chooser(words, 1), 1)])
    actor._run([job])
    kept = len(answer.token_ids) - (1 if answer.token_ids[-1] in model.end_tokens else 0)
    assert job.cached_tokens >= len(tokens) + kept - 1


def test_samples_that_agree_share_rows(actor: LlamaCppActor) -> None:
    before = actor._lanes.counters()
    asked = GenerateRequest(chat(2), (1,) * 6, Sampling(max_tokens=20, temperature=0.0))
    result = actor.generate([asked])[0]
    after = actor._lanes.counters()
    assert len({c.token_ids for c in result.completions}) == 1
    drawn = result.completions[0].output_tokens
    assert after.decoded_tokens - before.decoded_tokens == drawn - 1


def test_stop_strings_cut_the_text(actor: LlamaCppActor) -> None:
    free = actor.generate([GenerateRequest(chat(4), (3,), Sampling(max_tokens=40))])[0]
    text = free.completions[0].text
    stop = next(a + b for a, b in pairwise(text[4:]) if "\ufffd" not in a + b)
    cut = actor.generate(
        [GenerateRequest(chat(4), (3,), Sampling(max_tokens=40, stop=("\0", stop)))]
    )[0].completions[0]
    assert cut.text == text[: text.index(stop)]
    assert cut.finish_reason == "stop"
    assert cut.token_ids == free.completions[0].token_ids[: len(cut.token_ids)]


def test_lengths_and_ends(actor: LlamaCppActor) -> None:
    ends = actor._model.end_tokens
    for result in actor.generate(requests(6, samples=6, max_tokens=60)):
        for completion in result.completions:
            assert completion.output_tokens == len(completion.token_ids)
            assert not ends & set(completion.token_ids[:-1])
            if completion.finish_reason == "length":
                assert completion.output_tokens == 60
            else:
                assert completion.token_ids[-1] in ends


def logits_of(path: Path, tokens: list[int]) -> np.ndarray:
    model = Model(path)
    # The kernels round differently, so the reference has the actor's.
    ours = attention_kernel() is not None
    context = Context(model, n_cells=512, n_batch=512, n_threads=1, flash_attention=ours)
    rows = context.decode(tokens, range(len(tokens)), [0] * len(tokens), outputs=len(tokens))
    assert rows is not None
    copied = np.array(rows, np.float64)
    context.close()
    model.close()
    return copied


def test_scores_equal_the_sums_over_the_full_logits(actor: LlamaCppActor, model_path: Path) -> None:
    answers = ("Good", "Bad", "Got 2 stick", "Got 2 planks", "x")
    results = actor.score([ScoreRequest(chat(i), answers) for i in (1, 2)])
    for index, result in zip((1, 2), results, strict=True):
        prompt = actor.encoder.prompt(chat(index))
        assert prompt is not None
        assert result.prompt_tokens == len(prompt)
        for answer, score in zip(answers, result.log_likelihoods, strict=True):
            continuation = actor.encoder.tokenizer.continuation(answer)
            rows = logits_of(model_path, prompt + continuation)
            expected = 0.0
            for offset, token in enumerate(continuation):
                row = rows[len(prompt) - 1 + offset]
                top = row.max()
                expected += row[token] - top - np.log(np.exp(row - top).sum())
            assert score == pytest.approx(expected, abs=2e-2)
    check(actor)


def test_single_token_scores_need_one_row(actor: LlamaCppActor) -> None:
    single = [t for t in ("G", "B", "U") if len(actor.encoder.tokenizer.continuation(t)) == 1]
    assert len(single) == 3
    before = actor._lanes.counters()
    actor.score([ScoreRequest(chat(5), tuple(single))])
    after = actor._lanes.counters()
    assert after.replayed_tokens - before.replayed_tokens == 1
    assert after.decoded_tokens == before.decoded_tokens


def test_adapters_change_answers_and_swap_back_exactly(
    actor: LlamaCppActor, tmp_path: Path
) -> None:
    shape = TinyShape(arch=actor._model.header.architecture)
    first = write_tiny_adapter(tmp_path / "first.gguf", shape, seed=1)
    second = write_tiny_adapter(tmp_path / "second.gguf", shape, seed=2)
    asked = requests(3)
    ask = [ScoreRequest(chat(1), ("Good", "Bad"))]
    base, base_score = actor.generate(asked), actor.score(ask)
    actor.use_adapter(first)
    tuned, tuned_score = actor.generate(asked), actor.score(ask)
    actor.use_adapter(second)
    other = actor.score(ask)
    actor.use_adapter(first)
    assert actor.generate(asked) == tuned
    assert actor.score(ask) == tuned_score
    actor.use_adapter(None)
    assert actor.generate(asked) == base
    assert actor.score(ask) == base_score
    assert [r.completions for r in tuned] != [r.completions for r in base]
    scores = {r[0].log_likelihoods for r in (base_score, tuned_score, other)}
    assert len(scores) == 3


def test_the_same_adapter_again_keeps_the_cache(actor: LlamaCppActor, tmp_path: Path) -> None:
    shape = TinyShape(arch=actor._model.header.architecture)
    path = write_tiny_adapter(tmp_path / "a.gguf", shape)
    actor.use_adapter(path)
    actor.generate(requests(1))
    actor.use_adapter(path)
    assert actor.generate(requests(1))[0].cached_tokens > 0
    actor.use_adapter(None)
    assert actor.generate(requests(1))[0].cached_tokens == 0


def test_long_conversations_lose_whole_turns_oldest_first(actor: LlamaCppActor) -> None:
    messages = chat(1, turns=30)
    result = actor.generate([GenerateRequest(messages, (1,), Sampling(max_tokens=8))])[0]
    assert 0 < result.dropped_turns < 30
    assert result.prompt_tokens <= CONTEXT - 8
    kept = messages[:2] + messages[2 + 2 * result.dropped_turns :]
    actor.reset_cache()
    same = actor.generate([GenerateRequest(kept, (1,), Sampling(max_tokens=8))])[0]
    assert same.dropped_turns == 0
    assert same.completions == result.completions
    one_more = messages[:2] + messages[2 * result.dropped_turns :]
    tokens = actor.encoder.prompt(one_more)
    assert len(tokens) > CONTEXT - 8, "no more turns are dropped than needed"


def test_a_task_that_does_not_fit_overflows(actor: LlamaCppActor) -> None:
    huge: list[Message] = [{"role": "user", "content": "Goal: craft stone. " * 200}]
    asked = [
        GenerateRequest(huge, (1, 2), Sampling(max_tokens=8)),
        GenerateRequest(chat(1), (1,), Sampling(max_tokens=8)),
    ]
    results = actor.generate(asked)
    assert [c.finish_reason for c in results[0].completions] == ["overflow"] * 2
    assert results[0].completions[0].text == ""
    assert results[1].completions[0].output_tokens > 0
    scored = actor.score([ScoreRequest(huge, ("Good",)), ScoreRequest(chat(1), ("Good",))])
    assert [result.overflow for result in scored] == [True, False]
    assert [len(result.log_likelihoods) for result in scored] == [0, 1]


def test_an_answers_limit_may_exceed_the_context(actor: LlamaCppActor) -> None:
    asked = GenerateRequest(chat(1), tuple(range(1, 9)), Sampling(max_tokens=10 * CONTEXT))
    result = actor.generate([asked])[0]
    for completion in result.completions:
        assert completion.finish_reason in ("stop", "length")
        assert 0 < completion.output_tokens <= CONTEXT - result.prompt_tokens


def test_an_empty_continuation_is_refused(actor: LlamaCppActor) -> None:
    with pytest.raises(ModelError, match="no tokens"):
        actor.score([ScoreRequest(chat(1), ("Good", ""))])


def test_nothing_asked_nothing_done(actor: LlamaCppActor) -> None:
    assert actor.generate([]) == []
    assert actor.generate([GenerateRequest(chat(1), ())])[0].completions == ()


def test_an_error_in_the_middle_leaves_a_working_actor(
    actor: LlamaCppActor, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = actor.generate(requests(6))
    actor.reset_cache()
    decode, calls = Context.decode, [0]

    def failing(self: Context, *args: object, **options: object) -> object:
        calls[0] += 1
        if calls[0] == 12:
            raise KeyboardInterrupt
        return decode(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Context, "decode", failing)
    with pytest.raises(KeyboardInterrupt):
        actor.generate(requests(6))
    monkeypatch.undo()
    check(actor)
    assert actor.generate(requests(6)) == expected


def test_more_live_samples_than_sequences(actor: LlamaCppActor) -> None:
    asked = requests(3, samples=120, max_tokens=6)
    results = actor.generate(asked)
    assert all(len(r.completions) == 120 for r in results)
    check(actor)
    few = [GenerateRequest(r.messages, r.seeds[:2], r.sampling) for r in asked]
    actor.reset_cache()
    for result, small in zip(results, actor.generate(few), strict=True):
        assert result.completions[:2] == small.completions


@pytest.mark.parametrize("seed", range(12))
def test_random_work_in_a_tiny_cache_gives_the_same_answers(model_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    model = Model(model_path)
    tokenizer = Tokenizer(model)
    context = Context(model, n_cells=600, n_batch=512, n_threads=1)
    # A quarter of what a call asks for at once: queueing, eviction and expiry all happen.
    spill_bytes = rng.choice([0, 100_000, 10**9])
    tree = PrefixTree(context, capacity=120, sequences=SEQUENCES - 1, spill_bytes=spill_bytes)
    scheduler = Scheduler(
        context, tree, width=5, chunk=rng.choice([1, 7, 512]), max_idle=rng.choice([None, 150])
    )
    lonely = Context(model, n_cells=600, n_batch=512, n_threads=1)
    words = ["Goal", "craft", "stick", "planks", "using", "get", "logs"]
    known: list[str] = ["<|im_start|>user\n"]
    together: list[list[int]] = []
    alone: list[list[int]] = []
    for _ in range(6):
        jobs: list[Job] = []
        again: list[list[Sample]] = []
        forced: list[tuple[Forced, Forced]] = []
        for _ in range(rng.randint(1, 8)):
            text = rng.choice(known) + " ".join(rng.choices(words, k=rng.randint(0, 6)))
            known.append(text)
            settings = Sampling(temperature=rng.choice([0.0, 1.0]))
            length = rng.randint(1, 30)
            seeds = range(1, rng.randint(2, 5))
            follow = tuple(rng.choices(range(300), k=rng.randint(1, 20)))
            forced.append((Forced(follow), Forced(follow)))
            ours, theirs = (
                [
                    *(Sample(make_chooser(settings, seed), length) for seed in seeds),
                    Sample(follower, len(follow)),
                ]
                for follower in forced[-1]
            )
            jobs.append(Job(tokenizer.prompt(text)[:80], ours))
            again.append(theirs)
        scheduler.run(jobs)
        check_integrity(tree)
        assert tree.pinned == 0
        for sequence in range(SEQUENCES - 1):
            marked = context.last_position(sequence) >= 0
            assert marked == (sequence in tree.owners)
        for job, samples in zip(jobs, again, strict=True):
            for sample in samples:
                lonely.clear()
                alone_tree = PrefixTree(lonely, capacity=500, sequences=8)
                Scheduler(lonely, alone_tree, width=8).run([Job(job.prompt, [sample])])
            together += [sample.tokens for sample in job.samples]
            alone += [sample.tokens for sample in samples]
        for left, right in forced:
            # A wrong cell anywhere would show at once: logits here spread over +-15.
            assert left.log_likelihood == pytest.approx(right.log_likelihood, abs=0.1)
    assert_same_but_for_near_ties(together, alone)
    restored = scheduler.counters.restored_tokens
    assert restored > 0 if spill_bytes == 10**9 else not restored or spill_bytes
    context.close()
    lonely.close()
    model.close()


def test_a_long_prompt_is_computed_beside_branches_that_go_on(model_path: Path) -> None:
    model = Model(model_path)
    context = Context(model, n_cells=600, n_batch=64, n_threads=1, sequences=31)
    tree = PrefixTree(context, capacity=600, sequences=31)
    batches: list[tuple[int, int]] = []
    decode = context.decode

    def watched(*entries: Sequence[int], outputs: int) -> np.ndarray:
        batches.append((len(entries[0]), outputs))
        return decode(*entries, outputs=outputs)

    context.decode = watched  # type: ignore[method-assign,assignment]
    scheduler = Scheduler(context, tree, width=8, chunk=16)
    short = Job([5, 6, 7], [Sample(Forced((9,) * 30), 30)])
    long = Job([8, *range(20, 300)], [Sample(Forced((9,) * 3), 3)])
    scheduler.run([short, long])
    mixed = [(size, rows) for size, rows in batches if rows and size > rows]
    assert mixed, "no prompt token stood beside a branch"
    assert all(size - rows <= 16 for size, rows in mixed)
    assert len(short.samples[0].tokens) == 30
    assert len(long.samples[0].tokens) == 3
    context.close()
    model.close()


def test_a_tree_search_decodes_little_more_than_its_unique_tokens(actor: LlamaCppActor) -> None:
    unique: set[tuple[int, ...]] = set()
    start = actor.usage.decoded_prompt_tokens
    for turn in range(6):
        asked = []
        for task in range(12):
            messages = chat(task, turn)
            tokens = actor.encoder.prompt(messages)
            assert tokens is not None
            unique |= {tuple(tokens[:end]) for end in range(1, len(tokens) + 1)}
            asked.append(GenerateRequest(messages, (1, 2), Sampling(max_tokens=8)))
        results = actor.generate(asked)
        if turn:
            assert all(r.cached_tokens > r.prompt_tokens // 2 for r in results)
    decoded = actor.usage.decoded_prompt_tokens - start
    # Each lane computes the system prompt, and each call replays a prompt's last token.
    assert decoded < 1.6 * len(unique)
    check(actor)


def test_description_names_what_results_depend_on(
    shared_actor: LlamaCppActor, model_path: Path
) -> None:
    description = shared_actor.description
    assert description["path"] == str(model_path)
    assert len(description["sha256"]) == 64
    assert description["backend"] == "llama.cpp"
    assert description["n_params"] > 10_000
    assert description["threads"] == 2


def test_usage_counts(model_path: Path) -> None:
    actor = LlamaCppActor(model_path, context_tokens=CONTEXT)
    results = actor.generate(requests(2))
    usage = actor.usage
    assert usage.calls == 1
    assert usage.prompt_tokens == sum(r.prompt_tokens for r in results)
    assert usage.output_tokens == sum(c.output_tokens for r in results for c in r.completions)
    assert 0 < usage.decoded_prompt_tokens <= usage.prompt_tokens
    assert usage.model_ms > 0
    actor.close()
    actor.close()
    with pytest.raises(ModelError, match="closed"):
        actor.generate(requests(1))
