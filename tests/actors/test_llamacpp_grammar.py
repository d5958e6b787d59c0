"""Answers held to a grammar: they follow it, and are drawn from the right distribution."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agentr_lite.actors.base import GenerateRequest, Sampling
from agentr_lite.actors.grammar.matcher import Grammar
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.actors.llamacpp.grammar import Constrained
from agentr_lite.actors.llamacpp.sampler import Row, make_chooser
from agentr_lite.actors.mock import MockActor
from agentr_lite.actors.registry import check_grammars, open_actor, resolve_model
from agentr_lite.actors.settings import ActorSettings
from agentr_lite.agent.grammar import turn_grammar
from agentr_lite.agent.turns import parse_action, reflection_turn
from agentr_lite.core.errors import GrammarError, ModelError, UsageError
from agentr_lite.core.messages import Message
from agentr_lite.envs.base import Environment
from agentr_lite.envs.registry import make_env
from agentr_lite.recipe.loading import load_recipe, recipe_from_dict, with_overrides
from tests.support.gbnf_cases import AMBIGUOUS, TURN
from tests.support.shares import expected_shares
from tests.support.tiny_gguf import write_tiny_model

FOLLOWS = re.compile(r"Thought: [a-z ]{1,40}\nAction: (get [0-9]{1,2}|craft it)")
CHAT: list[Message] = [{"role": "user", "content": "Goal: craft a stone pickaxe."}]


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCppActor]:
    path = write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf")
    actor = LlamaCppActor(path, context_tokens=512, n_threads=1)
    yield actor
    actor.close()


def compiled(actor: LlamaCppActor, text: str) -> Grammar:
    return actor._weights.grammars.compiled(text)


def accepts(actor: LlamaCppActor, grammar: str, text: str) -> bool:
    """Whether a text is a whole answer that a grammar allows."""
    matcher = compiled(actor, grammar).begin()
    for token in actor._model.tokenize(text):
        if not matcher.allows(token):
            return False
        matcher.accept(token)
    return matcher.may_end()


def answers(actor: LlamaCppActor, samples: int = 12, **sampling: object) -> list[str]:
    settings = Sampling(**{"max_tokens": 90, **sampling})  # type: ignore[arg-type]
    actor.reset_cache()
    request = GenerateRequest(CHAT, tuple(range(1, samples + 1)), settings)
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
    actor: LlamaCppActor, sampling: dict[str, float]
) -> None:
    texts = answers(actor, grammar=TURN, **sampling)
    assert all(FOLLOWS.fullmatch(text) for text in texts), texts
    assert (len(set(texts)) > 1) == (sampling.get("temperature") != 0.0)
    assert texts == answers(actor, grammar=TURN, **sampling)


def test_siblings_part_and_each_goes_its_own_way(actor: LlamaCppActor) -> None:
    grammar = 'root ::= "say " ("yes" | "no" [0-9]{2} | "maybe " [a-f]{3})'
    sampling = {"temperature": 4.0, "grammar": grammar}
    together = answers(actor, samples=24, **sampling)
    assert {text.split()[1][:2] for text in together} == {"ye", "no", "ma"}
    alone = []
    for seed in range(1, 25):
        actor.reset_cache()
        request = GenerateRequest(CHAT, (seed,), Sampling(max_tokens=90, **sampling))
        alone.append(actor.generate([request])[0].completions[0].text)
    # Batches of other shapes round otherwise, which parts a few.
    assert sum(a == b for a, b in zip(together, alone, strict=True)) >= 22


def test_requests_with_and_without_grammar_share_a_batch(actor: LlamaCppActor) -> None:
    requests = [
        GenerateRequest(CHAT, (1, 2), Sampling(max_tokens=90, grammar=text))
        for text in (TURN, "", 'root ::= "no"')
    ]
    actor.reset_cache()
    turn, free, no = actor.generate(requests)
    assert all(FOLLOWS.fullmatch(one.text) for one in turn.completions)
    assert not any(FOLLOWS.fullmatch(one.text) for one in free.completions)
    assert [one.text for one in no.completions] == ["no", "no"]


def test_an_answer_ends_only_where_the_grammar_does(actor: LlamaCppActor) -> None:
    # One end, after exactly 30 digits, whatever the model would like.
    texts = answers(actor, grammar="root ::= [0-9]{30}")
    assert all(re.fullmatch("[0-9]{30}", text) for text in texts)
    cut = Sampling(max_tokens=3, grammar="root ::= [0-9]{30}")
    result = actor.generate([GenerateRequest(CHAT, (1,), cut)])[0].completions[0]
    assert result.finish_reason == "length"
    assert re.fullmatch("[0-9]{3,29}", result.text)


def test_stop_strings_still_end_an_answer(actor: LlamaCppActor) -> None:
    texts = answers(actor, grammar=TURN, stop=("\nAction",))
    assert all(re.fullmatch(r"Thought: [a-z ]{1,40}", text) for text in texts)


def test_multibyte_characters_are_spelt_byte_by_byte(actor: LlamaCppActor) -> None:
    assert set(answers(actor, grammar='root ::= "工作" [äöü]')) <= {"工作ä", "工作ö", "工作ü"}


class OneRow:
    """What ``llama_sampler_sample`` would draw from, without a model."""

    def __init__(self, probabilities: np.ndarray, sampling: Sampling) -> None:
        self._probabilities = probabilities
        self._rng = np.random.default_rng(1)
        self._sampling = sampling

    def choose(self, row: Row) -> int:
        return int(self._rng.choice(len(self._probabilities), p=self._probabilities))

    def close(self) -> None:
        """Nothing to free."""


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(temperature=0.5),
        Sampling(top_k=40),
        Sampling(top_p=0.8),
        Sampling(min_p=0.02, temperature=1.5),
    ],
    ids=["plain", "cold", "top-k", "top-p", "min-p"],
)
def test_draws_have_the_models_own_shares_of_what_is_allowed(
    actor: LlamaCppActor, sampling: Sampling
) -> None:
    model = actor._model
    grammar = compiled(actor, "root ::= [a-h] [^\\x00]*")
    allowed = grammar.begin().mask()
    assert 8 <= allowed.sum() < model.n_vocab / 2
    logits = np.random.default_rng(3).normal(0, 1.5, model.n_vocab).astype(np.float32)
    # After the cuts something allowed is left, but not all of it.
    cut = expected_shares(logits, sampling)
    wanted = np.where(allowed, cut, 0)
    assert 0 < wanted.sum() < 0.6
    wanted /= wanted.sum()
    seen: Counter[int] = Counter()
    draws = 20_000
    first = OneRow(cut, sampling)
    row = Row(None, 0, logits)
    held = Constrained(first, grammar.begin(), sampling, seed=5)
    for _ in range(draws):
        token = held.choose(row)
        seen[token] += 1
        # Back to the beginning, with the same stream of numbers.
        held._matcher = grammar.begin()
    held.close()
    observed = np.array([seen[token] for token in range(model.n_vocab)]) / draws
    assert not observed[wanted == 0].any()
    error = np.sqrt(wanted * (1 - wanted) / draws)
    assert (np.abs(observed - wanted) <= 4.5 * error + 1e-9).all()


def test_where_the_cuts_leave_nothing_allowed_they_are_made_after_it(actor: LlamaCppActor) -> None:
    model = actor._model
    grammar = compiled(actor, 'root ::= "b" | "c" | "d"')
    b, c, d = (model.tokenize(letter)[0] for letter in "bcd")
    logits = np.zeros(model.n_vocab, np.float32)
    # Everything but a letter is likelier than the letters; of those, top-k keeps two.
    logits[[b, c, d]] = -1.0, -2.0, -3.0
    sampling = Sampling(top_k=2)
    seen = Counter()
    for seed in range(1, 400):
        first = OneRow(expected_shares(logits, sampling), sampling)
        held = Constrained(first, grammar.begin(), sampling, seed)
        seen[held.choose(Row(None, 0, logits))] += 1
        held.close()
    assert set(seen) == {b, c}
    assert abs(seen[b] / 399 - 1 / (1 + np.exp(-1))) < 0.1


def test_greedy_takes_the_likeliest_allowed_token(actor: LlamaCppActor) -> None:
    model = actor._model
    grammar = compiled(actor, "root ::= [0-9] [^\\x00]*")
    allowed = grammar.begin().mask()
    rng = np.random.default_rng(0)
    greedy = Sampling(temperature=0.0)
    for _ in range(30):
        logits = rng.normal(0, 3, model.n_vocab).astype(np.float32)
        # Far below the front runners, too.
        logits[allowed] -= rng.choice([0.0, 50.0])
        held = Constrained(make_chooser(greedy, 1), grammar.begin(), greedy, 1)
        best = np.where(allowed, logits, -np.inf).argmax()
        assert held.choose(Row(None, 0, logits)) == best
        held.close()


def test_a_grammar_that_the_vocabulary_cannot_spell_is_an_error(actor: LlamaCppActor) -> None:
    model = actor._model
    matcher = compiled(actor, 'root ::= "a"').begin()
    # As a vocabulary without this letter would.
    matcher.mask = lambda: np.zeros(model.n_vocab, bool)  # type: ignore[method-assign]
    matcher.allows = lambda token: False  # type: ignore[method-assign]
    held = Constrained(make_chooser(Sampling(), 1), matcher, Sampling(temperature=0.0), 1)
    logits = np.zeros(model.n_vocab, np.float32)
    held._chooser = OneRow(np.full(model.n_vocab, 1 / model.n_vocab), Sampling())
    with pytest.raises(ModelError, match="no token of the model's vocabulary"):
        held.choose(Row(None, 0, logits))
    held.close()


def test_a_grammar_that_is_given_up_in_mid_answer_is_an_error(actor: LlamaCppActor) -> None:
    check_grammars("starter", [AMBIGUOUS])
    seeds = tuple(range(1, 13))
    asked = GenerateRequest(CHAT, seeds, Sampling(max_tokens=90, grammar=AMBIGUOUS))
    with pytest.raises(GrammarError, match=r"too ambiguous to follow an answer beyond \d+ tokens"):
        actor.generate([asked])
    # The actor is none the worse for it.
    assert answers(actor, grammar='root ::= "ok"', samples=1) == ["ok"]


def test_a_wrong_grammar_costs_no_process(actor: LlamaCppActor) -> None:
    for text in ('root ::= "a', 'root ::= "a"{3,1}', "root ::= root"):
        with pytest.raises(GrammarError):
            actor.generate([GenerateRequest(CHAT, (1,), Sampling(grammar=text))])
    assert answers(actor, grammar='root ::= "ok"', samples=1) == ["ok"]


# Environments


@pytest.fixture(scope="module")
def starter() -> Iterator[LlamaCppActor]:
    actor = LlamaCppActor(resolve_model("starter").gguf, n_threads=1)
    yield actor
    actor.close()


def test_an_answer_that_follows_by_itself_is_drawn_as_without(starter: LlamaCppActor) -> None:
    env = make_env("textcraft")
    observation, _ = env.reset(env.tasks("dev")[40])
    chat: list[Message] = [
        {"role": "system", "content": env.instructions(brief=True)},
        {"role": "user", "content": observation},
    ]
    text = turn_grammar("env", env)
    seeds = tuple(range(1, 33))
    both = []
    for grammar in ("", text):
        starter.reset_cache()
        sampling = Sampling(temperature=1.6, max_tokens=100, grammar=grammar)
        both.append(starter.generate([GenerateRequest(chat, seeds, sampling)])[0].completions)
    follows = [accepts(starter, text, one.text) and one.finish_reason == "stop" for one in both[0]]
    assert 0 < sum(follows) < len(follows)
    same = [free.token_ids == held.token_ids for free, held in zip(*both, strict=True)]
    # Batches of other shapes round otherwise, which parts a few.
    assert sum(one and two for one, two in zip(same, follows, strict=True)) >= 0.9 * sum(follows)


@pytest.mark.parametrize(("name", "split"), [("textcraft", "test"), ("webshop", "dev")])
def test_every_action_of_the_oracle_follows_the_environments_grammar(
    starter: LlamaCppActor, name: str, split: str
) -> None:
    env = make_env(name)
    grammar = turn_grammar("env", env)
    actions = {action for task in env.tasks(split)[::3] for action in env.solve(task)}
    assert len(actions) > 50
    turns = [f"Thought: I go on.\nAction: {action}" for action in actions]
    assert [turn for turn in turns if not accepts(starter, grammar, turn)] == []


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("textcraft", ["get oak logs", "get 0 stick", "craft 1 a", "dance", "get 1 a ", ""]),
        ("webshop", ["search", "search[]", "click Buy Now", "buy[it]", "click[a] now"]),
    ],
)
def test_other_forms_do_not_follow_it(starter: LlamaCppActor, name: str, wrong: list[str]) -> None:
    env = make_env(name)
    grammar = turn_grammar("env", env)
    env.reset(env.tasks("dev")[0])

    def follows(text: str) -> bool:
        return accepts(starter, grammar, text)

    for action in env.valid_actions() or []:
        assert follows(f"Thought: Well.\nAction: {action}"), action
    assert follows(reflection_turn("That was wrong."))
    assert not any(follows(f"Thought: Well.\nAction: {action}") for action in wrong)
    assert not follows("Action: inventory")
    assert not follows("Thought: one\nThought: two\nAction: inventory")


def test_a_turn_of_an_untrained_model_always_holds_an_action(actor: LlamaCppActor) -> None:
    env = make_env("textcraft")
    grammar = turn_grammar("env", env)
    request = GenerateRequest(CHAT, tuple(range(1, 21)), Sampling(max_tokens=200, grammar=grammar))
    result = actor.generate([request])[0]
    whole = [one.text for one in result.completions if one.finish_reason == "stop"]
    assert whole
    assert all(parse_action(text) for text in whole)


class Wordless(Environment):
    """Knows no grammar."""

    name = "wordless"
    grammar_text = ""

    def tasks(self, split):  # type: ignore[no-untyped-def]
        return []

    def reset(self, task, *, seed=0):  # type: ignore[no-untyped-def]
        return "", {}

    def step(self, action):  # type: ignore[no-untyped-def]
        raise AssertionError

    def instructions(self, *, brief: bool = False) -> str:
        return ""

    def grammar(self) -> str:
        return self.grammar_text


def test_an_environment_without_a_grammar_is_named() -> None:
    env = Wordless()
    assert turn_grammar("", env) == ""
    assert turn_grammar('root ::= "x"', env) == 'root ::= "x"'
    with pytest.raises(UsageError, match="'wordless' has no grammar"):
        turn_grammar("env", env)
    env.grammar_text = 'deed ::= "x"'
    with pytest.raises(GrammarError, match=r"of environment 'wordless'.* no rule 'action'"):
        turn_grammar("env", env)


# Recipes


def test_a_recipe_holds_the_text_of_a_grammar_file(tmp_path: Path) -> None:
    file = tmp_path / "turn.gbnf"
    file.write_text(TURN)
    recipe = load_recipe("textcraft", [f"agent.grammar={json.dumps(str(file))}"])
    assert recipe.agent.grammar == TURN
    file.unlink()
    assert recipe_from_dict(recipe.to_dict()) == recipe
    assert with_overrides(recipe.to_dict(), ["agent.grammar=env"]).agent.grammar == "env"
    with pytest.raises(GrammarError, match="line 1, column 10"):
        load_recipe("textcraft", ["agent.grammar='root ::= [a'"])


def test_one_environment_of_several_may_have_its_own(tmp_path: Path) -> None:
    file = tmp_path / "turn.gbnf"
    file.write_text(TURN)
    own = {"textcraft": {"agent": {"grammar": "env"}}, "webshop": {"agent": {"grammar": str(file)}}}
    recipe = recipe_from_dict({"env": own})
    assert [own.agent.grammar for own in recipe.by_environment()] == ["env", TURN]


def test_local_models_follow_grammars_and_wrong_ones_are_refused_before_a_run() -> None:
    directory = resolve_model("starter").train_dir
    for spec in ("starter", f"mlx:{directory}"):
        check_grammars(spec, ["", TURN])
        with pytest.raises(GrammarError, match="line 1, column 10"):
            check_grammars(spec, ["", "root ::= [a"])
        actor = open_actor(ActorSettings(model=spec, grammar=True))
        assert actor.capabilities.grammar
        actor.close()


def test_a_back_end_that_follows_no_grammar_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = MockActor()
    monkeypatch.setattr("agentr_lite.actors.registry._open", lambda settings: scripted)
    assert open_actor(ActorSettings(model="scripted")) is scripted
    with pytest.raises(ModelError, match=r"scripted: .* cannot make answers follow a grammar"):
        open_actor(ActorSettings(model="scripted", grammar=True))
    assert scripted.closed
