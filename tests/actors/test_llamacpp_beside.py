"""Several actors over one model: each as if it were alone."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentr_lite.actors.base import Actor, GenerateRequest, Sampling, ScoreRequest
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.mlx.actor import MlxActor
from agentr_lite.actors.mock import MockActor
from agentr_lite.convert.hf_to_gguf import convert_to_gguf
from agentr_lite.convert.lora_to_gguf import convert_adapter
from agentr_lite.core.errors import ModelError
from agentr_lite.core.messages import Message
from tests.convert.test_convert import write_adapter
from tests.support.tiny_gguf import TinyShape, write_tiny_adapter
from tests.support.tiny_hf import make_tiny_hf

CONTEXT = 256

Open = Callable[[], Actor]


def chat(index: int, turns: int = 0) -> list[Message]:
    messages: list[Message] = [
        {"role": "system", "content": "You are given crafting commands."},
        {"role": "user", "content": f"Goal: craft {index} stone pickaxe."},
    ]
    for turn in range(turns):
        messages.append({"role": "assistant", "content": f"Action: get {turn} stick"})
        messages.append({"role": "user", "content": f"Got {turn} stick"})
    return messages


def work(actor: Actor, turns: int = 0) -> list[object]:
    """Answers and scores; the same calls give the same bits."""
    asked = [
        GenerateRequest(chat(i, turns), (i + 1, i + 2), Sampling(max_tokens=10)) for i in range(4)
    ]
    found: list[object] = [one.completions for one in actor.generate(asked)]
    scored = actor.score([ScoreRequest(chat(i, turns), ("Good", "Bad")) for i in range(3)])
    return [*found, *(one.log_likelihoods for one in scored)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``model``, ``model.gguf``, and for each of two adapters a folder and a GGUF file."""
    folder = tmp_path_factory.mktemp("files")
    make_tiny_hf(folder / "model")
    convert_to_gguf(folder / "model", folder / "model.gguf", dtype="f32")
    for seed, name in enumerate(("first", "second")):
        write_adapter(folder / name, folder / "model", seed=seed)
        convert_adapter(folder / name, folder / "model", folder / f"{name}.gguf")
    return folder


@pytest.fixture(scope="module", params=["llama.cpp", "mlx"])
def back_end(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def load(back_end: str, files: Path) -> Actor:
    if back_end == "llama.cpp":
        return LlamaCppActor(files / "model.gguf", context_tokens=CONTEXT, n_threads=1)
    return MlxActor(files / "model", context_tokens=CONTEXT)


@pytest.fixture
def open_one(back_end: str, files: Path) -> Iterator[Open]:
    opened: list[Actor] = []

    def make() -> Actor:
        opened.append(load(back_end, files))
        return opened[-1]

    yield make
    for actor in opened:
        actor.close()


@pytest.fixture(scope="module")
def adapters(back_end: str, files: Path) -> Sequence[Path]:
    suffix = ".gguf" if back_end == "llama.cpp" else ""
    return [files / f"first{suffix}", files / f"second{suffix}"]


@pytest.fixture(scope="module")
def alone(back_end: str, files: Path, adapters: Sequence[Path]) -> list[list[object]]:
    """What the base and each adapter answer, each in an actor with a model of its own."""
    found = []
    for adapter in (None, *adapters):
        actor = load(back_end, files)
        actor.use_adapter(adapter)
        found.append([*work(actor), *work(actor, turns=1)])
        actor.close()
    assert found[0] != found[1] != found[2] != found[0]
    return found


def test_each_answers_as_if_alone_and_keeps_its_cache(
    open_one: Open, adapters: Sequence[Path], alone: list[list[object]]
) -> None:
    base = open_one()
    assert base.capabilities.side_by_side
    actors = [base, *(base.beside(adapter) for adapter in adapters)]
    # By turns: nobody's cache is lost or mixed with another's.
    found: list[list[object]] = [[], [], []]
    for turns in (0, 1):
        for mine, actor in zip(found, actors, strict=True):
            mine += work(actor, turns)
    assert found == alone
    for actor in actors:
        again = actor.generate([GenerateRequest(chat(0, 1), (1,), Sampling(max_tokens=2))])[0]
        assert again.cached_tokens >= again.prompt_tokens - 1
        assert actor.usage.calls == 5
    for actor in actors[1:]:
        actor.close()


def test_changing_ones_adapter_leaves_the_other_alone(
    open_one: Open, adapters: Sequence[Path], alone: list[list[object]]
) -> None:
    one = open_one()
    other = one.beside(adapters[0])
    first_half = len(alone[0]) // 2
    assert work(other) == alone[1][:first_half]
    assert work(one) == alone[0][:first_half]
    one.use_adapter(adapters[1])
    assert work(one) == alone[2][:first_half]
    # Its cache, too.
    assert work(other, turns=1) == alone[1][first_half:]
    other.use_adapter(None)
    other.reset_cache()
    assert work(other) == alone[0][:first_half]
    one.reset_cache()
    assert work(one) == alone[2][:first_half]
    other.close()


@pytest.mark.parametrize("first_to_go", [0, 1, 2])
def test_any_may_be_closed_first(
    open_one: Open, adapters: Sequence[Path], alone: list[list[object]], first_to_go: int
) -> None:
    base = open_one()
    # One of them has it from the other.
    second = base.beside(adapters[0])
    actors = [base, second, second.beside(adapters[1])]
    actors.pop(first_to_go).close()
    expected = alone[:first_to_go] + alone[first_to_go + 1 :]
    gc.collect()
    for actor, mine in zip(actors, expected, strict=True):
        assert [*work(actor), *work(actor, turns=1)] == mine
    for actor in actors:
        actor.close()
        actor.close()
        with pytest.raises(ModelError, match="closed"):
            work(actor)
        with pytest.raises(ModelError, match="closed"):
            actor.beside(None)


def test_an_adapter_that_does_not_fit_leaves_the_first_as_it_was(
    open_one: Open, tmp_path: Path, alone: list[list[object]]
) -> None:
    base = open_one()
    wrong = write_tiny_adapter(tmp_path / "wrong.gguf", TinyShape(width=32))
    for path in (wrong, tmp_path / "missing"):
        with pytest.raises(ModelError):
            base.beside(path)
    assert [*work(base), *work(base, turns=1)] == alone[0]


def test_the_weights_go_with_their_last_user(files: Path) -> None:
    base = LlamaCppActor(files / "model.gguf", context_tokens=CONTEXT, n_threads=1)
    other = base.beside(None)
    model = base._model
    assert other._model is model
    base.close()
    assert model.handle
    other.close()
    assert not model.handle


def test_an_actor_that_cannot_be_opened_leaves_nothing_loaded(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = files / "model.gguf"
    first = LlamaCppActor(model, context_tokens=CONTEXT)
    made: list[Context] = []
    loaded: list[Model] = []
    make, load = Context.__init__, Model.__init__

    def count_models(self: Model, *arguments: Any, **named: Any) -> None:
        loaded.append(self)
        load(self, *arguments, **named)

    def fail_at_the_second(self: Context, *arguments: Any, **named: Any) -> None:
        if made:
            raise ModelError("no memory for another cache")
        made.append(self)
        make(self, *arguments, **named)

    monkeypatch.setattr(Model, "__init__", count_models)
    monkeypatch.setattr(Context, "__init__", fail_at_the_second)
    with pytest.raises(ModelError, match="no memory"):
        LlamaCppActor(model, context_tokens=CONTEXT)
    made_alone = made.copy()
    made.clear()
    with pytest.raises(ModelError, match="no memory"):
        first.beside(None)
    assert not any(context.handle for context in [*made_alone, *made])
    (tmp_path / "bad.jinja").write_text("{{")
    with pytest.raises(ModelError, match="does not compile"):
        LlamaCppActor(model, chat_template=tmp_path / "bad.jinja")
    assert len(loaded) == 2
    assert not any(one.handle for one in loaded)
    # The weights of the first are still there.
    assert work(first)
    first.close()


def test_mlx_layers_share_their_arrays(files: Path) -> None:
    from mlx.utils import tree_flatten

    base = MlxActor(files / "model", context_tokens=CONTEXT)
    other = base.beside(files / "first")
    mine, theirs = (
        {name: np.asarray(array).ctypes.data for name, array in tree_flatten(one.parameters())}
        for one in (base._model, other._model)
    )
    assert not any("lora" in name for name in mine)
    assert any("lora" in name for name in theirs)
    # Layers with an adapter hold the base's inside.
    assert set(mine.values()) <= set(theirs.values())
    assert all("lora" in name for name, at in theirs.items() if at not in set(mine.values()))
    base.close()
    other.close()


def test_the_scripted_actor_keeps_them_apart() -> None:
    base = MockActor(lambda messages, seed: f"answer {seed}")
    other = base.beside(Path("adapter"))
    assert (base.adapter, other.adapter) == (None, Path("adapter"))
    request = GenerateRequest(chat(0), (3,))
    assert other.generate([request])[0].completions[0].text == "answer 3"
    assert (len(base.requests), len(other.requests)) == (0, 1)
    assert base.others == [other]
