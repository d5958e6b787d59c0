"""What a pool needs of whoever starts the workers and calls them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

Call = Any
"""A call on its way; hashable."""


class WorkerLost(Exception):
    """A call's worker ended before it answered; the text says what is known of that."""


class WorkerGone(WorkerLost):
    """The same, and nobody will start the worker again."""


class Crew(ABC):
    """Workers by number, from 0. Whoever starts them starts them again where they end.

    A worker does one call after the other, in order.
    """

    size: int
    """How many workers there are."""

    @abstractmethod
    def ready(self, worker: int, *arguments: Any) -> Call:
        """Call ``Worker.ready``, again where the worker ends meanwhile, until it answers."""

    @abstractmethod
    def perform(self, worker: int, *arguments: Any) -> Call:
        """Call ``Worker.perform``, once."""

    @abstractmethod
    def wait(self, calls: Sequence[Call], timeout_s: float) -> Sequence[Call]:
        """The calls of ``calls`` that are over, as soon as there is one; none after the time."""

    @abstractmethod
    def result(self, call: Call) -> Any:
        """The answer to a call that is over.

        Raises:
            WorkerLost: there is none.
            AgentrError: what the worker raised.
        """

    @abstractmethod
    def put(self, content: bytes) -> Any:
        """Keep a part of a file where the workers can fetch it; returns its handle."""

    @abstractmethod
    def close(self) -> None:
        """End the workers."""
