"""A run that is refused leaves nothing behind: no empty run, no empty database, no empty folder."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from agentr_lite.core.errors import AgentrError, StoreError

if TYPE_CHECKING:
    from agentr_lite.store import Store

_HOLDS_WORK = "SELECT EXISTS (SELECT 1 FROM runs) OR EXISTS (SELECT 1 FROM demonstrations)"


@contextmanager
def opened_for_work(path: Path, *, create: bool = True) -> Generator[Store]:
    """Open a database, and make it where there is none.

    If the block raises before the new database holds a run or a demonstration, the file and the
    folders that were made for it are removed.

    Args:
        path: the file.
        create: False: the work is on a run that exists, so there must be a database.

    Raises:
        StoreError: see ``Store.open``.
    """
    from agentr_lite.store import Store
    from agentr_lite.store.files import database_exists

    is_new = create and not database_exists(path)
    made = [folder for folder in path.absolute().parents if not folder.exists()] if is_new else []
    try:
        with Store.open(path, create=create) as store:
            try:
                yield store
            except BaseException:
                if is_new:
                    _remove_if_unused(store)
                raise
    finally:
        # Only those that are still empty.
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def removed_if_refused(store: Store, run_id: str, *, is_new: bool = True) -> Generator[None]:
    """Remove a new run that is refused before its first stage has begun.

    Most reasons are found before the run is made (``runs.checks``). Some only show when the model
    is loaded.

    Args:
        store: the database.
        run_id: the run, which this process holds.
        is_new: whether this command made it; another run is left as it is.
    """
    from agentr_lite.core.config import artifacts_dir
    from agentr_lite.store.runs import delete_run, list_stages

    try:
        yield
    except StoreError:
        # A database that fails is not asked again.
        raise
    except AgentrError:
        if is_new and not list_stages(store, run_id):
            delete_run(store, run_id)
            shutil.rmtree(artifacts_dir(store.path, run_id), ignore_errors=True)
        raise


def _remove_if_unused(store: Store) -> None:
    """Remove a database without runs and demonstrations that no other process has open."""
    from agentr_lite.core.config import artifacts_dir

    artifacts = artifacts_dir(store.path, "any").parent
    with suppress(OSError):
        artifacts.rmdir()
    try:
        if artifacts.exists() or store.scalar(_HOLDS_WORK):
            return
        # SQLite leaves this mode only where nobody else has the file open.
        store.db.conn.execute("PRAGMA journal_mode = DELETE")
    except (StoreError, sqlite3.Error):
        return
    store.close()
    store.path.unlink(missing_ok=True)
