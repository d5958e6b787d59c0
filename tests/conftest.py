"""What all tests share: no network, no files of the user's, no colours from the caller's shell."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before any import: libgomp and the hub clients read these once.
os.environ["OMP_WAIT_POLICY"] = "passive"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the program's own for each test; subprocesses inherit it."""
    folder = tmp_path / "home"
    monkeypatch.setenv("AGENTR_LITE_HOME", str(folder))
    for name in ("AGENTR_LITE_DB", "NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return folder
