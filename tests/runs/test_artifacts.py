"""Where the files beside a database go."""

from __future__ import annotations

from pathlib import Path

from agentr_lite.core.config import artifacts_dir


def test_databases_of_one_folder_share_no_artifacts(tmp_path: Path) -> None:
    one = artifacts_dir(tmp_path / "a.db", "textcraft-20260101-0000")
    other = artifacts_dir(tmp_path / "b.db", "textcraft-20260101-0000")
    assert one != other
    assert one.parent.parent == other.parent.parent == tmp_path.resolve()
