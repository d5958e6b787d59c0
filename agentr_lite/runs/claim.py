"""One process works on a run at a time: a lock that ends with the process, however it ends."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agentr_lite.console.streams import warn
from agentr_lite.core.errors import HeldError

if TYPE_CHECKING:
    from agentr_lite.store import Store

LOCK_FILE = "lock"


def is_claimed(store: Store, run_id: str) -> bool:
    """Whether a process holds a run now; False where that cannot be found out.

    Args:
        store: the database that holds the run.
        run_id: the run.
    """
    from agentr_lite.core.config import artifacts_dir

    path = artifacts_dir(store.path, run_id) / LOCK_FILE
    try:
        import fcntl

        with path.open("r", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        # Never held, no POSIX system, or a file system without locks.
        return False
    return False


@contextmanager
def claimed(store: Store, run_id: str, what: str = "") -> Generator[None]:
    """Hold a run while the block works on it.

    Two processes on the same run would commit the same waves twice. The operating system locks a
    file beside the run's adapters, so that even ``kill -9`` releases the run.

    Args:
        store: the database that holds the run.
        run_id: the run, or the name of what else is held, such as a study.
        what: its name in messages; default: the run.

    Raises:
        HeldError: another process works on it.
    """
    from agentr_lite.core.config import artifacts_dir

    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield
        return
    folder = artifacts_dir(store.path, run_id)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read(20).strip()
            raise HeldError(
                f"another process{f' ({owner})' if owner.isdigit() else ''} is working on"
                f" {what or f'run {run_id}'}",
                hint="Wait for it, or stop it with Ctrl-C where it runs.",
            ) from None
        except OSError as error:
            # Some network file systems have no locks.
            warn(
                f"{what or f'run {run_id}'} cannot be locked ({error.strerror})",
                hint="Work on it only once.",
            )
        else:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield
