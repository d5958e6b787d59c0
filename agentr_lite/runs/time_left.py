"""How long the rest of a run will take, from how long such stages took before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentr_lite.store import Store, runs
from agentr_lite.store.decoding import DamagedError
from agentr_lite.store.records import RunRow

_SAME = ("env", "model", "agent", "imitation", "search", "splice", "train", "eval")
"""What two runs must have in common in their recipes, so that their stages take as long."""


class TimeLeft:
    """Expected seconds of a run's stages.

    A stage that the run has finished in another round says how long the next of its kind takes.
    Until then, the same stage of earlier runs in the database counts, if they have the same
    recipe but for the number of rounds and the seed.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._run_id = run_id

    def of(self, stages: Sequence[str]) -> float | None:
        """Seconds of these stages together; None where one of them has never been finished."""
        # Read anew: a run's model is recorded when it is loaded.
        mine = runs.get_run(self._store, self._run_id)
        own = _mean_times(self._store, [mine.id])
        earlier = _mean_times(self._store, _like(self._store, mine))
        known = [own.get(stage, earlier.get(stage)) for stage in stages]
        return None if None in known else sum(filter(None, known))


def _like(store: Store, run: RunRow) -> list[str]:
    """Ids of other runs whose stages take as long as this run's."""
    rows = store.rows("SELECT id FROM runs WHERE env = ? AND id <> ?", (run.env, run.id))
    found = []
    for row in rows:
        try:
            if _kind(runs.get_run(store, row[0])) == _kind(run):
                found.append(row[0])
        except DamagedError:
            # Another run's damage must not end this one; `doctor` finds it.
            continue
    return found


def _kind(run: RunRow) -> Mapping[str, Any]:
    kind = {key: run.recipe.get(key) for key in _SAME}
    return {**kind, "sha256": run.model_sha256}


def _mean_times(store: Store, run_ids: Sequence[str]) -> dict[str, float]:
    """Stage to mean seconds over the finished stages of these runs."""
    times: dict[str, list[float]] = {}
    for run_id in run_ids:
        for row in runs.list_stages(store, run_id):
            if row.finished:
                times.setdefault(row.stage, []).append(row.wall_s)
    return {stage: sum(of) / len(of) for stage, of in times.items()}
