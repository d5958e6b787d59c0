"""The documented snippets for TRL learn what the exports mean to be learnt."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.convert.test_witness import PYTHON
from tests.support.tiny_hf import make_tiny_hf

pytestmark = pytest.mark.models

SCRIPT = Path(__file__).parents[1] / "support" / "trl_snippets.py"
DOCS = Path(__file__).parents[2] / "docs" / "exports.md"

CHATS = [
    [
        {"role": "system", "content": "Craft the goal item."},
        {"role": "user", "content": "Goal: craft 4 sticks."},
        {"role": "assistant", "content": "Action: get 2 oak logs"},
        {"role": "user", "content": "Got 2 oak logs"},
        {"role": "assistant", "content": f"Thought: {thought}\nAction: inventory"},
    ]
    for thought in ("I need planks first.", "Let me look again.")
]


@pytest.fixture(scope="module", autouse=True)
def witness() -> None:
    """Skip where the environment was not made."""
    if not any(PYTHON.parents[1].glob("lib/python*/site-packages/trl")):
        pytest.skip(f"{PYTHON.parents[1]} has no TRL: `make test-models` installs it")


def snippet(trainer: str) -> str:
    """The documented code with this trainer."""
    codes = re.findall(r"^```python\n(.*?)^```", DOCS.read_text("utf-8"), re.M | re.S)
    [code] = [code for code in codes if trainer in code]
    return code


def learnt_by(trainer: str, folder: Path) -> Any:
    """For each example, its rows as {learnt, context}."""
    model = make_tiny_hf(folder / "model", model_type="llama", seed=0)
    (folder / "snippet.py").write_text(snippet(trainer), "utf-8")
    words = [PYTHON, SCRIPT, "snippet.py", model, "out.json"]
    done = subprocess.run(
        list(map(str, words)), cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "out.json").read_text("utf-8"))


def test_only_the_last_turn_is_learnt(tmp_path: Path) -> None:
    lines = [json.dumps({"id": str(at), "messages": chat}) for at, chat in enumerate(CHATS)]
    (tmp_path / "turns.jsonl").write_text("\n".join(lines), "utf-8")
    found = learnt_by("SFTTrainer", tmp_path)
    assert len(found) == len(CHATS)
    for [row], (*before, last) in zip(found, CHATS, strict=True):
        assert row["learnt"].startswith(last["content"])
        assert len(row["learnt"]) - len(last["content"]) < 20, "only the end of the turn follows"
        assert all(message["content"] in row["context"] for message in before)


def test_both_continuations_of_a_pair_are_learnt(tmp_path: Path) -> None:
    *prompt, chosen = CHATS[0]
    rejected = CHATS[1][-1]
    pair = {"id": "1", "kind": "step", "prompt": prompt, "chosen": [chosen], "rejected": [rejected]}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair), "utf-8")
    [rows] = learnt_by("DPOTrainer", tmp_path)
    for row, side in zip(rows, (chosen, rejected), strict=True):
        assert row["learnt"].startswith(side["content"])
        assert all(message["content"] in row["context"] for message in prompt)
