"""Asks the critic about trees that were never solved, in a thread: one tree at a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from agentr_lite.core.errors import AgentrError
from agentr_lite.store.records import JudgementRow


class Answer(Protocol):
    """What the critic said of one tree."""

    @property
    def judgements(self) -> Sequence[JudgementRow]:
        """Its verdicts."""

    @property
    def note(self) -> str:
        """Why the database does not hold them; empty: it does."""


Ask = Callable[[int, Callable[[str], None], Callable[[], bool]], Answer | None]
"""Judges a tree: (tree, is told what is done now, whether it is cancelled) to the answer, or None
if it was cancelled. Loads the model once. May raise an ``AgentrError``."""


class CriticDesk:
    """Keeps what was asked and answered; the screens look at it when it has changed.

    Attributes:
        asking: the tree that the critic is asked about now; None: none.
        doing: what is done for it, in a few words.
        answers: by tree, those of this session.
        problems: by tree, why it could not be asked the last time.
    """

    def __init__(self, ask: Ask, on_change: Callable[[int], None]) -> None:
        """
        Args:
            ask: always called in the same thread, as some models must not change theirs.
            on_change: called in that thread with the tree that something is new about.
        """
        self._ask = ask
        self._on_change = on_change
        self._orders: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._cancelled = threading.Event()
        self._is_closed = False
        self.asking: int | None = None
        self.doing = ""
        self.answers: dict[int, Answer] = {}
        self.problems: dict[int, Exception] = {}

    def start(self, tree_id: int) -> None:
        """Ask about a tree; nothing else may be asked now."""
        self._cancelled.clear()
        self.problems.pop(tree_id, None)
        self.asking, self.doing = tree_id, "begins"
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        self._orders.put(tree_id)

    def cancel(self) -> None:
        """Ask no further; what is computed now is waited for."""
        self._cancelled.set()
        self.doing = "ends after this step"

    def close(self) -> threading.Thread | None:
        """End the thread; returns it if it still computes."""
        self._is_closed = True
        self._cancelled.set()
        self._orders.put(None)
        return self._thread if self._thread is not None and self._thread.is_alive() else None

    def _work(self) -> None:
        while (tree_id := self._orders.get()) is not None:
            try:
                answer = self._ask(tree_id, self._say, self._cancelled.is_set)
                if answer is not None:
                    self.answers[tree_id] = answer
            except Exception as error:
                self.problems[tree_id] = error
            self.asking = None
            self._changed(tree_id)

    def _say(self, doing: str) -> None:
        if self.asking is not None and not self._cancelled.is_set():
            self.doing = doing
            self._changed(self.asking)

    def _changed(self, tree_id: int) -> None:
        # The application has ended: nobody looks any more.
        if not self._is_closed:
            self._on_change(tree_id)


def problem_text(problem: Exception) -> str:
    """A problem and what to do about it, in a sentence or two.

    Raises:
        Exception: the problem, if it is nothing that the user can mend.
    """
    if not isinstance(problem, AgentrError):
        raise problem
    return f"{problem.message}. {problem.hint}" if problem.hint else problem.message
