"""Ids of stored runs for a shell that completes words: quick, and without a change to the file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from agentr_lite.core.errors import StoreError
from agentr_lite.store.files import connect_to_read, database_exists, remove_folder

_WAIT_S = 0.2
_MOST = 500


def stored_run_ids(path: Path, prefix: str = "") -> list[tuple[str, str]]:
    """The newest runs whose id begins like this.

    Args:
        path: the database; it need not exist.
        prefix: the beginning of the ids.

    Returns:
        (id, status), the newest run first. Empty for a file that is no database, is damaged or is
        locked: whoever presses the Tab key has no use for an error.
    """
    if not database_exists(path):
        return []
    try:
        conn, copy = connect_to_read(path, _WAIT_S)
    except (sqlite3.Error, StoreError, OSError):
        return []
    try:
        rows = conn.execute(
            "SELECT id, status FROM runs WHERE substr(id, 1, ?) = ?"
            " ORDER BY created_utc DESC, rowid DESC LIMIT ?",
            (len(prefix), prefix, _MOST),
        ).fetchall()
    except sqlite3.Error:
        return []
    finally:
        conn.close()
        remove_folder(copy)
    return [(str(run_id), str(status)) for run_id, status in rows]
