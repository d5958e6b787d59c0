"""``models copy``: the same model in another type."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from agentr_lite.actors.llamacpp.gguf_header import read_header
from agentr_lite.cli.models import models
from agentr_lite.core.errors import ModelError, UsageError
from tests.support.tiny_gguf import write_tiny_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny.gguf")


def _copy(*arguments: object) -> dict[str, str]:
    result = CliRunner().invoke(models, ["copy", *map(str, arguments), "--json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    entry: dict[str, str] = json.loads(result.stdout)
    return entry


def _list() -> dict[str, str]:
    rows = json.loads(CliRunner().invoke(models, ["list", "--json"]).stdout)
    return {row["name"]: row["state"] for row in rows}


def test_a_copy_has_the_type_a_name_and_the_same_parameters(model: Path, home: Path) -> None:
    entry = _copy(model, "--type", "f16")
    copied, original = read_header(Path(entry["model"])), read_header(model)
    assert entry["name"] == "tiny-f16"
    assert Path(entry["model"]).parent == home / "models" / "copies"
    assert copied.matrix_type() == "f16"
    assert copied.parameters() == original.parameters()
    assert copied.chat_template == original.chat_template
    assert _list()["tiny-f16"] == "copied"


def test_a_copy_can_be_removed_and_its_source_stays(model: Path) -> None:
    path = Path(_copy(model, "--as", "mine")["model"])
    removed = CliRunner().invoke(models, ["remove", "mine"])
    assert removed.exit_code == 0
    assert not path.exists()
    assert model.exists()


def test_a_taken_name_and_a_full_disk_leave_nothing(
    model: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _copy(model, "--as", "mine")
    with pytest.raises(UsageError, match="there is a model 'mine' already"):
        _copy(model, "--as", "mine")

    def no_space(folder: Path, needed: int) -> None:
        raise ModelError(f"{needed} bytes are needed in {folder}")

    monkeypatch.setattr("agentr_lite.actors.llamacpp.copies.check_space", no_space)
    with pytest.raises(ModelError, match="are needed"):
        _copy(model, "--as", "other")
    assert [path.name for path in (home / "models" / "copies").iterdir()] == ["mine.gguf"]


def test_a_damaged_file_is_not_copied(model: Path, home: Path) -> None:
    model.write_bytes(model.read_bytes()[:-100])
    with pytest.raises(ModelError, match="truncated"):
        _copy(model)
    assert not list((home / "models").glob("copies/*"))


def test_show_says_what_may_be_faster(model: Path) -> None:
    shown = CliRunner().invoke(models, ["show", _copy(model, "--type", "q8_0")["name"]])
    assert "matrices" in shown.stdout
    assert "agentr-lite models copy tiny-q8_0" in shown.stderr
    assert "models copy" not in CliRunner().invoke(models, ["show", str(model)]).stderr
