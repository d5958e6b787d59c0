"""`agentr-lite` as a trial runs it: ``python -m tests.soak.stand_in CAST ARGUMENT...``.

The cast says what stands in: ``nothing``; ``corridor`` for the environments, the model and the
training of ``loop_case``; ``environments`` for the environments alone; ``hostile`` for a model and
environments whose texts are as bad as texts can be. Workers of a study get the same cast.

Environment variables:
    AGENTR_LITE_SOAK_READY: a file descriptor; a byte is written to it when the command begins.
    AGENTR_LITE_SOAK_KILL: SIGKILL comes before this SQL statement of the process (from 1).
    AGENTR_LITE_SOAK_COUNT: a file for the number of statements that the process executed.
    AGENTR_LITE_SOAK_TEXTS: the seed of the hostile texts.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agentr_lite import cli
from agentr_lite.envs import registry
from agentr_lite.store import Store
from agentr_lite.study.jobs import model_digests, pool, worker
from tests.support import corridor, loop_case

CASTS = ("nothing", "corridor", "environments", "hostile")
_OURS = "AGENTR_LITE_SOAK_"
_WORKER = "worker"


class Hall(corridor.Corridor):
    """The corridor under another name, so that a run can have two environments."""

    name = "hall"


def install(cast: str) -> None:
    """Put the stand-ins of a cast in place.

    Args:
        cast: one of ``CASTS``.
    """
    if cast == "nothing":
        return
    known = {
        **registry._BUILT_IN,
        "corridor": "tests.support.corridor:Corridor",
        "hall": "tests.soak.stand_in:Hall",
        "faulty": "tests.support.faulty_env:make",
        "hostile": "tests.soak.hostile_player:HostileCorridor",
    }
    if cast in ("corridor", "hostile"):
        make: Any = loop_case.Player
        if cast == "hostile":
            from tests.soak.hostile_player import HostilePlayer as make
        loop_case.install(setattr, make)
        model_digests.model_digest = lambda recipe: None
    registry._BUILT_IN = known
    program = (sys.executable, "-m", "tests.soak.stand_in", cast, _WORKER)
    pool.ProcessPool.__init__.__kwdefaults__["worker"] = program  # type: ignore[index]


def watch_statements() -> None:
    """Count this process's SQL statements; before the chosen one, it is killed."""
    last = int(os.environ.get(_OURS + "KILL", "0"))
    count = 0

    def before_statement(sql: str) -> None:
        nonlocal count
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)

    prepare = Store._prepare

    def watched(store: Store) -> None:
        store.db.conn.set_trace_callback(before_statement)
        prepare(store)

    Store._prepare = watched  # type: ignore[method-assign]
    if path := os.environ.get(_OURS + "COUNT"):
        atexit.register(lambda: Path(path).write_text(str(count)))


def tell_ready() -> None:
    """Tell whoever started this process when the command begins its work."""
    ready = os.environ.get(_OURS + "READY")
    if ready is None:
        return
    begin = cli._run

    def told(arguments: list[str]) -> int:
        os.write(int(ready), b".")
        os.close(int(ready))
        return begin(arguments)

    cli._run = told


def main(words: Sequence[str]) -> None:
    """See the module.

    Args:
        words: the cast, then the command's arguments.
    """
    cast, *arguments = words
    install(cast)
    watch_statements()
    if arguments == [_WORKER]:
        os.environ.pop(_OURS + "READY", None)
        line = worker.read_job()
        worker.stop_with_parent()
        sys.exit(worker.main(line))
    tell_ready()
    cli.main(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
