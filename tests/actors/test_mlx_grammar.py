"""Grammars on MLX: draws from the right distribution, and what happens around an answer's end."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agentr_lite.actors.base import GenerateRequest, Sampling
from agentr_lite.actors.grammar.matcher import Grammar
from agentr_lite.actors.mlx.actor import MlxActor
from agentr_lite.core.errors import GrammarError
from tests.actors.test_actor_conformance import chat
from tests.support.gbnf_cases import AMBIGUOUS, TURN
from tests.support.shares import expected_shares
from tests.support.tiny_hf import make_tiny_hf

FOLLOWS = re.compile(r"Thought: [a-z ]{1,40}\nAction: (get [0-9]{1,2}|craft it)")


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlxActor]:
    directory = make_tiny_hf(tmp_path_factory.mktemp("model") / "model")
    actor = MlxActor(Path(directory), context_tokens=256)
    yield actor
    actor.close()


def compiled(actor: MlxActor, text: str) -> Grammar:
    return actor._weights.grammars(actor._pool.vocabulary_size).compiled(text)


def drawn(grammar: Grammar, logits: np.ndarray, sampling: Sampling, draws: int) -> Counter[int]:
    """How often each token is an answer's first one."""
    import mlx.core as mx

    from agentr_lite.actors.mlx.sampler import BatchSampler, Sample

    counts: Counter[int] = Counter()
    for begin in range(1, draws, 500):
        samples = [
            Sample(sampling, seed, 9, (), grammar.begin()) for seed in range(begin, begin + 500)
        ]
        rows = mx.array(np.tile(logits, (500, 1)))
        rows = rows - mx.logsumexp(rows, axis=-1, keepdims=True)
        counts.update(np.array(BatchSampler(samples)(rows)).tolist())
    return counts


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(temperature=0.5),
        Sampling(top_k=40),
        Sampling(top_p=0.8),
        Sampling(top_k=60, min_p=0.02, temperature=1.5),
    ],
    ids=["plain", "cold", "top-k", "top-p", "top-k and min-p"],
)
def test_draws_have_the_models_own_shares_of_what_is_allowed(
    actor: MlxActor, sampling: Sampling
) -> None:
    grammar = compiled(actor, "root ::= [a-h] [^\\x00]*")
    allowed = grammar.begin().mask()
    logits = np.random.default_rng(3).normal(0, 1.5, len(allowed)).astype(np.float32)
    wanted = np.where(allowed, expected_shares(logits, sampling), 0)
    # After the cuts something allowed is left, but not all of it.
    assert 0 < wanted.sum() < 0.6
    wanted /= wanted.sum()
    draws = 5_000
    counts = drawn(grammar, logits, sampling, draws)
    observed = np.array([counts[token] for token in range(len(allowed))]) / draws
    assert not observed[wanted == 0].any()
    error = np.sqrt(wanted * (1 - wanted) / draws)
    assert (np.abs(observed - wanted) <= 4.5 * error + 1e-9).all()


def test_where_the_cuts_leave_nothing_allowed_they_are_made_after_it(actor: MlxActor) -> None:
    grammar = compiled(actor, 'root ::= "b" | "c" | "d"')
    letters = [actor._weights.vocabulary.tokenize(letter)[0] for letter in "bcd"]
    logits = np.zeros(actor._pool.vocabulary_size, np.float32)
    logits[letters] = -1.0, -2.0, -3.0
    counts = drawn(grammar, logits, Sampling(top_k=2), 1000)
    assert set(counts) == set(letters[:2])
    assert abs(counts[letters[0]] / 1000 - 1 / (1 + np.exp(-1))) < 0.07


def test_greedy_takes_the_likeliest_allowed_token(actor: MlxActor) -> None:
    grammar = compiled(actor, "root ::= [0-9] [^\\x00]*")
    allowed = grammar.begin().mask()
    rng = np.random.default_rng(0)
    for _ in range(10):
        logits = rng.normal(0, 3, len(allowed)).astype(np.float32)
        logits[allowed] -= rng.choice([0.0, 50.0])
        best = int(np.where(allowed, logits, -np.inf).argmax())
        assert drawn(grammar, logits, Sampling(temperature=0.0), 2) == {best: 500}


def answers(actor: MlxActor, samples: int = 12, **sampling: object) -> list[str]:
    settings = Sampling(**{"max_tokens": 90, **sampling})  # type: ignore[arg-type]
    actor.reset_cache()
    request = GenerateRequest(chat(1), tuple(range(1, samples + 1)), settings)
    result = actor.generate([request])[0]
    assert all(one.finish_reason == "stop" for one in result.completions)
    return [one.text for one in result.completions]


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 0.0},
        {"temperature": 1.0},
        {"temperature": 0.7, "top_k": 5},
        {"temperature": 4.0, "top_p": 0.9, "min_p": 0.01},
    ],
    ids=["greedy", "sampled", "top-k", "top-p and min-p"],
)
def test_every_answer_of_a_random_model_follows_the_grammar(
    actor: MlxActor, sampling: dict[str, float]
) -> None:
    texts = answers(actor, grammar=TURN, **sampling)
    assert all(FOLLOWS.fullmatch(text) for text in texts), texts
    assert (len(set(texts)) > 1) == (sampling.get("temperature") != 0.0)
    assert texts == answers(actor, grammar=TURN, **sampling)


def test_requests_with_and_without_grammar_share_a_batch(actor: MlxActor) -> None:
    requests = [
        GenerateRequest(chat(1), (1, 2), Sampling(max_tokens=90, grammar=text))
        for text in (TURN, "", 'root ::= "no"')
    ]
    actor.reset_cache()
    turn, free, no = actor.generate(requests)
    assert all(FOLLOWS.fullmatch(one.text) for one in turn.completions)
    assert not any(FOLLOWS.fullmatch(one.text) for one in free.completions)
    assert [one.text for one in no.completions] == ["no", "no"]


def test_an_answer_ends_only_where_the_grammar_does(actor: MlxActor) -> None:
    texts = answers(actor, grammar="root ::= [0-9]{30}")
    assert all(re.fullmatch("[0-9]{30}", text) for text in texts)
    cut = Sampling(max_tokens=3, grammar="root ::= [0-9]{30}")
    result = actor.generate([GenerateRequest(chat(1), (1,), cut)])[0].completions[0]
    assert result.finish_reason == "length"
    assert re.fullmatch("[0-9]{3,29}", result.text)
    texts = answers(actor, grammar=TURN, stop=("\nAction",))
    assert all(re.fullmatch(r"Thought: [a-z ]{1,40}", text) for text in texts)


def test_multibyte_characters_are_spelt_byte_by_byte(actor: MlxActor) -> None:
    assert set(answers(actor, grammar='root ::= "工作" [äöü]')) <= {"工作ä", "工作ö", "工作ü"}


def test_until_the_first_refusal_an_answer_is_drawn_as_without(actor: MlxActor) -> None:
    grammar = "root ::= [^\\x00]*"
    free: list[tuple[int, ...]] = []
    held: list[tuple[int, ...]] = []
    for drawn_ids, text in ((free, ""), (held, grammar)):
        actor.reset_cache()
        sampling = Sampling(max_tokens=12, grammar=text)
        request = GenerateRequest(chat(2), tuple(range(1, 25)), sampling)
        drawn_ids += [one.token_ids for one in actor.generate([request])[0].completions]
    same = lengths = 0
    for one, other in zip(free, held, strict=True):
        matcher, length = compiled(actor, grammar).begin(), 0
        while length < len(one) and matcher.allows(one[length]):
            if one[length] not in matcher.ends:
                matcher.accept(one[length])
            length += 1
        same += one[:length] == other[:length]
        lengths += length
    assert lengths > 48
    # Ended rows change the batch, which rounds otherwise; this parts a few.
    assert same >= 22


def test_a_grammar_that_is_given_up_in_mid_answer_is_an_error(actor: MlxActor) -> None:
    asked = GenerateRequest(
        chat(1), tuple(range(1, 13)), Sampling(max_tokens=90, grammar=AMBIGUOUS)
    )
    with pytest.raises(GrammarError, match=r"too ambiguous to follow an answer beyond \d+ tokens"):
        actor.generate([asked])
    # The actor is none the worse for it.
    assert answers(actor, grammar='root ::= "ok"', samples=1) == ["ok"]


def test_a_failure_after_the_answers_end_is_none(actor: MlxActor) -> None:
    """A token is drawn before the token before it is accepted."""
    import mlx.core as mx

    from agentr_lite.actors.mlx.sampler import Sample

    matcher = compiled(actor, AMBIGUOUS).begin()
    letter = actor._weights.vocabulary.tokenize("a")[0]
    row = mx.zeros(actor._pool.vocabulary_size)
    sample = Sample(Sampling(), 1, 1000, (), matcher)
    drawn = 0
    while sample.matcher is not None:
        assert sample.follow(letter, row) == letter or sample.matcher is None
        drawn += 1
    for _ in range(drawn - 1):
        assert sample.accept(letter, b"a", False)
    with pytest.raises(GrammarError):
        sample.accept(letter, b"a", False)
    shorter = Sample(Sampling(), 1, drawn - 1, (), compiled(actor, AMBIGUOUS).begin())
    for _ in range(drawn):
        shorter.follow(letter, row)
    continues = [shorter.accept(letter, b"a", False) for _ in range(drawn - 1)]
    assert continues == [True] * (drawn - 2) + [False]
    assert shorter.finish_reason == "length"
