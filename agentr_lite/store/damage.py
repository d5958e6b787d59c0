"""Damage of the database's file that SQLite and the migrations can tell, on a bare connection."""

from __future__ import annotations

import sqlite3
from functools import cache

from agentr_lite.store.migrations import MIGRATIONS, migrate, schema_version

FAULTS = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What SQLite's module raises of a damaged file. Where the bytes of a column's name are damaged,
Python cannot decode the message that names it."""
MOST_FINDINGS = 100
"""Lines of SQLite's own check: a destroyed page gives thousands."""


def first_damage(conn: sqlite3.Connection) -> str | None:
    """One line on what is damaged; None where nothing is found.

    The whole file is read.
    """
    try:
        for find in (schema_damage, file_damage, reference_damage):
            found = find(conn)
            if found:
                return found[0]
    except FAULTS as error:
        return readable(error)
    return None


def schema_damage(conn: sqlite3.Connection) -> list[str]:
    """Differences between the tables and those that the migrations make; empty without any.

    Tables, columns and indexes that somebody has added are no damage.
    """
    version = schema_version(conn)
    if not 0 < version <= len(MIGRATIONS):
        return [f"it says schema {version}, and there are schemas 1 to {len(MIGRATIONS)}"]
    expected, actual = _schema(version), _read_schema(conn)
    found = []
    for (kind, name), columns in expected.items():
        if (kind, name) not in actual:
            found.append(f"the {kind} {name} is missing")
        elif missing := [column for column in columns if column not in actual[kind, name]]:
            text = ", ".join(missing)
            found.append(f"the {kind} {name} lacks or has changed: {text}")
    return found


def is_of_schema(conn: sqlite3.Connection, version: int) -> bool:
    """Whether the tables are those of a schema, no more and no less columns than it has.

    A file whose version number is damaged would be migrated twice.
    """
    actual = _read_schema(conn)
    tables = {name: columns for (kind, name), columns in actual.items() if kind == "table"}
    expected = {n: columns for (kind, n), columns in _schema(version).items() if kind == "table"}
    later = {n for (kind, n) in _schema(len(MIGRATIONS)) if kind == "table"} - expected.keys()
    return not later & tables.keys() and all(
        tables.get(name) == columns for name, columns in expected.items()
    )


def file_damage(conn: sqlite3.Connection) -> list[str]:
    """What SQLite's own check of pages, indexes, types and constraints says; empty: nothing."""
    lines = []
    try:
        for (line,) in conn.execute(f"PRAGMA integrity_check({MOST_FINDINGS})"):
            lines += str(line).splitlines()
    except FAULTS as error:
        lines.append(readable(error))
    return [line for line in lines if line != "ok"]


def reference_damage(conn: sqlite3.Connection) -> list[str]:
    """Rows that point to a row that is not there; empty: none."""
    count = 0
    rows: list[str] = []
    for table, row, parent, _ in conn.execute("PRAGMA foreign_key_check"):
        count += 1
        if len(rows) < MOST_FINDINGS:
            where = "a row" if row is None else f"row {row}"
            rows.append(f"{where} of {table} points to a row of {parent} that is missing")
    return [*rows, *([f"and {count - len(rows)} more such rows"] if count > len(rows) else [])]


def readable(error: Exception) -> str:
    """SQLite's message without the text that could not be decoded."""
    if isinstance(error, UnicodeDecodeError):
        return "the name of a table or a column is not valid UTF-8"
    message = str(error)
    if message.startswith("Could not decode to UTF-8"):
        return message.partition(" with text ")[0].replace("Could not decode to", "not valid")
    return message


@cache
def _schema(version: int) -> dict[tuple[str, str], tuple[str, ...]]:
    conn = sqlite3.connect(":memory:")
    try:
        migrate(conn, MIGRATIONS[:version])
        return _read_schema(conn)
    finally:
        conn.close()


def _read_schema(conn: sqlite3.Connection) -> dict[tuple[str, str], tuple[str, ...]]:
    """(kind, name) of the tables, indexes and views, with a line for each column."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for kind, name in conn.execute(
        "SELECT type, name FROM sqlite_master WHERE name NOT GLOB 'sqlite_*'"
    ).fetchall():
        quoted = '"' + str(name).replace('"', '""') + '"'
        if kind == "index":
            rows = conn.execute(f"PRAGMA index_info({quoted})").fetchall()
            columns = tuple(f"column {row[2]}" for row in rows)
        else:
            rows = conn.execute(f"PRAGMA table_xinfo({quoted})").fetchall()
            columns = tuple(f"column {row[1]} ({row[2]})" for row in rows)
        found[kind, name] = columns
    return found
