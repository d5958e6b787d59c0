"""``models``, ``doctor`` and the model registry behind them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agentr_lite.actors import registry
from agentr_lite.actors.base import GenerateRequest, Sampling
from agentr_lite.actors.registry import resolve_model
from agentr_lite.cli.doctor import doctor
from agentr_lite.cli.models import models
from agentr_lite.core.errors import EXIT_FAILED, ModelError
from agentr_lite.recipe.groups import AgentSettings
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.actors import open_actor
from tests.support.tiny_gguf import write_tiny_adapter, write_tiny_model


@pytest.fixture
def starter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model in the bundled starter's place."""
    directory = tmp_path / "bundled"
    (directory / "mlx").mkdir(parents=True)
    monkeypatch.setattr(registry, "_STARTER_DIR", directory)
    return write_tiny_model(directory / "starter.gguf")


def invoke(command: object, *arguments: str) -> Result:
    result = CliRunner().invoke(command, arguments)  # type: ignore[arg-type]
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_list_names_the_starter(starter: Path) -> None:
    assert "starter" in invoke(models).stdout
    row = json.loads(invoke(models, "--json").stdout)[0]
    assert row["sha256"] == hashlib.sha256(starter.read_bytes()).hexdigest()
    assert row["file_bytes"] == starter.stat().st_size
    assert json.loads(invoke(models, "list", "--json").stdout)[0] == row


def test_show_tells_what_a_file_is(starter: Path, tmp_path: Path) -> None:
    shown = json.loads(invoke(models, "show", "starter", "--json").stdout)
    assert shown["name"] == "starter"
    assert shown["architecture"] == "llama"
    assert shown["chat_template"] is True
    assert shown["metadata"]["tokenizer.ggml.tokens"].endswith("items]")
    assert shown["train_dir"].endswith("mlx")
    assert "general.architecture" in invoke(models, "show", str(starter)).stdout
    adapter = write_tiny_adapter(tmp_path / "a.gguf")
    assert json.loads(invoke(models, "show", str(adapter), "--json").stdout)["type"] == "adapter"


def test_metadata_cannot_drive_the_terminal(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "esc.gguf", template="\x1b]0;owned\x07{{ messages }}")
    assert "\x1b" not in invoke(models, "show", str(path)).stdout


@pytest.mark.parametrize("spec", ["nosuch.gguf", "Starter", ""])
def test_an_unknown_model_says_what_is_possible(spec: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        resolve_model(str(tmp_path / spec))
    assert caught.value.hint


def test_a_directory_names_the_files_in_it(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "inside.gguf")
    with pytest.raises(ModelError) as caught:
        resolve_model(str(tmp_path))
    assert "inside.gguf" in caught.value.hint


def test_a_starter_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_STARTER_DIR", tmp_path / "nowhere")
    with pytest.raises(ModelError, match="starter model is missing"):
        resolve_model("starter")


def test_an_actor_opens_as_the_recipe_says(starter: Path) -> None:
    actor = open_actor(Recipe(agent=AgentSettings(context_tokens=200)))
    assert actor.description["context_tokens"] == 200
    request = GenerateRequest([{"role": "user", "content": "Go"}], (1,), Sampling(max_tokens=4))
    assert actor.generate([request])[0].completions[0].output_tokens > 0
    actor.close()


def test_doctor_finds_a_sound_installation(starter: Path, tmp_path: Path) -> None:
    result = invoke(doctor, "--json", "--db", str(tmp_path / "runs.db"))
    report = json.loads(result.stdout)
    broken = [check for check in report["checks"] if check["status"] == "failed"]
    assert not broken
    assert report["ok"] is True
    assert result.exit_code == 0
    found = {check["check"]: check["detail"] for check in report["checks"]}
    assert "tokens/s" in found["starter"]
    assert "llama.cpp" in found
    assert not (tmp_path / "runs.db").exists()


def test_doctor_fails_without_the_starter_or_with_a_spoilt_database(
    starter: Path, tmp_path: Path
) -> None:
    starter.write_bytes(b"GGUF and nothing else, but long enough to be looked into")
    database = tmp_path / "runs.db"
    database.write_text("not a database " * 100)
    result = invoke(doctor, "--db", str(database))
    assert result.exit_code == EXIT_FAILED
    assert result.stdout.count("✗") == 2
    checks = json.loads(invoke(doctor, "--json", "--db", str(database)).stdout)["checks"]
    failed = [check["check"] for check in checks if check["status"] == "failed"]
    assert failed == ["database", "starter"]
