"""JSON on stdout is valid and harmless."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from agentr_lite.console.json import dump_json


@dataclass
class _Record:
    path: Path
    value: float
    items: tuple[int, ...]


def test_json_of_dataclasses_paths_and_nan() -> None:
    text = dump_json(_Record(Path("a/b"), float("nan"), (1, 2)))
    assert json.loads(text) == {"path": "a/b", "value": None, "items": [1, 2]}


def test_json_of_numpy_scalars() -> None:
    import numpy as np

    assert json.loads(dump_json({"x": np.float64(0.5), "n": np.int64(3)})) == {
        "x": 0.5,
        "n": 3,
    }


def test_json_is_harmless_and_round_trips() -> None:
    nasty = "a\x9b\u202e\x7f\U000e0041\ud800 木"
    text = dump_json({"text": nasty})
    assert "\x9b" not in text
    assert "\u202e" not in text
    assert "木" in text
    text.encode("utf-8")
    assert json.loads(text)["text"] == nasty


def test_json_refuses_what_has_no_json_form() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        dump_json({"x": object()})
