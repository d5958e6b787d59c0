"""Opening the database, transactions, and the content-addressed texts.

SQLite's own errors leave this module as ``StoreError`` (see ``faults``), so that a full disk, a
locked or a damaged file gives one clear line wherever it happens.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any

from agentr_lite.core.errors import StoreError
from agentr_lite.store.damage import is_of_schema
from agentr_lite.store.decoding import DamagedError
from agentr_lite.store.faults import UNEXPECTED, explanation, translated
from agentr_lite.store.files import (
    OTHER_PATH,
    check_writable,
    connect_to_read,
    connect_to_write,
    database_exists,
    is_empty,
    is_writable,
    make_database,
    migrated_copy,
    remove_folder,
)
from agentr_lite.store.migrations import SCHEMA_VERSION, migrate, schema_version
from agentr_lite.store.schema import APPLICATION_ID

if TYPE_CHECKING:
    from sqlite_utils import Database

BUSY_TIMEOUT_MS = 10_000
_IN_LIST = 500
"""Ids in one ``IN (...)``: well under SQLite's limit on parameters."""


class OutdatedError(StoreError):
    """The database has an older schema and was opened for reading only."""


class Store:
    """One open database.

    Not for use from several threads; several processes may have the same file open.

    Attributes:
        db: the sqlite-utils database, for other queries.
        path: the file that was asked for.
        read_only: whether writes are refused.
    """

    def __init__(
        self,
        conn: sqlite3.Connection,
        path: Path,
        *,
        read_only: bool,
        copy: TemporaryDirectory[str] | None = None,
    ) -> None:
        """
        Args:
            conn: the connection; closed if the database is refused.
            path: the file that was asked for.
            read_only: whether writes are refused.
            copy: the folder with the copy that is read instead; ``close`` removes it.

        Raises:
            StoreError: see ``open``.
        """
        self.db = _wrap(conn)
        self.path = path
        self.read_only = read_only
        self._copy = copy
        try:
            with self._translated():
                self._prepare()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open_to_read(cls, path: str | Path) -> Store:
        """Open read-only; the right to read the file is enough.

        A database from an older version is brought up to date first: the file itself where it may
        be written, else a temporary copy, which ``close`` removes.

        Raises:
            StoreError: see ``open``.
        """
        path = Path(path)
        try:
            return cls.open(path, read_only=True)
        except OutdatedError:
            if is_writable(path):
                cls.open(path, create=False).close()
                return cls.open(path, read_only=True)
        with translated(path):
            folder = migrated_copy(path, BUSY_TIMEOUT_MS / 1000)
            conn, _ = connect_to_read(Path(folder.name) / path.name, BUSY_TIMEOUT_MS / 1000)
            return cls(conn, path, read_only=True, copy=folder)

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
            read_only: for inspection, also beside a running search; neither creates nor migrates,
                and needs no right to write.
            busy_timeout_ms: how long to wait for another process's write.

        Raises:
            StoreError: no such file, not a database, another program's database, a newer schema, an
                older one with ``read_only``, locked, damaged, not writable.
        """
        path = Path(path)
        create = create and not read_only
        existed = database_exists(path)
        if path.is_dir():
            raise StoreError(f"{path} is a directory, not a database", hint=OTHER_PATH)
        if not create and (not existed or is_empty(path)):
            raise StoreError(
                f"there is no database at {path}" + (": the file is empty" if existed else ""),
                hint="`agentr-lite run` makes one; -d names another file.",
            )
        timeout_s = busy_timeout_ms / 1000
        with translated(path):
            if read_only:
                conn, copy = connect_to_read(path, timeout_s)
                return cls(conn, path, read_only=True, copy=copy)
            if existed:
                check_writable(path)
            else:
                _make(path)
            return cls(connect_to_write(path, timeout_s), path, read_only=False)

    def close(self) -> None:
        """Close the file; the store cannot be used after."""
        self.db.conn.close()
        remove_folder(self._copy)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            explained = None if error is None else self.explained(error)
        finally:
            self.close()
        if explained is not None:
            raise explained from error

    def explained(self, error: BaseException) -> StoreError | None:
        """What the database has to do with an error of the code that used it.

        An error that damage may cause is looked into: the whole file is checked. A reader that
        fails without a finding cannot make sense of what is stored; the hint names both causes.

        Returns:
            The error to raise instead; None where the database is not known to be the cause, or
            where ``error`` says so itself.
        """
        return explanation(error, self.path, self.db.conn, read_only=self.read_only)

    @contextmanager
    def atomic(self) -> Generator[Store]:
        """A transaction: all of the block's writes or none. Blocks nest.

        Raises:
            StoreError: the database cannot be written.
        """
        conn = self.db.conn
        with self._translated():
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
        with self._translated():
            return self.db.execute(sql, params)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for many rows, in one transaction."""
        with self.atomic():
            self.db.conn.executemany(sql, rows)

    def insert(self, table: str, values: Mapping[str, Any], *, replace: bool = False) -> int:
        """Insert one row; returns its rowid. Dicts and lists become JSON.

        Args:
            table: the table's name, never from outside.
            values: column name to value.
            replace: take the place of a row that a unique key forbids beside this one.
        """
        with self._translated():
            verb = "REPLACE" if replace else "INSERT"
            sql = (
                f"{verb} INTO {table} ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})"
            )
            cursor = self.db.execute(sql, [to_sql(value) for value in values.values()])
            return int(cursor.lastrowid or 0)

    def upsert_all(
        self, table: str, rows: Iterable[Mapping[str, Any]], *, key: Sequence[str]
    ) -> None:
        """Insert rows in one transaction; where a key is there already, update its row.

        Args:
            table: the table's name, never from outside.
            rows: column name to value; all with the same columns.
            key: the columns of the table's primary key.
        """
        rows = list(rows)
        if not rows:
            return
        names = list(rows[0])
        others = [f"{name} = excluded.{name}" for name in names if name not in key]
        self.executemany(
            f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
            f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {', '.join(others)}",
            [[row[name] for name in names] for row in rows],
        )

    def rows(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query."""
        with self._translated():
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
        if len(ids) < len(set(digests.values())):
            raise DamagedError("the index of the texts by their digests is damaged")
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
        with self._translated():
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
        version = schema_version(conn)
        if self.read_only:
            if version < SCHEMA_VERSION:
                raise OutdatedError(
                    f"{self.path} has schema {version}, older than {SCHEMA_VERSION}",
                    hint="`agentr-lite runs` brings it up to date where it may be written.",
                )
            return
        conn.execute("PRAGMA journal_mode = WAL")
        conn.execute("PRAGMA synchronous = NORMAL")
        if version < SCHEMA_VERSION:
            self._migrate()

    def _migrate(self) -> None:
        with self.atomic():
            try:
                migrate(self.db.conn)
            except UNEXPECTED as error:
                raise DamagedError(
                    f"database {self.path} is damaged: it cannot be brought up to date"
                ) from error

    def _check_owner(self) -> None:
        """Refuse other people's databases, newer and damaged schemas before anything is written."""
        conn = self.db.conn
        owner = conn.execute("PRAGMA application_id").fetchone()[0]
        tables = conn.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        version = schema_version(conn)
        if owner != APPLICATION_ID:
            # A kill before the first commit leaves a file without anything.
            if tables or owner or self.read_only:
                raise StoreError(
                    f"{self.path} is a SQLite database, but not agentr-lite's", hint=OTHER_PATH
                )
            return
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} has schema {version}; this agentr-lite knows up to {SCHEMA_VERSION}",
                hint="Upgrade agentr-lite, or give another file with -d.",
            )
        if version < SCHEMA_VERSION and not (version > 0 and is_of_schema(conn, version)):
            # A migration that is applied twice would destroy what it made.
            raise DamagedError(
                f"database {self.path} is damaged: it says schema {version}, and its tables are"
                " of another"
            )

    @contextmanager
    def _translated(self) -> Generator[None]:
        with translated(self.path, self.db.conn):
            yield


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


def _make(path: Path) -> None:
    try:
        make_database(path)
    except OSError as error:
        raise StoreError(
            f"cannot make the database {path}: {error.strerror or error}",
            hint="Check the permissions and the free space, or give another path with -d.",
        ) from error


def _wrap(conn: sqlite3.Connection) -> Database:
    from sqlite_utils import Database

    return Database(conn, execute_plugins=False)
