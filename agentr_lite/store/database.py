"""Opening the database, transactions, and the content-addressed texts.

SQLite's own errors leave this module as ``StoreError``, so that a full disk or a locked file gives
one clear line wherever it happens. A violated constraint does not: that is a bug of ours.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from agentr_lite.core.errors import StoreError
from agentr_lite.store.migrations import SCHEMA_VERSION, migrate, schema_version
from agentr_lite.store.schema import APPLICATION_ID

if TYPE_CHECKING:
    from sqlite_utils import Database

BUSY_TIMEOUT_MS = 10_000
_IN_LIST = 500
"""Ids in one ``IN (...)``: well under SQLite's limit on parameters."""

_HINTS = {
    sqlite3.SQLITE_FULL: "Free some space on that disk and resume the run; what was committed is"
    " kept.",
    sqlite3.SQLITE_BUSY: "Another agentr-lite is writing to it: wait for it, or use another file"
    " with -d.",
    sqlite3.SQLITE_LOCKED: "Another agentr-lite is writing to it: wait for it, or use another file"
    " with -d.",
    sqlite3.SQLITE_CORRUPT: "Move the file aside; `sqlite3 FILE .recover` may save part of it.",
    sqlite3.SQLITE_NOTADB: "Give the path of an agentr-lite database, or of a new file, with -d.",
    sqlite3.SQLITE_CANTOPEN: "Check that the folder exists and may be written to, or give another"
    " path with -d.",
    sqlite3.SQLITE_READONLY: "The file or its folder is not writable: change that, or give another"
    " path with -d.",
    sqlite3.SQLITE_IOERR: "The disk reported an error; check it and its free space.",
}


class OutdatedError(StoreError):
    """The database has an older schema and was opened for reading only."""


class Store:
    """One open database.

    Not for use from several threads; several processes may have the same file open.

    Attributes:
        db: the sqlite-utils database, for other queries.
        path: the file.
        read_only: whether writes are refused.
    """

    def __init__(self, db: Database, path: Path, *, read_only: bool) -> None:
        self.db = db
        self.path = path
        self.read_only = read_only

    @classmethod
    def open_to_read(cls, path: str | Path) -> Store:
        """Open read-only; a database from an older version is brought up to date first.

        Raises:
            StoreError: see ``open``; also where an older one cannot be written.
        """
        try:
            return cls.open(path, read_only=True)
        except OutdatedError:
            cls.open(path, create=False).close()
        return cls.open(path, read_only=True)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        create: bool = True,
        read_only: bool = False,
        busy_timeout_ms: int = BUSY_TIMEOUT_MS,
    ) -> Store:
        """Open a database, making or migrating it as needed.

        Args:
            path: the file.
            create: make the file (and its folder) where there is none.
            read_only: for inspection beside a running search; neither creates nor migrates.
            busy_timeout_ms: how long to wait for another process's write.

        Raises:
            StoreError: no such file, not a database, another program's database, a newer schema, an
                older one with ``read_only``, locked, corrupt, not writable.
        """
        path = Path(path)
        if path.is_dir():
            raise StoreError(
                f"{path} is a directory, not a database",
                hint="Give the path of an agentr-lite database, or of a new file, with -d.",
            )
        existed = path.exists()
        if not existed and (read_only or not create):
            raise StoreError(
                f"there is no database at {path}",
                hint="`agentr-lite run` makes one; -d names another file.",
            )
        with _translated(path):
            if not existed:
                _make_folder(path.parent)
            mode = "ro" if read_only else "rwc"
            conn = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=busy_timeout_ms / 1000,
                check_same_thread=not read_only,
            )
            try:
                store = cls(_wrap(conn), path, read_only=read_only)
                store._prepare()
            except BaseException:
                conn.close()
                raise
        return store

    def close(self) -> None:
        """Close the file; the store cannot be used after."""
        self.db.conn.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def atomic(self) -> Generator[Store]:
        """A transaction: all of the block's writes or none. Blocks nest.

        Raises:
            StoreError: the database cannot be written.
        """
        conn = self.db.conn
        with _translated(self.path):
            if conn.in_transaction:
                with self.db.atomic():
                    yield self
                return
            # IMMEDIATE, not sqlite-utils' deferred BEGIN: a block that reads first and writes
            # later would otherwise fail at once, without waiting, if another process wrote between.
            conn.execute("BEGIN IMMEDIATE")
            try:
                yield self
                conn.execute("COMMIT")
            except BaseException:
                conn.rollback()
                raise

    def execute(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Cursor:
        """Run one statement; outside ``atomic`` it commits by itself."""
        with _translated(self.path):
            return self.db.execute(sql, params)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for many rows, in one transaction."""
        with self.atomic():
            self.db.conn.executemany(sql, rows)

    def insert(self, table: str, values: Mapping[str, Any], *, replace: bool = False) -> int:
        """Insert one row; returns its rowid. Dicts and lists become JSON.

        For single rows: it is six times as slow as a prepared ``executemany``.

        Args:
            table: the table's name, never from outside.
            values: column name to value.
            replace: take the place of a row that a unique key forbids beside this one.
        """
        with _translated(self.path):
            row = {name: to_sql(value) for name, value in values.items()}
            return int(self.db.table(table).insert(row, replace=replace).last_rowid or 0)

    def upsert_all(
        self, table: str, rows: Iterable[Mapping[str, Any]], *, key: Sequence[str]
    ) -> None:
        """Insert rows in one transaction; where a key is there already, update its row.

        Args:
            table: the table's name, never from outside.
            rows: column name to value; all with the same columns.
            key: the columns of the table's primary key.
        """
        with self.atomic():
            self.db.table(table).upsert_all(rows, pk=tuple(key))

    def rows(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query."""
        with _translated(self.path):
            cursor = self.db.conn.cursor()
            cursor.row_factory = sqlite3.Row
            return cursor.execute(sql, params).fetchall()

    def row(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Row | None:
        """The first row of a query, or None."""
        rows = self.rows(sql, params)
        return rows[0] if rows else None

    def scalar(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        """The first column of the first row, or None."""
        row = self.row(sql, params)
        return None if row is None else row[0]

    def text_id(self, content: str) -> int:
        """The id of a text, stored if it is new."""
        return self.text_ids([content])[content]

    def text_ids(self, contents: Iterable[str]) -> dict[str, int]:
        """Intern many texts in one transaction.

        Call it in the transaction that stores the ids: texts that no row points to are swept away
        when a run is deleted.

        Returns:
            content to id, for each distinct one of ``contents``.
        """
        digests = {content: text_digest(content) for content in dict.fromkeys(contents)}
        with self.atomic():
            self.db.conn.executemany(
                "INSERT INTO texts (digest, content) VALUES (?, ?) ON CONFLICT DO NOTHING",
                [(digest, encodable(content)) for content, digest in digests.items()],
            )
            ids = dict(
                self._select_in("SELECT digest, id FROM texts WHERE digest", digests.values())
            )
        return {content: ids[digest] for content, digest in digests.items()}

    def text(self, text_id: int) -> str:
        """A stored text.

        Raises:
            KeyError: no such id.
        """
        return self.texts([text_id])[text_id]

    def texts(self, ids: Iterable[int]) -> dict[int, str]:
        """Many stored texts, by id.

        Raises:
            KeyError: no such id.
        """
        wanted = set(ids)
        with _translated(self.path):
            texts = dict(self._select_in("SELECT id, content FROM texts WHERE id", sorted(wanted)))
        missing = wanted - texts.keys()
        if missing:
            raise KeyError(f"no text with id {min(missing)} in {self.path}")
        return texts

    def _select_in(self, sql: str, keys: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        keys = list(keys)
        for start in range(0, len(keys), _IN_LIST):
            chunk = keys[start : start + _IN_LIST]
            yield from self.db.conn.execute(f"{sql} IN ({', '.join('?' * len(chunk))})", chunk)

    def _prepare(self) -> None:
        conn = self.db.conn
        conn.execute("PRAGMA foreign_keys = ON")
        self._check_owner()
        if self.read_only:
            version = schema_version(conn)
            if version < SCHEMA_VERSION:
                raise OutdatedError(
                    f"{self.path} has schema {version}, older than {SCHEMA_VERSION}",
                    hint="`agentr-lite runs` brings it up to date where it may be written.",
                )
            return
        conn.execute("PRAGMA journal_mode = WAL")
        conn.execute("PRAGMA synchronous = NORMAL")
        if schema_version(conn) < SCHEMA_VERSION:
            with self.atomic():
                migrate(conn)

    def _check_owner(self) -> None:
        """Refuse other people's databases and newer schemas before anything is written."""
        conn = self.db.conn
        owner = conn.execute("PRAGMA application_id").fetchone()[0]
        tables = conn.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        # A kill between the making of the file and its first commit leaves one without anything.
        if owner != APPLICATION_ID and (tables or owner):
            raise StoreError(
                f"{self.path} is a SQLite database, but not agentr-lite's",
                hint="Give the path of an agentr-lite database, or of a new file, with -d.",
            )
        version = schema_version(conn)
        if owner == APPLICATION_ID and version > SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} has schema {version}; this agentr-lite knows up to {SCHEMA_VERSION}",
                hint="Upgrade agentr-lite, or give another file with -d.",
            )


def text_digest(content: str) -> bytes:
    """The key of a text: the first 16 bytes of the SHA-256 of its UTF-8."""
    return hashlib.sha256(encodable(content).encode()).digest()[:16]


def to_sql(value: Any) -> Any:
    """A Python value as SQLite stores it: booleans as 0 or 1, dicts and sequences as JSON."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Mapping | list | tuple):
        return to_json(value)
    return value


def to_json(value: Any) -> str:
    """Compact JSON with sorted keys, so that equal values are equal texts."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return encodable(text)


def encodable(content: str) -> str:
    """A text that SQLite takes: a lone surrogate (half of a byte-level token) has no UTF-8."""
    return content.encode("utf-8", "replace").decode("utf-8")


def _wrap(conn: sqlite3.Connection) -> Database:
    from sqlite_utils import Database

    return Database(conn, execute_plugins=False)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot make the folder {folder}: {error.strerror}",
            hint="Give another path with -d.",
        ) from error


@contextmanager
def _translated(path: Path) -> Generator[None]:
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.DatabaseError as error:
        # Extended codes carry the primary one in their low byte.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code not in _HINTS:
            raise
        raise StoreError(f"database {path}: {error}", hint=_HINTS[code]) from error
