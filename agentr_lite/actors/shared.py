"""What several actors use and one of them loaded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from agentr_lite.actors.base import Actor

A = TypeVar("A", bound=Actor)


class Shared(ABC):
    """Counts its users, beginning with one; the last one to leave frees it."""

    def __init__(self) -> None:
        self._users = 1

    def join(self) -> None:
        """Let another user in."""
        self._users += 1

    def leave(self) -> None:
        """One user less, who must have let go of whatever points in here."""
        self._users -= 1
        if not self._users:
            self._free()

    @abstractmethod
    def _free(self) -> None:
        """Free what was loaded."""


def open_beside(shared: Shared, open_actor: Callable[[], A], adapter: Path | None) -> A:
    """Another actor over ``shared``, with an adapter of its own.

    Args:
        shared: joined for the new actor, which leaves it when it is closed.
        open_actor: makes the actor.
        adapter: as for ``Actor.use_adapter``.

    Raises:
        ModelError: the actor or the adapter does not load; nothing is left behind.
    """
    shared.join()
    try:
        actor = open_actor()
    except BaseException:
        shared.leave()
        raise
    try:
        actor.use_adapter(adapter)
    except BaseException:
        actor.close()
        raise
    return actor
