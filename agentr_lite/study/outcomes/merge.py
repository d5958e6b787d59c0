"""Several tables of outcomes of one study, from several machines or databases, as one table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from agentr_lite.core.errors import UsageError
from agentr_lite.study.outcomes.file import cell_key, not_outcomes, study_head
from agentr_lite.study.outcomes.records import Record

_CellKey = tuple[str, str, int]
_MAY_DIFFER = frozenset({"record", "command"})
"""Of the first record: what the command was called says nothing about the study."""


def merge_outcomes(tables: Sequence[tuple[Path, Sequence[Record]]]) -> list[Record]:
    """One table that holds every cell of some tables.

    A cell that several tables have is taken once. If only one of them has finished it, this one is
    taken. The order of the tables does not matter, but for the study's command, which is that of
    the first one.

    Args:
        tables: each file and its records, in the order of the file.

    Raises:
        UsageError: a table is none, belongs to another study, or contradicts another one.
    """
    parts = [_Table(path, records) for path, records in tables]
    first = parts[0]
    chosen: dict[_CellKey, _Table] = {}
    for part in parts:
        _check_same_study(first, part)
        for key in part.cells:
            chosen[key] = _choose(chosen.get(key, part), part, key)
    _check_same_model(parts)
    order = [cell_key(cell) for cell in first.head["cells"]]
    tasks = _merged_tasks(parts)
    cells = (record for key in order if key in chosen for record in chosen[key].cells[key])
    return [first.head, *tasks, *cells]


class _Table:
    """The records of one file, by cell."""

    def __init__(self, path: Path, records: Sequence[Record]) -> None:
        self.path = path
        self.head = study_head(path, records)
        self.tasks: list[Record] = []
        self.cells: dict[_CellKey, list[Record]] = {}
        for number, record in enumerate(records[1:], 2):
            try:
                if record["record"] == "task":
                    self.tasks.append(record)
                else:
                    self.cells.setdefault(cell_key(record), []).append(record)
            except KeyError as error:
                raise not_outcomes(path, f"record {number} has no {error}") from error

    def is_finished(self, key: _CellKey) -> bool:
        return self.cells[key][0].get("status") == "finished"

    def results(self, key: _CellKey) -> list[Record]:
        """What a cell played; not how long it took, and what its run is called."""
        return [r for r in self.cells[key] if r["record"] in ("evaluation", "episode")]


def _check_same_study(first: _Table, part: _Table) -> None:
    for key in sorted({*first.head, *part.head} - _MAY_DIFFER):
        ours, theirs = first.head.get(key), part.head.get(key)
        if ours != theirs:
            place = _first_difference(ours, theirs, key)
            raise UsageError(
                f"{first.path} and {part.path} are not of one study: they differ in {place}",
                hint="Only tables of the same study, with the same settings, can be put together.",
            )


def _first_difference(ours: Any, theirs: Any, place: str) -> str:
    """Where two values differ, as ``environments.textcraft.search.tasks (40 and 60)``."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}):
            if ours.get(key) != theirs.get(key):
                return _first_difference(ours.get(key), theirs.get(key), f"{place}.{key}")
    if isinstance(ours, str | int | float | None) and isinstance(theirs, str | int | float | None):
        return f"{place} ({ours} and {theirs})"
    return place


def _choose(one: _Table, other: _Table, key: _CellKey) -> _Table:
    """Which of two tables a cell is taken from."""
    if one is other or one.cells[key] == other.cells[key]:
        return one
    if one.is_finished(key) != other.is_finished(key):
        return one if one.is_finished(key) else other
    if one.results(key) == other.results(key):
        # They differ in times only. The run's name decides, so the order of the files does not.
        return min(one, other, key=lambda table: table.cells[key][0]["run"])
    raise UsageError(
        f"{one.path} and {other.path} have different results of {'/'.join(map(str, key))}",
        hint="Two machines have computed this cell. Leave one of the files out, or run the study"
        " of one of them without this cell (--only).",
    )


def _check_same_model(parts: Iterable[_Table]) -> None:
    """Refuse tables in which one environment was played with models that are not the same file."""
    seen: dict[str, tuple[str | None, Path]] = {}
    for part in parts:
        for (env, _, _), records in part.cells.items():
            digest = records[0].get("model_sha256")
            known, path = seen.setdefault(env, (digest, part.path))
            if known != digest:
                raise UsageError(
                    f"{path} and {part.path} used different models in {env}:"
                    f" SHA-256 {known} and {digest}",
                    hint="All cells of a study must use the same model file.",
                )


def _merged_tasks(parts: Iterable[_Table]) -> list[Record]:
    """The tasks of all tables, numbered anew; tasks of one table keep their order."""
    found: dict[tuple[str, ...], Record] = {}
    first: dict[tuple[str, ...], int] = {}
    for part in parts:
        for task in part.tasks:
            name = (task["game"], task["split"], task["task"])
            found[task["environment"], *name] = task
            first[name] = min(task["number"], first.get(name, task["number"]))
    order = sorted(first, key=lambda name: (first[name], name))
    numbers = {name: number for number, name in enumerate(order, 1)}
    ordered = sorted(found, key=lambda key: (numbers[key[1:]], key[0]))
    return [{**found[key], "number": numbers[key[1:]]} for key in ordered]
