"""Two processes that change the list of models at the same time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agentr_lite.actors import named_models
from agentr_lite.actors.named_models import NamedModel

_PUT_MANY = """
import sys
from agentr_lite.actors.named_models import NamedModel, put
for number in range(20):
    put(NamedModel(f"{sys.argv[1]}-{number}", "/model.gguf"))
"""


def test_no_entry_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTR_LITE_HOME", str(tmp_path))
    names = ("a", "b", "c")
    processes = [subprocess.Popen([sys.executable, "-c", _PUT_MANY, name]) for name in names]
    assert [process.wait(300) for process in processes] == [0, 0, 0]
    wanted = {f"{name}-{number}" for name in names for number in range(20)}
    assert named_models.entries().keys() == wanted
    named_models.drop("a-0")
    named_models.put(NamedModel("a-1", "/another.gguf"))
    assert named_models.entries().keys() == wanted - {"a-0"}
    assert [path.name for path in sorted(named_models.list_file().parent.glob("models*"))] == [
        "models.json",
        "models.json.lock",
    ]
