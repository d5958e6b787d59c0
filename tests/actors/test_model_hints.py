"""A wrong name of a model gets the command that gives what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentr_lite.actors.model_hints import meaning_of
from agentr_lite.actors.registry import resolve_model
from agentr_lite.core.errors import ModelError
from tests.support.command_line import Call, one_error


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "models pull smollm2-135m`"),
        ("Qwen/Qwen2.5-0.5B-Instruct-GGUF", "models pull qwen2.5-0.5b`"),
        ("https://huggingface.co/Qwen/Qwen3-0.6B", "models pull qwen3-0.6b`"),
        ("meta-llama/Llama-3.2-1B-Instruct", "models pull llama-3.2-1b`"),
        ("SmolLM2-135M", "models pull smollm2-135m`"),
        ("llama3.2:3b", "models pull llama-3.2-3b`"),
        ("HuggingFaceTB/SmolLM3-3B", "models pull HuggingFaceTB/SmolLM3-3B --as smollm3-3b`"),
        ("hf:someone/model-GGUF", "models pull someone/model-GGUF --as model`"),
        (
            "someone/model-GGUF/a-q8_0.gguf",
            "models pull someone/model-GGUF/a-q8_0.gguf --as model`",
        ),
        ("gpt2", "models pull smollm2-135m`"),
        ("EleutherAI/pythia-70m", "models pull smollm2-135m`"),
        ("gpt-4o-mini", "--model openai:https://api.openai.com/v1#gpt-4o-mini"),
        ("o3-mini", "--model openai:https://api.openai.com/v1#o3-mini"),
        ("openai/gpt-4o", "--model openai:https://api.openai.com/v1#gpt-4o"),
        ("openai:gpt-4o", "--model openai:https://api.openai.com/v1#gpt-4o"),
        ("claude-sonnet-4-5", "--model openai:URL#claude-sonnet-4-5"),
        ("ollama:llama3", "--model openai:http://localhost:11434/v1#llama3"),
        ("ollama/llama3.2:1b", "--model openai:http://localhost:11434/v1#llama3.2:1b"),
        ("lmstudio:phi-4", "--model openai:http://localhost:1234/v1#phi-4"),
        ("http://localhost:8000/v1", "--model openai:http://localhost:8000/v1#NAME"),
        ("llama3", "models pull llama-3.2-1b`"),
        ("smollm2-135m-f16", "models copy smollm2-135m --type f16`"),
    ],
)
def test_names_from_elsewhere(cli: Call, name: str, command: str) -> None:
    code, _, err = cli("search", "textcraft", "--model", name)
    assert code == 3
    assert one_error(err)
    [hint] = [line for line in err.splitlines() if line.startswith("Hint: ")]
    assert command in hint


def test_a_pulled_model_is_named(cli: Call) -> None:
    meaning = meaning_of("HuggingFaceTB/SmolLM2-135M-Instruct", ["smollm2-135m"])
    assert meaning.hint == "Use --model smollm2-135m."


def test_a_copy_is_made_of_the_model_that_is_there() -> None:
    meaning = meaning_of("mine-q8_0", ["mine"])
    assert meaning.hint == "`agentr-lite models copy mine --type q8_0` makes the copy."
    assert "copy" not in meaning_of("yours-q8_0", ["mine"]).what


@pytest.mark.parametrize("name", ["gpt2", "gpt-4o-mini", "ollama:llama3", "Qwen3-0.6B"])
def test_pull_knows_the_same_names(cli: Call, name: str) -> None:
    code, _, err = cli("models", "pull", name)
    assert code == 3
    assert meaning_of(name).hint in err


def test_a_wrong_path_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "model-q8_0.gguf").touch()
    with pytest.raises(
        ModelError, match=r"no such file \(did you mean 'model-q8_0.gguf'"
    ) as caught:
        resolve_model(str(tmp_path / "model-q8.gguf"))
    assert caught.value.hint == f"{tmp_path} holds model-q8_0.gguf."
    with pytest.raises(ModelError, match="there is no folder"):
        resolve_model(str(tmp_path / "models" / "m.gguf"))


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(ModelError) as caught:
        resolve_model("http://someone:secret@localhost:8000/v1")
    assert "secret" not in caught.value.message + caught.value.hint
