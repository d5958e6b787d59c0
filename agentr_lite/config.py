"""Ambient settings: flag > ``AGENTR_LITE_*`` > default. None of them changes a result."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Where databases and adapters live: ``AGENTR_LITE_HOME``, else the XDG data directory."""
    if explicit := os.environ.get("AGENTR_LITE_HOME"):
        return Path(explicit).expanduser()
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "agentr-lite"


def default_database() -> Path:
    """``AGENTR_LITE_DB``, else ``runs.db`` in ``home()``."""
    if explicit := os.environ.get("AGENTR_LITE_DB"):
        return Path(explicit).expanduser()
    return home() / "runs.db"


def artifacts_dir(database: Path, run_id: str) -> Path:
    """Where a run's adapters and datasets lie: beside its database."""
    # Absolute: the database keeps the path, and the next command may start elsewhere.
    return database.resolve().parent / "artifacts" / run_id
