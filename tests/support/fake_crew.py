"""Workers in this process, which end when a test wants it; everything they are sent is pickled."""

from __future__ import annotations

import itertools
import pickle
import random
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import pytest

from agentr_lite.scale import choice as choices
from agentr_lite.scale import ray_crew
from agentr_lite.scale.choice import WorkerChoice
from agentr_lite.scale.crew import Call, Crew, WorkerGone, WorkerLost
from agentr_lite.scale.worker import Job, Worker


class FakeCrew(Crew):
    """Does calls when they are waited for, a random worker's next one first.

    Attributes:
        deaths: how many workers may still end, each before or after a wave.
        gone: whether a worker that ends is not started again.
        sent: parts of files that were put in the store.
        waves: how many waves were done or lost.
        ahead: the most calls that were on their way at a time.
        closed: whether ``close`` was called.
    """

    def __init__(
        self, job: Job, choice: WorkerChoice, *, seed: int = 0, deaths: int = 0, gone: bool = False
    ) -> None:
        self.size = choice.workers or 2
        self.deaths, self.gone = deaths, gone
        self.sent: list[bytes] = []
        self.waves = self.ahead = 0
        self.closed = False
        self._job = pickle.dumps(job)
        self._random = random.Random(seed)
        self._numbers = itertools.count()
        self._workers = [self._started() for _ in range(self.size)]
        self._queues: list[deque[tuple[int, str, bytes]]] = [deque() for _ in self._workers]
        self._over: dict[int, Any] = {}
        self._is_gone = [False] * self.size

    def _started(self) -> Worker:
        return Worker(pickle.loads(self._job), lambda part: self.sent[part])

    def ready(self, worker: int, *arguments: Any) -> Call:
        return self._called(worker, "ready", arguments)

    def perform(self, worker: int, *arguments: Any) -> Call:
        return self._called(worker, "perform", arguments)

    def _called(self, worker: int, method: str, arguments: Sequence[Any]) -> int:
        call = next(self._numbers)
        self._queues[worker].append((call, method, pickle.dumps(arguments)))
        self.ahead = max(self.ahead, sum(map(len, self._queues)))
        return call

    def wait(self, calls: Sequence[Call], timeout_s: float) -> Sequence[Call]:
        while not (over := [call for call in calls if call in self._over]):
            self._do(self._random.choice([i for i, queue in enumerate(self._queues) if queue]))
        return over

    def _do(self, number: int) -> None:
        call, method, arguments = self._queues[number].popleft()
        is_wave = method == "perform"
        self.waves += is_wave
        dies = is_wave and self.deaths > 0 and self._random.random() < 0.5
        if self._is_gone[number]:
            self._over[call] = WorkerGone("it is gone")
            return
        if not dies or self._random.random() < 0.5:
            try:
                answer = getattr(self._workers[number], method)(*pickle.loads(arguments))
                self._over[call] = pickle.dumps(answer)
            except Exception as error:
                self._over[call] = pickle.loads(pickle.dumps(error))
        if dies:
            self.deaths -= 1
            self._workers[number] = self._started()
            self._is_gone[number] = self.gone
            self._over[call] = (WorkerGone if self.gone else WorkerLost)("a test killed it")

    def result(self, call: Call) -> Any:
        answer = self._over.pop(call)
        if isinstance(answer, Exception):
            raise answer
        return pickle.loads(answer)

    def put(self, content: bytes) -> Any:
        self.sent.append(content)
        return len(self.sent) - 1

    def close(self) -> None:
        self.closed = True
        for worker in self._workers:
            worker.close()


class FakeCluster:
    """Stands in for ``RayCluster``.

    Attributes:
        crews: that were made, in order.
    """

    def __init__(self, **arguments: Any) -> None:
        self.crews: list[FakeCrew] = []
        self._arguments = arguments

    def __enter__(self) -> FakeCluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert all(crew.closed for crew in self.crews)

    def crew(self, job: Job, choice: WorkerChoice) -> FakeCrew:
        self.crews.append(FakeCrew(job, choice, **self._arguments))
        return self.crews[-1]

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
        """Let ``--executor ray`` be this one."""
        monkeypatch.setattr(choices, "find_spec", lambda name: True)
        monkeypatch.setattr(ray_crew, "RayCluster", lambda choice: self)
        return self
