"""Which errors are the database's: SQLite's own, and those of code that met damaged values.

Where the file is sound, a wrong statement and a violated constraint stay as they are: those are
bugs of ours.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from agentr_lite.core.errors import AgentrError, StoreError
from agentr_lite.store.damage import FAULTS, first_damage, readable, schema_damage
from agentr_lite.store.decoding import DAMAGE_HINT, DamagedError
from agentr_lite.store.files import OTHER_PATH

_OF_STORED_VALUES = ("malformed JSON", "integer overflow", "Could not decode to UTF-8")
"""How messages of SQLite begin that have no code of their own and come from what is stored."""
UNEXPECTED = (LookupError, ValueError, TypeError, ArithmeticError, AttributeError, RecursionError)
"""What code raises that meets a stored value which it did not expect."""
_OF_STATEMENTS = (
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISUSE,
    sqlite3.SQLITE_RANGE,
)
"""Codes of what a wrong statement causes, too."""

_HINTS = {
    sqlite3.SQLITE_FULL: "Free some space on that disk and resume the run; what was committed is"
    " kept.",
    sqlite3.SQLITE_BUSY: "Another agentr-lite is writing to it: wait for it, or use another file"
    " with -d.",
    sqlite3.SQLITE_LOCKED: "Another agentr-lite is writing to it: wait for it, or use another file"
    " with -d.",
    sqlite3.SQLITE_CORRUPT: f"Move the file aside. {DAMAGE_HINT}",
    sqlite3.SQLITE_NOTADB: OTHER_PATH,
    sqlite3.SQLITE_CANTOPEN: "Check that the folder exists and that you have the rights for it, or"
    " give another path with -d.",
    sqlite3.SQLITE_READONLY: "The file or its folder is not writable: change that, or give another"
    " path with -d.",
    sqlite3.SQLITE_IOERR: "The disk reported an error; check it and its free space.",
}


def explanation(
    error: BaseException, path: Path, conn: sqlite3.Connection, *, read_only: bool
) -> StoreError | None:
    """What a database has to do with an error of the code that used it.

    An error that damage may cause is looked into: the whole file is checked. A reader that fails
    without a finding cannot make sense of what is stored; the hint names both possible causes.

    Args:
        error: what was raised; if it is a ``DamagedError``, it gets the path.
        path: the file.
        conn: open.
        read_only: whether the code only read.

    Returns:
        The error to raise instead; None where the database is not known to be the cause, or where
        ``error`` says so itself.
    """
    if isinstance(error, DamagedError) and str(path) not in error.message:
        error.message = f"database {path}: {error.message}"
    if isinstance(error, AgentrError) or not isinstance(error, (*UNEXPECTED, sqlite3.Error)):
        return None
    try:
        damage = first_damage(conn)
    except sqlite3.ProgrammingError:  # closed already
        return None
    if damage is not None:
        return DamagedError(f"database {path} is damaged: {damage}")
    if not read_only:
        return None
    return StoreError(
        f"database {path} holds something that this command does not understand",
        hint="`agentr-lite doctor` with the same -d looks for damage. If it finds none, please"
        " report this as an error of agentr-lite, with what --debug prints.",
    )


@contextmanager
def translated(path: Path, conn: sqlite3.Connection | None = None) -> Generator[None]:
    """Turn SQLite's errors into ours, but for those that statements of ours cause.

    Args:
        path: the file.
        conn: open; an error that a wrong statement and a damaged schema both cause is looked into.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise DamagedError(f"database {path} is damaged: {readable(error)}") from error
    except sqlite3.DatabaseError as error:
        # Extended codes carry the primary one in their low byte.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_ERROR:
            damage = _damage_behind(error, conn)
            if damage is None:
                raise
            raise DamagedError(f"database {path} is damaged: {damage}") from error
        if code in _OF_STATEMENTS:
            raise
        hint = _HINTS.get(code, DAMAGE_HINT)
        raise StoreError(f"database {path}: {error}", hint=hint) from error


def _damage_behind(error: sqlite3.Error, conn: sqlite3.Connection | None) -> str | None:
    """What is damaged where SQLite says that a statement is wrong; None: nothing."""
    if str(error).startswith(_OF_STORED_VALUES):
        return readable(error)
    if conn is None:
        return None
    try:
        found = schema_damage(conn)
    except FAULTS as worse:
        return readable(worse)
    return found[0] if found else None
