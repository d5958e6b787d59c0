"""Every family of chat templates, on every back end: the tokens are those of `transformers`.

Three ways lead from a conversation to tokens: a prompt to generate from, a prompt with a
continuation to score, and an example to train on. Text from outside must become a control token
in none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agentr_lite.actors.base import GenerateRequest, Sampling
from agentr_lite.actors.chat.encoder import ChatEncoder, History
from agentr_lite.actors.chat.template import model_template
from agentr_lite.actors.chat.tokenizer import Tokenizer
from agentr_lite.actors.mlx.blas import use_fast_blas
from agentr_lite.convert.gguf_to_hf import convert_to_hf
from agentr_lite.convert.hf_to_gguf import convert_to_gguf
from agentr_lite.train.batches import TrainExample, chat_encoder, tokenize_all
from tests.support import real_models
from tests.support.chat_conversations import HARMLESS, Conversation, finished, hostile
from tests.support.chat_families import FAMILIES, Family
from tests.support.chat_witness import Witness
from tests.support.family_models import (
    BaseName,
    FamilyModel,
    gguf_base,
    make_family_model,
    tiny_base,
)

Sequences = list[tuple[list[int], list[bool]]]

BACK_ENDS = ("mlx", "llama.cpp", "converted")
"""``converted``: llama.cpp with a file that the program made of the directory."""
TRAINERS = ("directory", "copy")
"""``copy``: a directory that the program made of the GGUF file."""
_RANDOM = {"tiny": 15, "smollm2": -(-10_000 // len(FAMILIES))}
"""Random conversations for each family and back end."""
_LONGEST = 100_000


# What follows, up to the next such line, is all that knows how the program is called.


@dataclass(frozen=True)
class Loaded:
    """A model as an actor of one back end holds it, without its weights where that can be."""

    vocabulary: Any
    encoder: ChatEncoder


def prompt_ids(back_end: str, model: FamilyModel, messages: Sequence[Any]) -> list[int]:
    """The prompt that an actor would generate from."""
    tokens = load(back_end, model).encoder.fit(messages, _LONGEST).tokens
    assert tokens is not None
    return tokens


def score_ids(
    back_end: str, model: FamilyModel, messages: Sequence[Any], continuation: str
) -> list[int]:
    """The tokens that an actor would score a continuation with, its prompt in front."""
    prompt = prompt_ids(back_end, model, messages)
    return prompt + load(back_end, model).encoder.answer(continuation)


def training_ids(
    trainer: str,
    model: FamilyModel,
    messages: Sequence[Any],
    *,
    last_only: bool = False,
    history: History = "template",
) -> Sequences:
    """Sequences with their masks."""
    turns = [message["role"] == "assistant" for message in messages]
    if last_only:
        turns = [False] * (len(messages) - 1) + turns[-1:]
    kept, dropped = tokenize_all(
        load_trainer(trainer, model, history), [TrainExample(list(messages), turns)], _LONGEST
    )
    assert not dropped.total
    return [(list(one.tokens), list(one.mask)) for one in kept]


def stop_ids(back_end: str, model: FamilyModel) -> frozenset[int]:
    """Tokens that end an answer."""
    loaded = load(back_end, model)
    return frozenset(loaded.vocabulary.end_tokens | loaded.encoder.end_tokens)


def answer_text(
    back_end: str, model: FamilyModel, messages: Sequence[Any], ids: Sequence[int]
) -> str:
    """The text that an actor returns for generated tokens, the end of the turn left out.

    Args:
        back_end: which actor.
        model: which model.
        messages: the conversation that was answered.
        ids: the tokens.
    """
    encoder = load(back_end, model).encoder
    return encoder.answer_text(encoder.tokenizer.text_of(ids))


@cache
def load(back_end: str, model: FamilyModel, history: History = "template") -> Loaded:
    """Loads a model for ``prompt_ids``, ``score_ids`` and ``stop_ids``."""
    vocabulary: Any
    if back_end == "mlx":
        use_fast_blas()
        from mlx_lm.utils import load_tokenizer

        from agentr_lite.actors.mlx.vocabulary import HfVocabulary

        vocabulary = HfVocabulary(load_tokenizer(model.hf), origin=str(model.hf))
        own, bos, eos = vocabulary.chat_template, vocabulary.bos_text, vocabulary.eos_text
    else:
        from agentr_lite.actors.llamacpp.model import Model

        path = model.gguf
        if back_end == "converted":
            path = model.hf.with_name("converted.gguf")
            convert_to_gguf(model.hf, path, dtype="f16")
        vocabulary = Model(path, n_gpu_layers=0)
        own = vocabulary.header.chat_template
        bos, eos = (vocabulary.token_text(token) for token in (vocabulary.bos, vocabulary.eos))
    template = model_template(model.hf, own, override=None, bos=bos, eos=eos)
    encoder = ChatEncoder(template, Tokenizer(vocabulary), eos=eos, history=history)
    return Loaded(vocabulary, encoder)


@cache
def load_trainer(trainer: str, model: FamilyModel, history: History = "template") -> Any:
    """Loads a tokenizer for ``training_ids``."""
    use_fast_blas()
    from mlx_lm.utils import load_tokenizer

    folder = model.hf
    if trainer == "copy":
        folder = model.hf.with_name("copy")
        convert_to_hf(model.gguf, folder)
    return chat_encoder(load_tokenizer(folder), origin=str(folder), history=history)


# Models and their witnesses, made once.


def _cases() -> Iterator[Any]:
    for family in FAMILIES:
        for base in ("bytes", family.sentencepiece):
            if base:
                yield pytest.param((family, base), id=f"{family.name}-{base}")
        real = (family, "smollm2")
        yield pytest.param(real, id=f"{family.name}-smollm2", marks=pytest.mark.models)


Case = tuple[FamilyModel, Witness]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Makes a model when a test first asks for it."""

    @cache
    def make(family: Family, base: BaseName) -> Case:
        assert base in get_args(BaseName)
        folder = tmp_path_factory.mktemp(f"{family.name}-{base}")
        model = make_family_model(
            folder, family, smollm2_base() if base == "smollm2" else tiny_base(base)
        )
        return model, Witness(model)

    yield make
    load.cache_clear()
    load_trainer.cache_clear()


@cache
def smollm2_base() -> Any:
    return gguf_base(real_models.fetch(real_models.SMOLLM2))


@pytest.fixture(params=_cases(), scope="module")
def case(request: pytest.FixtureRequest, made: Any) -> Case:
    """One family over one vocabulary."""
    result: Case = made(*request.param)
    return result


def size_of(case: Case) -> int:
    """How many random conversations a property is tried on."""
    return _RANDOM["smollm2" if len(case[1].tokenizer) > 40_000 else "tiny"]


def mismatch(witness: Witness, ours: Sequence[int], right: Sequence[int]) -> str:
    """Where two lists of ids part, in tokens; empty if nowhere."""
    if list(ours) == list(right):
        return ""
    pairs = zip(ours, right, strict=False)
    same = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(right)))
    shown = [
        " ".join(map(str, witness.tokenizer.convert_ids_to_tokens(list(ids[same : same + 4]))))
        for ids in (ours, right)
    ]
    return f"at token {same} of {len(right)}: {shown[0]!r} in the place of {shown[1]!r}"


def conversations(case: Case, kind: str) -> dict[str, Conversation]:
    """The conversations of one kind."""
    return HARMLESS if kind == "harmless" else hostile(case[0].family)


class TestWitness:
    """What the families' descriptions say is what `transformers` renders."""

    def test_the_description_is_right(self, case: Case) -> None:
        (model, witness), family = case, case[0].family
        turns = HARMLESS["several turns"]
        assert witness.keeps_prompt(finished(turns)) == family.keeps_prompt
        _, text, ending = witness.answer(turns, " padded\n")
        assert text == ("padded" if family.trims else " padded\n")
        assert ending.strip() == family.turn_end
        assert family.eos in family.control and family.turn_end in family.control
        assert family.bos is None or family.bos in family.control
        ids = witness.tokenizer.convert_tokens_to_ids(list(model.control))
        assert len(set(ids)) == len(model.control)

    def test_pieces_are_tokenized_as_the_whole_is(self, case: Case) -> None:
        _, witness = case
        for name, messages in HARMLESS.items():
            pieces = witness._encode(witness._rendered(messages, prompt=True), first=True)
            whole = witness._with_bos(witness._apply(messages, prompt=True, tokenize=True))
            assert mismatch(witness, pieces, whole) == "", name

    def test_bos_comes_once(self, case: Case) -> None:
        model, witness = case
        ids = witness.prompt(HARMLESS["one turn"])
        bos = witness.tokenizer.bos_token_id
        if model.family.adds_bos:
            assert ids[0] == bos and ids[1] != bos

    def test_masks_are_on_the_answers(self, case: Case) -> None:
        model, witness = case
        if model.family.sentencepiece and not model.family.trims:
            return  # decoding drops a leading space there
        messages = finished(HARMLESS["several turns"])
        learnt = "".join(
            witness.tokenizer.decode(_learnt(ids, mask)) for ids, mask in witness.training(messages)
        )
        for message in messages:
            if message["role"] == "assistant":
                assert message["content"] in learnt
            else:
                assert message["content"] not in learnt
        assert model.family.turn_end in learnt

    def test_no_content_makes_a_control_token(self, case: Case) -> None:
        model, witness = case

        @_property(case)
        @given(random_conversations(model), random_text(model, answer=True))
        def check(messages: Conversation, answer: str) -> None:
            ids, mask = witness.last_turn(finished(messages, answer))
            right, right_mask = witness.last_turn(witness.harmless(finished(messages, answer)))
            assert witness.count(ids) == witness.count(right)
            assert witness.count(_learnt(ids, mask)) == witness.count(_learnt(right, right_mask))

        check()


@pytest.mark.parametrize("back_end", BACK_ENDS)
class TestPlay:
    @pytest.mark.parametrize("kind", ["harmless", "hostile"])
    def test_prompts(self, case: Case, back_end: str, kind: str) -> None:
        model, witness = case
        wrong = {
            name: difference
            for name, messages in conversations(case, kind).items()
            if (
                difference := mismatch(
                    witness, prompt_ids(back_end, model, messages), witness.prompt(messages)
                )
            )
        }
        assert wrong == {}

    @pytest.mark.parametrize("kind", ["harmless", "hostile"])
    def test_scores(self, case: Case, back_end: str, kind: str) -> None:
        model, witness = case
        continuation = "good"
        if kind == "hostile":
            continuation += f" {model.family.turn_end}{model.control[0]} bad"
        messages = HARMLESS["several turns"]
        ours = score_ids(back_end, model, messages, continuation)
        assert mismatch(witness, ours, witness.score(messages, continuation)) == ""

    def test_an_answer_is_rendered_as_it_was_generated(self, case: Case, back_end: str) -> None:
        model, witness = case
        messages = HARMLESS["several turns"]
        for text in ("Action: look", "Thought: é漢\nAction: wait"):
            ids, mask = witness.last_turn(finished(messages, text))
            # The last token ends the turn.
            ours = answer_text(back_end, model, messages, _learnt(ids, mask)[:-1])
            assert witness.answer(messages, ours) == witness.answer(messages, text)

    def test_the_end_of_a_turn_stops_an_answer(self, case: Case, back_end: str) -> None:
        model, witness = case
        end = witness.tokenizer.convert_tokens_to_ids(model.family.turn_end)
        assert end in stop_ids(back_end, model)

    def test_no_content_makes_a_control_token(self, case: Case, back_end: str) -> None:
        model, witness = case

        @_property(case)
        @given(random_conversations(model))
        def check(messages: Conversation) -> None:
            ours = prompt_ids(back_end, model, messages)
            right = witness.prompt(witness.harmless(messages))
            assert witness.count(ours) == witness.count(right)

        check()


@pytest.mark.parametrize("trainer", TRAINERS)
class TestTraining:
    @pytest.mark.parametrize("kind", ["harmless", "hostile"])
    def test_examples(self, case: Case, trainer: str, kind: str) -> None:
        wrong = {}
        for name, messages in conversations(case, kind).items():
            if difference := self._difference(case, trainer, finished(messages)):
                wrong[name] = difference
        if kind == "harmless":
            spaced = finished(HARMLESS["one turn"], "\n Action: end \n")
            if difference := self._difference(case, trainer, spaced):
                wrong["one answer with white space round it"] = difference
        assert wrong == {}

    @staticmethod
    def _difference(case: Case, trainer: str, messages: Conversation) -> str:
        model, witness = case
        ours = training_ids(trainer, model, messages)
        right = witness.training(messages)
        if len(ours) != len(right):
            return f"{len(ours)} sequences in the place of {len(right)}"
        for (our_ids, our_mask), (ids, mask) in zip(ours, right, strict=True):
            if difference := mismatch(witness, our_ids, ids):
                return difference
            if our_mask != mask:
                return "another mask"
        return ""

    def test_no_content_makes_a_control_token(self, case: Case, trainer: str) -> None:
        model, witness = case

        @_property(case)
        @given(random_conversations(model), random_text(model, answer=True))
        def check(messages: Conversation, answer: str) -> None:
            example = finished(messages, answer)
            ((ids, mask),) = training_ids(trainer, model, example, last_only=True)
            right, right_mask = witness.last_turn(witness.harmless(example))
            assert witness.count(ids) == witness.count(right)
            assert witness.count(_learnt(ids, mask)) == witness.count(_learnt(right, right_mask))

        check()


def _learnt(ids: Sequence[int], mask: Sequence[bool]) -> list[int]:
    return [token for token, flag in zip(ids, mask, strict=True) if flag]


def _property(case: Case) -> settings:
    return settings(
        max_examples=size_of(case),
        deadline=None,
        database=None,
        derandomize=True,
        # Conversations are short as they come; to shorten them takes most of a minute.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def random_text(model: FamilyModel, *, answer: bool = False) -> st.SearchStrategy[str]:
    """Words, white space and control strings in any order; never white space alone.

    Args:
        answer: of an assistant: without the strings that some templates look for there.
    """
    family = model.family
    strings = model.control if answer else (*model.control, *family.added)
    words = ("Action: look", "user", "assistant\n", " ", "\n", "<", "|>", "é漢🙂", "[", "</")
    cut = st.sampled_from(strings).flatmap(
        lambda text: st.integers(1, len(text) - 1).map(lambda at: text[:at] + text + text[at:])
    )
    pieces = st.one_of(st.sampled_from(strings), st.sampled_from(words), cut)
    return st.lists(pieces, min_size=1, max_size=6).map(lambda some: "a" + "".join(some) + "b")


def random_conversations(model: FamilyModel) -> st.SearchStrategy[Conversation]:
    """Conversations of up to five turns, some with a system turn, that end with the user's."""
    text, answer = random_text(model), random_text(model, answer=True)

    def build(system: str | None, task: str, rest: list[tuple[str, str]]) -> Conversation:
        turns: Conversation = [] if system is None else [{"role": "system", "content": system}]
        turns.append({"role": "user", "content": task})
        for said, seen in rest:
            turns.append({"role": "assistant", "content": said})
            turns.append({"role": "user", "content": seen})
        return turns

    rest = st.lists(st.tuples(answer, text), max_size=2)
    return st.builds(build, st.none() | text, text, rest)


@pytest.mark.parametrize("name", ["qwen-3", "gemma-2", "llama-3.1", "vicuna"])
def test_the_actors_send_these_prompts(made: Any, name: str) -> None:
    """The functions above take the way that the actors take."""
    from agentr_lite.actors.llamacpp.actor import LlamaCppActor
    from agentr_lite.actors.mlx.actor import MlxActor

    model, _ = made(next(family for family in FAMILIES if family.name == name), "bytes")
    messages = HARMLESS["several turns with a system"]
    actors = (
        (MlxActor(model.hf, history="template"), "mlx"),
        (LlamaCppActor(model.gguf, history="template"), "llama.cpp"),
    )
    for actor, back_end in actors:
        actor.generate([GenerateRequest(messages, (1,), Sampling(max_tokens=1))])
        assert actor.usage.prompt_tokens == len(prompt_ids(back_end, model, messages))
        actor.close()


@pytest.mark.models
def test_the_real_files_are_whole() -> None:
    for real in (real_models.SMOLLM2, real_models.GEMMA3):
        assert isinstance(real_models.fetch(real), Path)
