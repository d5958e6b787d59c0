"""Weights that several actors share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from agentr_lite.actors.base import Actor

A = TypeVar("A", bound=Actor)


class Shared(ABC):
    """Counts its users, starting with one; it is freed when the last user leaves."""

    def __init__(self) -> None:
        self._users = 1

    def join(self) -> None:
        """Add a user."""
        self._users += 1

    def leave(self) -> None:
        """Remove a user, which must no longer use anything that was loaded here."""
        self._users -= 1
        if not self._users:
            self._free()

    @abstractmethod
    def _free(self) -> None:
        """Free everything that was loaded."""


def open_beside(shared: Shared, open_actor: Callable[[], A], adapter: Path | None) -> A:
    """Open another actor over ``shared``, with its own adapter.

    Args:
        shared: the new actor becomes one of its users, until it is closed.
        open_actor: makes the actor.
        adapter: as for ``Actor.use_adapter``.

    Raises:
        ModelError: the actor or the adapter cannot be loaded; everything is freed again.
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
