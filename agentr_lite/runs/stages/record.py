"""A stage's row in the store while a process works on the stage: begun, paid for, finished.

Several processes may work on a stage one after another. What each of them did is booked in the
transaction that commits it: a stage that was cut knows what its committed part cost, and work that
is repeated is paid for once.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from agentr_lite.actors.base import LoadedModel
from agentr_lite.store import Store, runs
from agentr_lite.store.records import Stage as StageName


class StageRecord:
    """The row of one stage of one round; time and tokens count from the making of this object.

    Attributes:
        store: the database.
        run_id: the run.
        round: the stage's round.
        stage: which stage.
        books: whether what is spent counts as the stage's cost.
    """

    def __init__(
        self,
        store: Store,
        run_id: str,
        round_index: int,
        stage: StageName,
        actor: LoadedModel | None = None,
        *,
        books: bool = True,
    ) -> None:
        """Begin to count.

        Args:
            store: the database.
            run_id: the run.
            round_index: the round.
            stage: the stage; ``begin`` writes its row.
            actor: whose tokens and time are counted; None: wall time only.
            books: False where the work is not part of the stage, such as another evaluation of a
                round that is finished. The row then stays as it is.
        """
        self.store = store
        self.run_id = run_id
        self.round = round_index
        self.stage: StageName = stage
        self.books = books
        self._actor = actor
        self._usage = copy.copy(actor.usage) if actor else None
        self._since = time.monotonic()

    def begin(self) -> None:
        """Record that the stage has begun; a stage that was cut goes on."""
        if self.books:
            runs.stage_started(self.store, self.run_id, self.round, self.stage)

    @contextmanager
    def commit(self) -> Generator[None]:
        """A transaction for a finished group of work, its cost included.

        Raises:
            StoreError: the database cannot be written.
        """
        with self.store.atomic():
            yield
            self.book()

    def book(self) -> None:
        """Add what was spent since the last booking; call it where work is committed."""
        if self.books:
            runs.add_stage_usage(
                self.store, self.run_id, self.round, self.stage, **self._unbooked()
            )

    def restart_clock(self) -> None:
        """Count time from now on: what has passed since the last booking was another's."""
        self._since = time.monotonic()

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Record that the stage is finished.

        Args:
            summary: its counts; JSON types.
        """
        if self.books:
            runs.stage_finished(
                self.store,
                self.run_id,
                self.round,
                self.stage,
                summary=summary,
                **self._unbooked(),
            )

    def _unbooked(self) -> dict[str, Any]:
        """Keyword arguments for the store: what was spent since the last call."""
        now = time.monotonic()
        spent: dict[str, Any] = {"wall_s": now - self._since}
        if self._actor is not None and self._usage is not None:
            usage = copy.copy(self._actor.usage)
            spent["usage"] = runs.usage_since(self._usage, usage)
            self._usage = usage
        self._since = now
        return spent
