"""Deleting a run with its files: what ``runs delete`` and the inspector do."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agentr_lite.runs.claim import LOCK_FILE, claimed

if TYPE_CHECKING:
    from agentr_lite.store import Store


@dataclass(frozen=True, slots=True)
class Removed:
    """What a deletion removed, and what it left."""

    run: str
    files: int
    """Adapter and data files that were removed."""
    bytes: int
    """What they took on the disk."""
    left: tuple[str, ...] = ()
    """Paths that still exist: adapters outside the run's folder, files that failed to go."""


def remove_run(store: Store, run_id: str, *, keep_files: bool = False) -> Removed:
    """Delete a run from the database, and the folder with its adapters beside it.

    Nothing outside that folder is touched: an adapter elsewhere is named instead.

    Args:
        store: the database, writable.
        run_id: the run, as in ``get_run``.
        keep_files: leave the folder.

    Raises:
        UsageError: there is no such run, or several ids begin like this.
        StoreError: another process works on it, or the database cannot be written.
    """
    from agentr_lite.core.config import artifacts_dir
    from agentr_lite.store import runs, splices

    run = runs.get_run(store, run_id)
    folder = artifacts_dir(store.path, run.id)
    with claimed(store, run.id):
        named = [
            Path(path)
            for adapter in splices.list_adapters(store, run.id)
            for path in (adapter.mlx_dir, adapter.gguf_path)
        ]
        outside = [path for path in named if folder not in path.parents and path.exists()]
        # A file inside a folder that is named already need not be named.
        elsewhere = [
            str(path) for path in outside if not any(other in path.parents for other in outside)
        ]
        runs.delete_run(store, run.id)
        # The lock goes last, with its folder: a process that gets it now has no run to work on.
        files, size, failed = (0, 0, []) if keep_files else _remove(folder)
    (folder / LOCK_FILE).unlink(missing_ok=True)
    if folder.is_dir() and any(folder.iterdir()):
        failed.append(str(folder))
    elif folder.is_dir():
        folder.rmdir()
    return Removed(run.id, files, size, tuple(dict.fromkeys([*elsewhere, *failed])))


def _remove(folder: Path) -> tuple[int, int, list[str]]:
    """(files, their bytes, paths that could not be removed)."""
    files, size = 0, 0
    for path in folder.rglob("*"):
        if path.name != LOCK_FILE and path.is_file() and not path.is_symlink():
            files += 1
            size += path.stat().st_size
    failed: list[str] = []
    # Links inside are removed, not followed.
    shutil.rmtree(folder, onerror=lambda call, path, error: failed.append(str(path)))
    return files, size, failed
