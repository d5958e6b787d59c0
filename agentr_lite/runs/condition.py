"""The condition of a database: what is damaged, and which runs are sound and can be saved."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from agentr_lite.core.errors import StoreError

if TYPE_CHECKING:
    from agentr_lite.store import Store
    from agentr_lite.store.checkup import Damage
    from agentr_lite.store.records import RunRow


@dataclass(frozen=True, slots=True)
class Condition:
    """What a look at a whole database has found."""

    shared: Sequence[Damage]
    """Of the file, and of what no run owns."""
    runs: Mapping[str, Sequence[Damage]] = field(default_factory=dict)
    """Run id to what is wrong with the run, oldest run first; empty where it is sound."""

    @property
    def sound(self) -> list[str]:
        """The ids of the runs of which all could be read."""
        return [run_id for run_id, found in self.runs.items() if not found]

    @property
    def damaged(self) -> list[str]:
        """The ids of the other runs."""
        return [run_id for run_id, found in self.runs.items() if found]


def condition_of(store: Store) -> Condition:
    """Look at everything in a database; each text and each JSON value is read."""
    from agentr_lite.store.checkup import (
        Damage,
        check_demonstrations,
        check_file,
        check_run,
        run_ids,
    )

    shared = [*check_file(store), *check_demonstrations(store)]
    try:
        ids = run_ids(store)
    except StoreError as error:
        return Condition([*shared, Damage(error.message)])
    return Condition(
        shared,
        {
            run_id: check_run(store, run_id, also=lambda run: _read_as_report(store, run))
            for run_id in ids
        },
    )


def _read_as_report(store: Store, run: RunRow) -> None:
    """Read a run's recipe and figures as the report does; raises what it cannot read."""
    from agentr_lite.recipe.loading import stored_recipe
    from agentr_lite.report import render_run

    stored_recipe(run.recipe)
    render_run(store, run.id, "json")


@contextmanager
def opened_to_save(path: Path) -> Generator[Store]:
    """Open a database for reading as much of it as can be read.

    Where indexes are damaged, their rows would seem to be missing: they are made anew in a copy,
    which is deleted afterwards. The file itself stays as it is.

    Raises:
        StoreError: it cannot be opened at all.
    """
    from agentr_lite.store import Store
    from agentr_lite.store.damage import file_damage

    with Store.open_to_read(path) as store:
        if not file_damage(store.db.conn):
            yield store
            return
        with tempfile.TemporaryDirectory(prefix="agentr-lite-") as folder:
            copy = Path(folder) / path.name
            _copy_with_new_indexes(store, copy)
            with Store.open(copy, read_only=True) as copied:
                copied.path = path
                yield copied


def _copy_with_new_indexes(store: Store, copy: Path) -> None:
    from agentr_lite.store.damage import FAULTS

    conn = sqlite3.connect(copy, isolation_level=None)
    try:
        store.db.conn.backup(conn)
        conn.execute("REINDEX")
    except FAULTS:
        # Pages of tables are damaged as well; the check of each run says what cannot be read.
        if conn.in_transaction:
            conn.rollback()
    finally:
        conn.close()
