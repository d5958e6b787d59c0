"""The table of outcomes as a file: JSON Lines, compressed by gzip."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from agentr_lite.core.errors import UsageError, from_os_error
from agentr_lite.core.json_values import JsonError, load_json
from agentr_lite.study.outcomes.records import Record

FILE_NAME = "outcomes.jsonl.gz"
"""Its name in the folder of a page's plots."""
MOST_BYTES = 2_000_000_000
"""Of the text. A study of three environments and five methods has about 20 million."""


def to_bytes(records: Iterable[Record]) -> bytes:
    """The file of some records; equal records give equal bytes."""
    buffer = io.BytesIO()
    # Neither a name nor a time, which would differ from file to file.
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=9, mtime=0) as file:
        for record in records:
            line = json.dumps(record, allow_nan=False, separators=(",", ":"))
            file.write(line.encode() + b"\n")
    return buffer.getvalue()


def read_records(path: Path) -> list[Record]:
    """The records of a file.

    Raises:
        UsageError: it is no such file.
        AgentrError: it cannot be read.
    """
    try:
        with gzip.open(path) as file:
            data = file.read(MOST_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise not_outcomes(path, str(error)) from error
    except OSError as error:
        raise from_os_error(error) from error
    if len(data) > MOST_BYTES:
        raise not_outcomes(path, f"it has more than {MOST_BYTES:,} bytes of text")
    return parse_records(path, data)


def parse_records(path: Path, data: bytes) -> list[Record]:
    """The records of a file's text.

    Args:
        path: of the file, for messages.
        data: JSON Lines.

    Raises:
        UsageError: a line is no record.
    """
    records: list[Record] = []
    for number, line in enumerate(data.splitlines(), 1):
        try:
            record = load_json(line)
        except JsonError as error:
            raise not_outcomes(path, f"line {number}: {error}") from error
        if not isinstance(record, dict):
            raise not_outcomes(path, f"line {number} is no JSON object")
        records.append(record)
    return records


def study_head(path: Path, records: Sequence[Record]) -> Record:
    """The first record of a table, which says what study it is of.

    Raises:
        UsageError: there is none.
    """
    if not records or records[0].get("record") != "study":
        raise not_outcomes(path, "the first record is not that of a study")
    return records[0]


def cell_key(record: Record) -> tuple[str, str, int]:
    """(environment, method, seed) of a record that belongs to a cell."""
    return record["environment"], record["method"], record["seed"]


def not_outcomes(path: Path, reason: str) -> UsageError:
    """The error of a file that holds something else."""
    return UsageError(
        f"{path} does not hold the outcomes of a study: {reason}",
        hint=f"A study writes them as {FILE_NAME} into the folder of its plots.",
    )
