"""A whole look at a database: what is damaged, and which runs are sound."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from agentr_lite.core.errors import StoreError
from agentr_lite.store import evals, preferences, runs, splices, trees
from agentr_lite.store.damage import FAULTS, file_damage, readable, reference_damage, schema_damage
from agentr_lite.store.database import Store, text_digest
from agentr_lite.store.demonstrations import list_demonstrations
from agentr_lite.store.examples import list_examples
from agentr_lite.store.faults import UNEXPECTED
from agentr_lite.store.records import RunRow

_TEXTS_OF_A_RUN = """
    SELECT instructions_id FROM trees WHERE run_id = :run
    UNION SELECT observation_id FROM trees WHERE run_id = :run
    UNION SELECT n.text_id FROM trees r JOIN nodes n ON n.tree_id = r.id WHERE r.run_id = :run
    UNION SELECT n.observation_id FROM trees r JOIN nodes n ON n.tree_id = r.id
        WHERE r.run_id = :run
    UNION SELECT u.reason_id FROM trees r JOIN trajectories j ON j.tree_id = r.id
        JOIN judgements u ON u.trajectory_id = j.id WHERE r.run_id = :run
    UNION SELECT reflection_id FROM revisions WHERE run_id = :run
    UNION SELECT observation_id FROM examples WHERE run_id = :run
    UNION SELECT i.instructions_id FROM evals e JOIN eval_items i ON i.eval_id = e.id
        WHERE e.run_id = :run
    UNION SELECT i.observation_id FROM evals e JOIN eval_items i ON i.eval_id = e.id
        WHERE e.run_id = :run
"""


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong."""

    what: str
    run_id: str | None = None
    """The run that it belongs to; None: the file, or what all runs share."""


def check_file(store: Store) -> list[Damage]:
    """What is wrong with the file: its tables, pages, indexes, constraints and references."""
    conn = store.db.conn
    found = []
    for find in (schema_damage, file_damage, reference_damage):
        try:
            found += [Damage(line) for line in find(conn)]
        except FAULTS as error:
            found.append(Damage(readable(error)))
    return found


def check_demonstrations(store: Store) -> list[Damage]:
    """What is wrong with the demonstrations."""
    found: list[Damage] = []
    with _noted(found):
        list_demonstrations(store, split=None)
        used = "SELECT instructions_id FROM demonstrations UNION SELECT observation_id FROM"
        found += [Damage(line) for line in _wrong_texts(store, f"{used} demonstrations")]
    return found


def run_ids(store: Store) -> list[str]:
    """The ids of all runs, whatever else their rows say; oldest first.

    Raises:
        StoreError: not even that can be read.
    """
    rows = store.rows("SELECT id FROM runs ORDER BY created_utc, id")
    return [str(row["id"]) for row in rows]


def check_run(store: Store, run_id: str, *, also: Callable[[RunRow], None]) -> list[Damage]:
    """What is wrong with a run: everything of it is read, and compared where it is stored twice.

    Args:
        store: the database.
        run_id: the whole id.
        also: looks into what only code above the store understands; raises what it finds.
    """
    found: list[Damage] = []
    for part in _parts(store, run_id, also):
        with _noted(found, run_id):
            part()
    for text in _all_wrong_texts(store, run_id, found):
        found.append(Damage(text, run_id))
    return found


def _all_wrong_texts(store: Store, run_id: str, found: list[Damage]) -> list[str]:
    with _noted(found, run_id):
        return list(_wrong_texts(store, _TEXTS_OF_A_RUN, run=run_id))
    return []


def _parts(
    store: Store, run_id: str, also: Callable[[RunRow], None]
) -> Iterator[Callable[[], object]]:
    yield lambda: also(_whole_run(store, run_id))
    yield lambda: runs.list_stages(store, run_id)
    yield lambda: runs.list_metrics(store, run_id)
    yield lambda: splices.list_adapters(store, run_id)
    yield lambda: _check_examples(store, run_id)
    yield lambda: _check_trees(store, run_id)
    yield lambda: _check_splices(store, run_id)
    yield lambda: _check_preferences(store, run_id)
    yield lambda: _check_datasets(store, run_id)
    yield lambda: _check_evals(store, run_id)


def _whole_run(store: Store, run_id: str) -> RunRow:
    row = next((run for run in runs.list_runs(store) if run.id == run_id), None)
    if row is None:
        raise StoreError("its row is damaged")
    return row


def _check_trees(store: Store, run_id: str) -> None:
    stored = store.scalar("SELECT count(*) FROM trees WHERE run_id = ?", (run_id,))
    rows = trees.list_trees(store, run_id)
    if len(rows) != stored:
        raise StoreError(f"{stored - len(rows)} trees have lost their task")
    for tree in rows:
        nodes = trees.load_tree(store, tree.id)
        if len(nodes) != tree.node_count:
            raise StoreError(f"tree {tree.id} has {len(nodes)} of {tree.node_count} nodes")
        trees.tree_opening(store, tree.id)
        trees.list_calls(store, tree.id)


def _check_splices(store: Store, run_id: str) -> None:
    paths = {path.id: path for path in splices.list_trajectories(store, run_id)}
    for path in paths.values():
        steps = len(trees.path_steps(store, path.tree_id, path.leaf_idx))
        if steps != path.steps:
            raise StoreError(f"trajectory {path.id} has {steps} of {path.steps} steps")
    splices.list_judgements(store, run_id)
    stored = store.scalar("SELECT count(*) FROM revisions WHERE run_id = ?", (run_id,))
    rows = splices.list_revisions(store, run_id)
    if len(rows) != stored:
        raise StoreError(f"{stored - len(rows)} revisions have lost what they are made of")
    for row in rows:
        good, bad = paths.get(row.good_id), paths.get(row.bad_id)
        if good is None or bad is None:
            raise StoreError(f"revision {row.id} has lost a trajectory")
        if not (0 <= row.parting_step <= bad.steps and 0 <= row.cut_step <= bad.steps):
            raise StoreError(f"revision {row.id} is cut where its trajectory has no step")


def _check_preferences(store: Store, run_id: str) -> None:
    stored = store.scalar("SELECT count(*) FROM preferences WHERE run_id = ?", (run_id,))
    rows = preferences.list_preferences(store, run_id)
    if len(rows) != stored:
        raise StoreError(f"{stored - len(rows)} preferences have lost their tree or task")
    for row in rows:
        preferences.continuations(store, row)


def _check_datasets(store: Store, run_id: str) -> None:
    for dataset in splices.list_datasets(store, run_id):
        splices.list_dataset_items(store, dataset.id)


def _check_examples(store: Store, run_id: str) -> None:
    stored = store.rows(
        "SELECT k.env, count(*) AS number FROM examples e LEFT JOIN tasks k ON k.id = e.task_id"
        " WHERE e.run_id = ? GROUP BY 1",
        (run_id,),
    )
    for row in stored:
        found = len(list_examples(store, run_id, row["env"])) if row["env"] else 0
        if found != row["number"]:
            raise StoreError(f"{row['number'] - found} examples have lost their task or text")


def _check_evals(store: Store, run_id: str) -> None:
    for row in evals.list_evals(store, run_id):
        stored = store.scalar("SELECT count(*) FROM eval_items WHERE eval_id = ?", (row.id,))
        items = evals.list_eval_items(store, row.id)
        if len(items) != stored:
            raise StoreError(f"{stored - len(items)} episodes have lost their task")


def _wrong_texts(store: Store, ids: str, **params: str) -> Iterator[str]:
    """Texts whose content is not what their digest says, or which are gone."""
    rows = store.rows(
        f"SELECT w.instructions_id AS wanted, t.digest, t.content FROM ({ids}) w"
        " LEFT JOIN texts t ON t.id = w.instructions_id WHERE w.instructions_id IS NOT NULL",
        params,
    )
    for row in rows:
        if row["content"] is None:
            yield f"text {row['wanted']} is missing"
        elif type(row["content"]) is not str or text_digest(row["content"]) != row["digest"]:
            yield f"text {row['wanted']} is not what was stored"


@contextmanager
def _noted(found: list[Damage], run_id: str | None = None) -> Generator[None]:
    """Note what the block raises as damage, and go on."""
    try:
        yield
    except StoreError as error:
        found.append(Damage(error.message, run_id))
    except sqlite3.Error as error:
        found.append(Damage(readable(error), run_id))
    except UNEXPECTED as error:
        found.append(Damage(f"{type(error).__name__}: {error}", run_id))
