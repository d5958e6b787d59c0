"""Ways to damage a database file, each with a name; the file need not stay readable."""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

Damage = Callable[[Path, random.Random], None]

VALUES: dict[str, object] = {
    "null": None,
    "text": "x",
    "blob": b"\xff\x00",
    "negative": -1,
    "huge": 2**62,
    "fraction": 0.5,
    "infinite": float("inf"),
    "no json": '{"a":',
    "list": "[1]",
    "object": '{"a": 1}',
    "deep": "[" * 3000,
}
"""What is put in place of a stored value."""

JSON_EDITS = (b'"', b":", b"{", b"}", b"[", b"]", b",")


def byte_flips(count: int, *, in_json: bool = False) -> Damage:
    """Flip bits behind the first 100 bytes, or only in what looks like JSON."""

    def damage(path: Path, draw: random.Random) -> None:
        data = bytearray(path.read_bytes())
        places = range(100, len(data))
        if in_json:
            places = [at for at in places if data[at : at + 1] in JSON_EDITS]
        for _ in range(count):
            data[draw.choice(places)] ^= 1 << draw.randrange(8)
        path.write_bytes(data)

    return damage


def header_flip(path: Path, draw: random.Random) -> None:
    """Flip a bit of the first 100 bytes."""
    data = bytearray(path.read_bytes())
    data[draw.randrange(100)] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def truncation(path: Path, draw: random.Random) -> None:
    """Cut the file somewhere."""
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def page(path: Path, draw: random.Random) -> None:
    """Overwrite a page with noise."""
    data = bytearray(path.read_bytes())
    start = 4096 * draw.randrange(1, len(data) // 4096)
    data[start : start + 4096] = draw.randbytes(4096)
    path.write_bytes(data)


def version(number: int) -> Damage:
    """Another ``user_version``."""

    def damage(path: Path, draw: random.Random) -> None:
        with closing(sqlite3.connect(path)) as conn:
            conn.execute(f"PRAGMA user_version = {number}")

    return damage


def missing_table(table: str) -> Damage:
    """A table that is gone."""

    def damage(path: Path, draw: random.Random) -> None:
        with _unchecked(path) as conn:
            conn.execute(f"DROP TABLE {table}")

    return damage


def missing_column(table: str, column: str) -> Damage:
    """A column that is gone, or has another name."""

    def damage(path: Path, draw: random.Random) -> None:
        with _unchecked(path) as conn:
            conn.execute("PRAGMA legacy_alter_table = ON")
            conn.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO somewhere_else")

    return damage


def wrong_value(table: str, column: str, value: object, *, everywhere: bool = False) -> Damage:
    """A value that no statement of ours would have stored, in one row or in all."""

    def damage(path: Path, draw: random.Random) -> None:
        with _unchecked(path) as conn:
            count = conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            if not count:
                return
            chosen = "" if everywhere else f" WHERE {column} IN (SELECT {column} FROM {table}"
            chosen += "" if everywhere else f" LIMIT 1 OFFSET {draw.randrange(count)})"
            # A row's number can be no text, even here: then the file stays sound.
            with suppress(sqlite3.IntegrityError):
                conn.execute(f"UPDATE OR REPLACE {table} SET {column} = ?{chosen}", (value,))

    return damage


def lost_rows(table: str) -> Damage:
    """Rows that are gone, while others point to them."""

    def damage(path: Path, draw: random.Random) -> None:
        with _unchecked(path) as conn:
            conn.execute(f"DELETE FROM {table} WHERE abs(random()) % 2")

    return damage


def damaged_index(name: str) -> Damage:
    """An index that lacks entries, as SQLite keeps it when its definition is changed by hand."""

    def damage(path: Path, draw: random.Random) -> None:
        with _unchecked(path) as conn:
            sql = "SELECT sql FROM sqlite_master WHERE name = ?"
            [before] = conn.execute(sql, (name,)).fetchone()
            conn.execute(f"DROP INDEX {name}")
            conn.execute(f"{before} WHERE 0")
            _set_schema(conn, {name: before})

    return damage


def columns(path: Path) -> Iterator[tuple[str, str]]:
    """(table, column) of all our tables."""
    with closing(sqlite3.connect(path)) as conn:
        for (table,) in conn.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'sqlite_*'"
            " ORDER BY name"
        ).fetchall():
            for row in conn.execute(f"PRAGMA table_info({table})").fetchall():
                yield table, row[1]


def all_damages(path: Path) -> dict[str, Damage]:
    """Every kind of damage by its name, for a database like the one at ``path``."""
    found: dict[str, Damage] = {
        "header": header_flip,
        "truncated": truncation,
        "page": page,
        **{f"{count} flips": byte_flips(count) for count in (1, 4, 32)},
        **{f"{count} flips in JSON": byte_flips(count, in_json=True) for count in (1, 8)},
        **{f"version {number}": version(number) for number in (-1, 0, 2, 5, 6, 99)},
        "index trees_by_run": damaged_index("trees_by_run"),
        "index calls_by_tree": damaged_index("calls_by_tree"),
    }
    every = list(columns(path))
    for table in dict.fromkeys(table for table, _ in every):
        found[f"no table {table}"] = missing_table(table)
        found[f"lost rows of {table}"] = lost_rows(table)
    for table, column in every:
        found[f"no column {table}.{column}"] = missing_column(table, column)
        for name, value in VALUES.items():
            found[f"{name} in {table}.{column}"] = wrong_value(table, column, value)
        found[f"text in all {table}.{column}"] = wrong_value(table, column, "x", everywhere=True)
    return found


@contextmanager
def _unchecked(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection without any of the schema's checks; they are back in the file afterwards."""
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        tables = conn.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
        before = {name: sql for name, sql in tables if sql}
        bare = {
            name: re.sub(r"(TEXT|INTEGER|REAL|BLOB)( NOT NULL)?(?! PRIMARY)", "ANY", sql)
            .replace(" STRICT, WITHOUT ROWID", " WITHOUT ROWID")
            .replace(" STRICT", "")
            for name, sql in before.items()
        }
        _set_schema(conn, bare)
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("PRAGMA foreign_keys = OFF")
        conn.execute("PRAGMA ignore_check_constraints = ON")
        yield conn
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        after = dict(conn.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
        # A table that was changed on purpose stays as it is.
        _set_schema(conn, {n: sql for n, sql in before.items() if after.get(n) == bare.get(n)})


def _set_schema(conn: sqlite3.Connection, sqls: dict[str, str]) -> None:
    conn.execute("PRAGMA writable_schema = ON")
    conn.executemany(
        "UPDATE sqlite_master SET sql = ? WHERE name = ?", [(sql, n) for n, sql in sqls.items()]
    )
    conn.execute("PRAGMA writable_schema = RESET")
