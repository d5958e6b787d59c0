"""What people call their runs: a name, a note and tags. No result depends on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from agentr_lite.core.suggestions import did_you_mean
from agentr_lite.store.database import Store, to_json
from agentr_lite.store.decoding import record


@dataclass(frozen=True, slots=True)
class RunLabels:
    """The labels of one run."""

    name: str = ""
    note: str = ""
    tags: tuple[str, ...] = ()
    """Sorted."""


def labels_of(store: Store, run_id: str) -> RunLabels:
    """A run's labels; empty ones where it has none."""
    return _read(store, run_id).get(run_id, RunLabels())


def all_labels(store: Store) -> dict[str, RunLabels]:
    """Run id to its labels, of the runs that have any."""
    return _read(store)


def set_name(store: Store, run_id: str, name: str) -> None:
    """Give a run a name; an empty one removes it."""
    _set(store, run_id, "name", name)


def set_note(store: Store, run_id: str, note: str) -> None:
    """Give a run a note; an empty one removes it."""
    _set(store, run_id, "note", note)


def add_tags(store: Store, run_id: str, tags: Sequence[str]) -> None:
    """Add tags to a run; those that it has stay."""
    store.executemany(
        "INSERT INTO run_tags (run_id, tag) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(run_id, tag) for tag in tags],
    )


def remove_tags(store: Store, run_id: str, tags: Sequence[str]) -> None:
    """Remove tags from a run; those that it does not have are passed over."""
    store.executemany(
        "DELETE FROM run_tags WHERE run_id = ? AND tag = ?", [(run_id, tag) for tag in tags]
    )


def runs_named(store: Store, name: str) -> list[str]:
    """Ids of the runs of this name."""
    rows = store.rows("SELECT run_id FROM run_labels WHERE name = ? ORDER BY run_id", (name,))
    return [str(row[0]) for row in rows]


def known_names(store: Store) -> list[str]:
    """The names of all runs, sorted."""
    return [
        str(row[0])
        for row in store.rows("SELECT name FROM run_labels WHERE name <> '' ORDER BY name")
    ]


def runs_tagged(store: Store, tags: Sequence[str]) -> list[str]:
    """Ids of the runs that have all of these tags, the oldest first."""
    rows = store.rows(
        "SELECT r.id FROM runs r LEFT JOIN run_tags t"
        " ON t.run_id = r.id AND t.tag IN (SELECT value FROM json_each(:tags))"
        " GROUP BY r.id HAVING count(t.tag) = :count ORDER BY r.created_utc, r.id",
        {"tags": to_json(list(tags)), "count": len(set(tags))},
    )
    return [str(row[0]) for row in rows]


def none_tagged(store: Store, tags: Sequence[str]) -> tuple[str, str]:
    """What to say where no run has all of these tags: what is wrong, and what to do next."""
    known = [str(row[0]) for row in store.rows("SELECT DISTINCT tag FROM run_tags ORDER BY tag")]
    unknown = [tag for tag in tags if tag not in known]
    meant = did_you_mean(unknown[0], known) if unknown else ""
    words = "the tag" if len(tags) == 1 else "all of the tags"
    message = f"no run in {store.path} has {words} {', '.join(tags)}{meant}"
    if known:
        return message, f"The tags there are: {', '.join(known)}."
    return message, "`agentr-lite runs tag RUN TAG` gives a run a tag."


def copy_labels(source: Store, target: Store, run_id: str) -> None:
    """Copy a run's labels into another database, which has the run."""
    labels = labels_of(source, run_id)
    if labels.name:
        set_name(target, run_id, labels.name)
    if labels.note:
        set_note(target, run_id, labels.note)
    add_tags(target, run_id, labels.tags)


def _read(store: Store, run_id: str | None = None) -> dict[str, RunLabels]:
    """Run id to its labels, of one run or of all, where there are any; one query."""
    where = "" if run_id is None else "WHERE run_id = :run"
    rows = store.rows(
        f"SELECT run_id, 'name' AS label, name AS text FROM run_labels {where}"
        f" UNION ALL SELECT run_id, 'note', note FROM run_labels {where}"
        f" UNION ALL SELECT run_id, 'tag', tag FROM run_tags {where} ORDER BY run_id, label, text",
        {"run": run_id},
    )
    found = {}
    for labelled, of_run in groupby(rows, key=itemgetter("run_id")):
        values: dict[str, Any] = {"name": "", "note": "", "tags": ()}
        for row in of_run:
            if row["label"] == "tag":
                values["tags"] += (row["text"],)
            else:
                values[row["label"]] = row["text"]
        found[labelled] = record(RunLabels, values, "run_labels")
    return found


def _set(store: Store, run_id: str, column: str, text: str) -> None:
    store.execute(
        f"INSERT INTO run_labels (run_id, {column}) VALUES (?, ?)"
        f" ON CONFLICT (run_id) DO UPDATE SET {column} = excluded.{column}",
        (run_id, text),
    )
