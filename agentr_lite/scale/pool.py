"""Hands waves out to workers and gives their rows back in order.

    jobs ──▶ handed out, at most WINDOW × workers ahead of what was given back
               │          ▲
               │          └── a worker that ended: its wave is handed out again
               ▼
             rows, kept until it is their turn ──▶ the stage, in the order of the jobs

Who computed a wave, when, and how often leaves no trace in its rows.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentr_lite.console.streams import say, warn
from agentr_lite.core.errors import AgentrError
from agentr_lite.runs.stages.waves import Wave
from agentr_lite.scale.bundle import Bundle, parts_of
from agentr_lite.scale.crew import Call, Crew, WorkerGone, WorkerLost
from agentr_lite.scale.worker import Done, Missing, Ready

WINDOW = 2
"""Waves on their way or waiting for their turn, for each worker; they take memory here."""
MOST_LOSSES = 10
"""A wave that has ended so many workers is not tried again: it may be why they end."""
PATIENCE_S = 60.0
"""After this time without any worker, a warning says that there is none."""


@dataclass(frozen=True, slots=True)
class Order:
    """A wave, and what the model wears for it."""

    wave: Wave[Any]
    adapter: Bundle | None


class Pool:
    """A crew whose workers have opened the same model.

    Attributes:
        ready: what each worker said when it was ready, by its number.
        losses: how often a worker has ended.
    """

    def __init__(self, crew: Crew) -> None:
        """
        Args:
            crew: its workers have opened nothing yet.
        """
        self._crew = crew
        self._stock: dict[str, Sequence[Any]] = {}
        self._bundles: list[Bundle] = []
        self._idle: deque[int] = deque()
        self._starting: dict[Call, int] = {}
        self._shown = ""
        self._last_loss = ""
        self.ready: dict[int, Ready] = {}
        self.losses = 0

    def open(self, bundles: Sequence[Bundle]) -> None:
        """Wait until every worker is ready: what one of them lacks is known before the work.

        Args:
            bundles: files that are sent to workers that do not have them.

        Raises:
            AgentrError: a worker cannot open the model or an environment, or all workers are gone.
        """
        self._bundles += bundles
        for worker in range(self._crew.size):
            self._start(worker)
        while self._starting:
            self._wait({})

    def send(self, bundle: Bundle) -> None:
        """Send files along with all later waves."""
        self._bundles.append(bundle)
        self._supply(file.sha256 for file in bundle.files)

    def withdraw(self, bundle: Bundle) -> None:
        """Keep files no longer that only ``bundle`` has."""
        self._bundles.remove(bundle)
        kept = {file.sha256 for other in self._bundles for file in other.files}
        for file in bundle.files:
            if file.sha256 not in kept:
                self._stock.pop(file.sha256, None)

    def compute(self, orders: Iterable[Order]) -> Iterator[Done]:
        """Have waves done.

        Args:
            orders: read as far ahead as the window allows.

        Returns:
            What each gave, in order.

        Raises:
            AgentrError: a worker failed in a way that would come again, a wave has ended too many
                workers, or all workers are gone.
        """
        source = enumerate(orders)
        again: list[tuple[int, Order]] = []
        at_work: dict[Call, tuple[int, int, Order]] = {}
        finished: dict[int, Done] = {}
        lost: Counter[int] = Counter()
        given = 0
        is_read = False
        try:
            while True:
                while self._idle:
                    if again:
                        index, order = heapq.heappop(again)
                    elif is_read or len(at_work) + len(finished) >= WINDOW * self._crew.size:
                        break
                    elif (following := next(source, None)) is not None:
                        index, order = following
                    else:
                        is_read = True
                        break
                    worker = self._idle.popleft()
                    call = self._crew.perform(worker, order.wave, order.adapter, self._stock)
                    at_work[call] = (worker, index, order)
                if given in finished:
                    # Workers that have become idle meanwhile get work before the next wait.
                    yield finished.pop(given)
                    given += 1
                    continue
                if is_read and not at_work and not again:
                    return
                for call in self._wait(at_work):
                    worker, index, order = at_work.pop(call)
                    answer = self._answer(call, worker, index, lost)
                    if isinstance(answer, Done):
                        finished[index] = answer
                    else:
                        heapq.heappush(again, (index, order))
        finally:
            # Only after an error or an interrupt: these workers still do what nobody waits for.
            for worker, _, _ in at_work.values():
                self._start(worker)

    def _answer(self, call: Call, worker: int, index: int, lost: Counter[int]) -> Done | None:
        """A wave's result; None: it has to be done again."""
        try:
            answer = self._crew.result(call)
        except WorkerLost as error:
            self._note(error)
            lost[index] += 1
            if lost[index] >= MOST_LOSSES:
                raise AgentrError(
                    f"{lost[index]} workers have ended while they did the same wave: {error}",
                    hint="It may take more memory than there is: fewer or larger workers, or a"
                    " smaller search.wave or eval.batch. What was finished is kept.",
                ) from None
            say(f"a worker has ended ({error}); its wave is done again")
            if not isinstance(error, WorkerGone):
                self._start(worker)
            return None
        self._idle.append(worker)
        if isinstance(answer, Missing):
            self._supply(answer.sha256s)
            return None
        done: Done = answer
        return done

    def _note(self, error: WorkerLost) -> None:
        self.losses += 1
        self._last_loss = str(error)

    def _start(self, worker: int) -> None:
        self._starting[self._crew.ready(worker, self._stock)] = worker

    def _wait(self, at_work: Mapping[Call, Any]) -> list[Call]:
        """Wait until something is over; returns what is over of ``at_work``."""
        waiting = [*at_work, *self._starting]
        if not waiting and not self._idle:
            raise AgentrError(
                f"all workers are gone; the last: {self._last_loss}",
                hint="What was finished is kept; give the command again once there are some.",
            )
        over = self._crew.wait(waiting, PATIENCE_S)
        if not over and not at_work and not self._idle:
            warn("no worker is there; waiting for one to be started")
        for call in over:
            if call not in at_work:
                self._welcome(self._starting.pop(call), call)
        return [call for call in over if call in at_work]

    def _welcome(self, worker: int, call: Call) -> None:
        """Take in a worker that has said that it is ready."""
        try:
            answer = self._crew.result(call)
        except WorkerGone as error:
            self._note(error)
            say(f"a worker has ended ({error}) and will not be started again")
            return
        except WorkerLost:
            self._start(worker)
            return
        if isinstance(answer, Missing):
            self._supply(answer.sha256s)
            self._start(worker)
            return
        self.ready[worker] = answer
        self._idle.append(worker)
        self._compare(answer)

    def _compare(self, answer: Ready) -> None:
        """Warn of the first worker whose model is computed in another way.

        Raises:
            AgentrError: it has another model.
        """
        first = next(iter(self.ready.values()))
        places = {"path"}
        differs = [
            key
            for key in {**first.description, **answer.description}
            if key not in places and first.description.get(key) != answer.description.get(key)
        ]
        if not differs or answer.host == self._shown:
            return
        self._shown = answer.host
        warn(
            f"the workers on {first.host} and {answer.host} differ in {', '.join(sorted(differs))}",
            hint="Their last digits may differ, which can decide near ties: the results then depend"
            " on who does which wave. agent.deterministic does not change that.",
        )

    def _supply(self, sha256s: Iterable[str]) -> None:
        """Put files into the stock."""
        for sha256 in sha256s:
            if sha256 in self._stock:
                continue
            bundle = next(
                each for each in self._bundles if sha256 in [file.sha256 for file in each.files]
            )
            self._stock[sha256] = [self._crew.put(part) for part in parts_of(bundle.source(sha256))]
