"""Publishes what a stage does now into the database, where the inspector reads it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from agentr_lite.actors.base import LoadedModel
from agentr_lite.console.progress import ProgressState
from agentr_lite.core.errors import StoreError
from agentr_lite.store import Store
from agentr_lite.store.live import LiveRow, save_live
from agentr_lite.store.records import Stage as StageName

PUBLISH_S = 2.0
"""Seconds between two writes."""
_WINDOW = 10
"""Writes over which the speed is measured: the last twenty seconds or so."""


class LivePublisher:
    """Writes the progress of one stage, now and then.

    Attributes:
        fault: why the last write failed, if it did. A database that another process holds for so
            long costs the reader a line, and must not cost the run.
    """

    def __init__(
        self,
        store: Store,
        run_id: str,
        round_index: int,
        stage: StageName,
        actor: LoadedModel | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            store: the run's.
            run_id: the run.
            round_index: the stage's round.
            stage: the stage.
            actor: whose tokens are counted; None: the stage generates none.
            clock: seconds from any fixed point; tests replace it.
        """
        self.fault: StoreError | None = None
        self._store = store
        self._where = (run_id, round_index, stage)
        self._actor = actor
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque(maxlen=_WINDOW)
        self._last = float("-inf")
        self._observe(clock())

    def __call__(self, state: ProgressState) -> None:
        """Publish a state of the progress, unless the last one is recent."""
        now = self._clock()
        if now - self._last < PUBLISH_S:
            return
        self._last = now
        run_id, round_index, stage = self._where
        row = LiveRow(
            run_id,
            round_index,
            stage,
            label=state.label,
            count=state.count,
            total=state.total,
            note=state.note,
            tokens_per_s=self._observe(now),
            part_left_s=state.part_left_s,
            run_left_s=state.run_left_s,
        )
        try:
            save_live(self._store, row)
            self.fault = None
        except StoreError as error:
            self.fault = error

    def _observe(self, now: float) -> float | None:
        """Generated tokens a second over the last writes; None without a model or too early."""
        if self._actor is None:
            return None
        self._seen.append((now, self._actor.usage.output_tokens))
        (since, before), (until, after) = self._seen[0], self._seen[-1]
        return (after - before) / (until - since) if until > since else None
