"""The status that a run is left with, however the work on it ends."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from agentr_lite.core.errors import AgentrError, StoreError
from agentr_lite.store import Store, runs


@contextmanager
def recorded_status(
    store: Store, run_id: str, *, applies: Callable[[], bool] = lambda: True
) -> Generator[None]:
    """Leave a run with the status that the end of the block gives it.

    ``finished`` where the block ends, ``interrupted`` where the user stopped it, ``failed`` with
    the reason otherwise. Exceptions are passed on.

    Args:
        store: the database.
        run_id: the run.
        applies: called at the end: whether this block may change the run's status.
    """
    try:
        yield
    except (KeyboardInterrupt, BrokenPipeError):
        # A broken pipe: the reader of the narration has gone.
        if applies():
            runs.set_run_status(store, run_id, "interrupted")
        raise
    except StoreError:
        # A database that cannot be written cannot record the reason either.
        raise
    except Exception as error:
        known = isinstance(error, AgentrError)
        message = str(error) if known else f"{type(error).__name__}: {error}"
        if applies():
            runs.set_run_status(store, run_id, "failed", error=message)
        raise
    if applies():
        runs.set_run_status(store, run_id, "finished")
