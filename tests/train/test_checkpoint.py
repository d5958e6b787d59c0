"""A checkpoint that somebody or something has changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agentr_lite.train.checkpoint import CheckpointFolder, TrainingState
from agentr_lite.train.dpo import PairFigures

MARK = "mark"


def figures() -> PairFigures:
    return PairFigures(**dict.fromkeys(PairFigures.__dataclass_fields__, 1))


def save(out_dir: Path) -> CheckpointFolder:
    folder = CheckpointFolder(out_dir)
    state = TrainingState(MARK, step=3, tokens=90, seconds=1.5)
    state.train_losses = [(1, 2.5), (2, 2.25)]
    state.valid_losses = [(0, 3.0)]
    state.pair_figures = [figures()]

    def write(path: Path) -> None:
        (path / "best").mkdir()
        (path / "best" / "adapters.safetensors").write_bytes(b"weights")
        (path / "optimizer.safetensors").write_bytes(b"moments")

    folder.save(state, write)
    return folder


def test_what_was_saved_is_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = save(tmp_path).load(MARK)
    assert state is not None and (state.step, state.tokens) == (3, 90)
    assert state.train_losses == [(1, 2.5), (2, 2.25)] and state.pair_figures == [figures()]
    assert save(tmp_path).load("another training") is None
    assert CheckpointFolder(tmp_path / "none").load(MARK) is None
    assert capsys.readouterr().err == ""


def test_a_checkpoint_of_an_earlier_version_is_still_used(tmp_path: Path) -> None:
    folder = save(tmp_path)
    path = folder.path / "state.json"
    data = json.loads(path.read_text())
    del data["digest"], data["files"], data["valid_pair_figures"]
    path.write_text(json.dumps(data))
    state = folder.load(MARK)
    assert state is not None and state.step == 3 and state.valid_pair_figures == []


def text(change: Callable[[str], str]) -> Callable[[Path], object]:
    def damage(path: Path) -> None:
        state = path / "state.json"
        state.write_text(change(state.read_text()))

    return damage


def without_digests(**values: object) -> Callable[[Path], object]:
    """A file of an earlier version, with some values replaced."""

    def change(content: str) -> str:
        data = json.loads(content)
        del data["digest"], data["files"]
        return json.dumps({**data, **values})

    return text(change)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": text(lambda content: ""),
    "cut": text(lambda content: content[: len(content) // 2]),
    "no object": text(lambda content: "[1, 2]"),
    "not UTF-8": lambda path: (path / "state.json").write_bytes(b'{"step": "\xff"}'),
    "a directory": lambda path: ((path / "state.json").unlink(), (path / "state.json").mkdir()),
    "another step": text(lambda content: content.replace('"step": 3', '"step": 4')),
    "another loss": text(lambda content: content.replace("2.25", "2.75")),
    "nested": text(lambda content: "[" * 100_000),
    "other weights": lambda path: (path / "best" / "adapters.safetensors").write_bytes(b"Weights"),
    "a missing file": lambda path: (path / "optimizer.safetensors").unlink(),
    "old, unknown key": without_digests(more=1),
    "old, no losses": without_digests(train_losses=None),
    "old, losses of texts": without_digests(train_losses=[["one", "two"]]),
    "old, wrong figures": without_digests(pair_figures=[{"no": 1}]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_told_and_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    folder = save(tmp_path)
    DAMAGES[damage](folder.path)
    assert folder.load(MARK) is None
    said = capsys.readouterr().err
    assert "warning: the checkpoint" in said and "is damaged" in said
    assert "The training begins again" in said
    # The new training's checkpoint takes its place.
    state = save(tmp_path).load(MARK)
    assert state is not None and state.step == 3
