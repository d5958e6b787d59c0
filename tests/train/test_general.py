"""General data: the light check refuses exactly the chats that the trainer's encoder refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest

from agentr_lite.actors.chat.encoder import History
from agentr_lite.actors.chat.files import directory_template, gguf_template
from agentr_lite.actors.mlx.blas import use_fast_blas
from agentr_lite.recipe.groups import AgentSettings, TrainSettings
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs import general
from agentr_lite.runs.general import usable_general
from agentr_lite.train.batches import TrainExample, chat_encoder
from agentr_lite.train.general import refused_chats
from tests.support.chat_families import FAMILIES, Family
from tests.support.family_models import Base, FamilyModel, make_family_model, tiny_base
from tests.support.tiny_gguf import CHATML, SPECIAL, write_tiny_model

SHAPES = (
    "ua",
    "sua",
    "uaua",
    "suaua",
    "aua",
    "saua",
    "uua",
    "uaa",
    "uaaua",
    "uauua",
    "ssua",
    "usa",
)
"""Chats by the first letters of their roles."""
HISTORIES: tuple[History, ...] = get_args(History)


def example(shape: str) -> TrainExample:
    roles = {"u": "user", "a": "assistant", "s": "system"}
    return TrainExample(
        [
            {"role": roles[letter], "content": f"text {index} <|im_end|> </s>"}
            for index, letter in enumerate(shape)
        ],
        [letter == "a" for letter in shape],
    )


EXAMPLES = {number: example(shape) for number, shape in enumerate(SHAPES, start=1)}


def _base(family: Family) -> Base:
    if family.sentencepiece == "prefix":
        return tiny_base("prefix")
    return tiny_base("plain" if family.sentencepiece else "bytes")


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.name)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FamilyModel:
    family: Family = request.param
    return make_family_model(tmp_path_factory.mktemp("family"), family, _base(family))


def trainers_refusals(model: FamilyModel, history: History) -> dict[int, str]:
    use_fast_blas()
    from mlx_lm.utils import load_tokenizer

    encoder = chat_encoder(load_tokenizer(model.hf), origin=str(model.hf), history=history)
    return refused_chats(encoder, EXAMPLES)


@pytest.mark.parametrize("history", HISTORIES)
def test_the_check_refuses_what_training_would(model: FamilyModel, history: History) -> None:
    expected = trainers_refusals(model, history)
    for light in (directory_template(model.hf), gguf_template(model.gguf)):
        assert refused_chats(light.encoder(history), EXAMPLES).keys() == expected.keys()
    # A plain chat is never refused.
    assert not {1, 3} & expected.keys()


def test_some_families_refuse_some_chats(model: FamilyModel) -> None:
    refused = {SHAPES[number - 1] for number in trainers_refusals(model, "exact")}
    if "raise_exception" in model.family.template and "alternate" in model.family.template:
        assert {"aua", "uua"} <= refused
    if "raise_exception" not in model.family.template:
        assert not refused


def test_the_bundled_model_takes_all_of_the_bundled_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """So neither the plan nor the run need render it."""
    monkeypatch.setattr(general, "has_bundled_template", lambda recipe: False)
    data = usable_general(Recipe(train=TrainSettings(general="starter")))
    assert len(data.examples) == 900 and not data.refused


def test_the_end_token_is_read_from_the_file(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "m.gguf", template=f"{{{{ eos_token }}}}{CHATML}", bos=True)
    found = gguf_template(path)
    assert found.eos == SPECIAL[2]
    assert found.template.render([{"role": "user", "content": "x"}]).startswith(SPECIAL[2])


def test_a_file_that_changed_is_rendered_again(tmp_path: Path) -> None:
    path = tmp_path / "g.jsonl"
    template = tmp_path / "strict.jinja"
    template.write_text(
        "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}" + CHATML
    )
    recipe = Recipe(
        agent=AgentSettings(chat_template=str(template)), train=TrainSettings(general=str(path))
    )

    def write(roles: Sequence[str]) -> None:
        chats = [roles, ["user", "assistant"]]
        lines = [{"messages": [{"role": r, "content": "x"} for r in chat]} for chat in chats]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    write(["user", "assistant"])
    assert not usable_general(recipe).refused
    write(["assistant", "user", "assistant"])
    data = usable_general(recipe)
    assert data.refused == {1: "user first"} and list(data.examples) == [2]
    assert data.first_refused == f"{path}:1: user first"
