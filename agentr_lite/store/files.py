"""The database's file: whether it may be written, how a new one is made, how one is connected to.

A reader needs no right to write: a colleague's file, or one on a read-only disk, can be read.
SQLite itself needs more for a file in WAL mode, because readers share memory through another file
beside it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from agentr_lite.core.errors import StoreError
from agentr_lite.store.migrations import migrate

OTHER_PATH = "Give the path of an agentr-lite database, or of a new file, with -d."
_NOT_READABLE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)


def database_exists(path: Path) -> bool:
    """Whether there is a file (or a folder) at the path.

    Raises:
        StoreError: that cannot be found out.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise StoreError(
            f"cannot look for a database at {path}: {getattr(error, 'strerror', None) or error}",
            hint="Check the permissions, or give another path with -d.",
        ) from error
    return True


def is_empty(path: Path) -> bool:
    """Whether a file has no bytes: what ``touch`` makes, or what a full disk leaves."""
    return path.is_file() and not path.stat().st_size


def check_writable(path: Path) -> None:
    """Refuse an existing database that this process may not write.

    SQLite opens such a file without a word and fails at the first write, after other work.

    Raises:
        StoreError: the file or its folder is read-only.
    """
    hint = "Change the permissions, or give another path with -d. Reading commands work with it."
    if not os.access(path, os.W_OK):
        raise StoreError(f"database {path} cannot be written: the file is readonly", hint=hint)
    if not os.access(path.absolute().parent, os.W_OK | os.X_OK):
        raise StoreError(
            f"database {path} cannot be written: the folder {path.absolute().parent} is readonly",
            hint=hint,
        )


def is_writable(path: Path) -> bool:
    """Whether this process may write an existing database."""
    try:
        check_writable(path)
    except StoreError:
        return False
    return True


def make_database(path: Path) -> None:
    """Make a new database; no other process ever sees a part of it.

    It is made under another name in the same folder and then gets its own. Where another process
    has made one in the meantime, that one is kept.

    Raises:
        StoreError: the folder cannot be made.
        OSError: the file cannot be made.
        sqlite3.Error: it cannot be written.
    """
    # A link stays a link: its target is made.
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot make the folder {path.parent}: {error.strerror}",
            hint="Give another path with -d.",
        ) from error
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(descriptor)
    draft = Path(name)
    try:
        # As SQLite would make it; mkstemp leaves everything to the owner.
        draft.chmod(0o666 & ~_umask())
        conn = sqlite3.connect(draft, isolation_level=None)
        try:
            # A journal in memory leaves no file behind where the process is killed.
            conn.execute("PRAGMA journal_mode = MEMORY")
            conn.execute("BEGIN IMMEDIATE")
            migrate(conn)
            conn.execute("COMMIT")
        finally:
            conn.close()
        _publish(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _publish(draft: Path, path: Path) -> None:
    """Give a finished file its name, unless there is one of that name already."""
    try:
        # Unlike a rename, a link never replaces a file.
        path.hardlink_to(draft)
    except FileExistsError:
        return
    except OSError:
        # A file system without hard links. Between the check and the rename, another process would
        # have to make the same database.
        if not path.exists():
            draft.replace(path)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def connect_to_write(path: Path, timeout_s: float) -> sqlite3.Connection:
    """A connection to an existing file."""
    return sqlite3.connect(_uri(path, "mode=rw"), uri=True, timeout=timeout_s)


def connect_to_read(
    path: Path, timeout_s: float
) -> tuple[sqlite3.Connection, tempfile.TemporaryDirectory[str] | None]:
    """A connection that cannot write, whatever the rights are.

    Returns:
        The connection, which any thread may use, and the folder of the copy that it reads; None
        where it reads the file itself. The folder is to be removed after the connection is closed.
    """
    try:
        return _reading(_uri(path, "mode=ro"), timeout_s), None
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _NOT_READABLE:
            raise
        if not os.access(path, os.R_OK):
            raise
    beside = [path.with_name(path.name + suffix) for suffix in ("-wal", "-journal")]
    unmerged = [file for file in beside if file.is_file() and file.stat().st_size]
    if not unmerged:
        # Nobody who may not write here has left anything to merge: the file is all there is.
        return _reading(_uri(path, "mode=ro&immutable=1"), timeout_s), None
    folder = _temporary_folder()
    try:
        copy = Path(folder.name) / path.name
        with _copy_errors(path):
            for file in (path, *unmerged):
                shutil.copyfile(file, Path(folder.name) / file.name)
        # What lies in the log is merged into the copy.
        merged = sqlite3.connect(_uri(copy, "mode=rw"), uri=True, timeout=timeout_s)
        try:
            merged.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            merged.close()
        return _reading(_uri(copy, "mode=ro"), timeout_s), folder
    except BaseException:
        folder.cleanup()
        raise


def migrated_copy(path: Path, timeout_s: float) -> tempfile.TemporaryDirectory[str]:
    """A folder with a copy of a database of an older schema, brought up to date.

    Raises:
        StoreError: there is no room for it.
        sqlite3.Error: it cannot be read.
    """
    folder = _temporary_folder()
    try:
        source, also = connect_to_read(path, timeout_s)
        copy = sqlite3.connect(Path(folder.name) / path.name, isolation_level=None)
        try:
            source.backup(copy)
            copy.execute("BEGIN IMMEDIATE")
            migrate(copy)
            copy.execute("COMMIT")
        finally:
            copy.close()
            source.close()
            if also is not None:
                also.cleanup()
    except BaseException:
        folder.cleanup()
        raise
    return folder


def _reading(uri: str, timeout_s: float) -> sqlite3.Connection:
    conn = sqlite3.connect(uri, uri=True, timeout=timeout_s, check_same_thread=False)
    try:
        # The file is opened by the first statement only.
        conn.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        conn.close()
        raise
    return conn


def _uri(path: Path, query: str) -> str:
    return f"{path.absolute().as_uri()}?{query}"


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="agentr-lite-")
    except OSError as error:
        raise StoreError(
            f"a copy of the database is needed, and no temporary file can be made: {error}",
            hint="Set TMPDIR to a folder that can be written.",
        ) from error


@contextmanager
def _copy_errors(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"database {path} cannot be copied to a temporary folder: {error.strerror}",
            hint="Set TMPDIR to a folder with enough space.",
        ) from error


def remove_folder(folder: tempfile.TemporaryDirectory[str] | None) -> None:
    """Remove a copy's folder."""
    if folder is not None:
        with suppress(OSError):
            folder.cleanup()
