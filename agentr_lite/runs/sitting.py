"""One process's turn at a run: what it spends, when that is on record, and how it ends.

A stage may take several sittings. What a sitting did is booked in the transaction that commits it,
so that a cut stage knows what its committed part cost and its repeated part is paid for once.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from agentr_lite.actors.base import Actor
from agentr_lite.core.errors import AgentrError, StoreError
from agentr_lite.store import Store, runs
from agentr_lite.store.records import Stage


class Sitting:
    """One sitting at one stage; counts from its making.

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
        stage: Stage,
        actor: Actor | None = None,
        *,
        books: bool = True,
    ) -> None:
        """Begin to count.

        Args:
            store: the database.
            run_id: the run.
            round_index: the round.
            stage: the stage; ``begin`` puts it on record.
            actor: whose tokens and time are counted; None: wall time alone.
            books: off where the work is no part of the stage, such as another evaluation of a
                round that is through.
        """
        self.store = store
        self.run_id = run_id
        self.round = round_index
        self.stage: Stage = stage
        self.books = books
        self._actor = actor
        self._usage = copy.copy(actor.usage) if actor else None
        self._since = time.monotonic()

    def begin(self) -> None:
        """Put the stage on record as begun; one that was cut goes on."""
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
        """Add what was spent since the last time to the stage; call it where work is committed."""
        if self.books:
            runs.add_stage_usage(
                self.store, self.run_id, self.round, self.stage, **self._unbooked()
            )

    def resume(self) -> None:
        """Forget the time since the last booking: somebody else's turn took it."""
        self._since = time.monotonic()

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Put the stage on record as done.

        Args:
            summary: its counts; JSON types.
        """
        if self.books:
            runs.stage_finished(
                *(self.store, self.run_id, self.round, self.stage),
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


@contextmanager
def recorded_status(
    store: Store, run_id: str, *, applies: Callable[[], bool] = lambda: True
) -> Generator[None]:
    """Leave a run with the status that the block's end gives it.

    ``finished`` at its end, ``interrupted`` where the user stopped it, ``failed`` with the reason
    otherwise; the exception goes on.

    Args:
        store: the database.
        run_id: the run.
        applies: asked at the end: whether the run's status is this block's to change.
    """
    try:
        yield
    except (KeyboardInterrupt, BrokenPipeError):
        # The latter: whoever read the narration has gone.
        if applies():
            runs.set_run_status(store, run_id, "interrupted")
        raise
    except StoreError:
        # A database that cannot be written cannot record why, either.
        raise
    except Exception as error:
        known = isinstance(error, AgentrError)
        message = str(error) if known else f"{type(error).__name__}: {error}"
        if applies():
            runs.set_run_status(store, run_id, "failed", error=message)
        raise
    if applies():
        runs.set_run_status(store, run_id, "finished")
