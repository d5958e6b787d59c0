"""An environment behind a server, in another thread of the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agentr_lite.serving.serve import Protocol, serve
from agentr_lite.serving.stage import Stage

WAIT_S = 120.0


@contextmanager
def served(
    name: str, protocol: Protocol, *, port: int = 0, sessions: int = 64, **settings: Any
) -> Iterator[str]:
    """Serve an environment; gives the server's address."""
    address: list[str] = []
    stages: list[Stage] = []
    errors: list[BaseException] = []
    listens = threading.Event()

    def ready(url: str, stage: Stage) -> None:
        address.append(url)
        stages.append(stage)
        listens.set()

    def work() -> None:
        try:
            serve(
                name,
                settings,
                protocol,
                host="127.0.0.1",
                port=port,
                sessions=sessions,
                ready=ready,
            )
        except BaseException as error:
            errors.append(error)
        finally:
            listens.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert listens.wait(WAIT_S)
    if errors:
        raise errors[0]
    try:
        yield address[0]
    finally:
        stages[0].stop()
        thread.join(WAIT_S)
    assert not errors
