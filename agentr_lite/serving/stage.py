"""The sessions of a server: their states, and one thread that carries out all their calls.

A connection's thread hands its call to the stage and waits. The stage carries out one call at a
time, in the main thread: environments need not be safe for threads, and their time limit, which
needs a signal, holds.

    connection A --- step ---+
    connection B --- reset --+--> queue --> stage (main thread) --> environments
    connection C --- step ---+
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Any, TypeVar

from agentr_lite.agent.boundary import environment_boundary, guarded_reset, guarded_step
from agentr_lite.core.errors import AgentrError
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment, Snapshot, StepResult
from agentr_lite.envs.wrappers import ReplayEnvironment

T = TypeVar("T")


class Ended(AgentrError):
    """The server is being stopped, so a call cannot be carried out."""


class TooMany(AgentrError):
    """All sessions are in use.

    Attributes:
        most: how many there may be.
    """

    def __init__(self, most: int) -> None:
        super().__init__(f"all {most} sessions are in use")
        self.most = most


NOTHING = StepResult("", 0.0, False, False, {})
"""The result before the first call."""


@dataclass(eq=False, slots=True)
class Session:
    """One client's episode. Only the stage's thread reads and writes it."""

    env: Environment
    task: Task | None = None
    """None before the first reset."""
    state: Snapshot = None
    """The state after the last call that succeeded."""
    steps: int = 0
    last: StepResult = NOTHING
    """The result of the last call; after a reset, its observation."""

    @property
    def over(self) -> bool:
        """Whether the episode has ended."""
        return self.last.terminated or self.last.truncated


class Stage:
    """The environments of one server.

    Environments that save their state are shared: a session is a snapshot. One that is replayed is
    made anew for each session, because sessions that take turns would replay all the time.

    Args:
        make: makes an environment.
        most: most sessions at the same time.
    """

    def __init__(self, make: Callable[[], Environment], most: int) -> None:
        self._make = make
        self._most = most
        self._env = make()
        self._shared = not isinstance(self._env, ReplayEnvironment)
        self._spare: list[Environment] = [self._env]
        self._on: dict[int, Session] = {}
        """By an environment's identity: the session whose state it is in."""
        self._sessions: set[Session] = set()
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = (
            queue.SimpleQueue()
        )
        self._ended = threading.Event()

    @property
    def env(self) -> Environment:
        """The first environment, for what does not depend on a session."""
        return self._env

    @property
    def most(self) -> int:
        """Most sessions at the same time."""
        return self._most

    def run(self) -> None:
        """Carry out calls in this thread until ``stop``, or until an interruption."""
        try:
            while (job := self._jobs.get()) is not None:
                future, work = job
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    future.set_result(work())
                except Exception as error:
                    future.set_exception(error)
                except BaseException:
                    future.set_exception(Ended("the server was stopped"))
                    raise
        finally:
            self._ended.set()
            self._refuse_rest()

    def stop(self) -> None:
        """Let ``run`` return after the calls that wait."""
        self._jobs.put(None)

    def call(self, work: Callable[[], T]) -> T:
        """Carry out ``work`` in the stage's thread; any other thread may call this.

        Raises:
            Ended: the stage has been stopped.
            Exception: whatever ``work`` raises.
        """
        future: Future[T] = Future()
        self._jobs.put((future, work))
        if self._ended.is_set():
            self._refuse_rest()
        try:
            return future.result()
        except CancelledError:
            raise Ended("the server was stopped") from None

    def _refuse_rest(self) -> None:
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is not None:
                job[0].cancel()

    # The rest runs in the stage's thread, as the work of a call.

    def open(self) -> Session:
        """A new session.

        Raises:
            TooMany: there are as many as there may be.
            AgentrError: its environment cannot be made.
        """
        if len(self._sessions) >= self._most:
            raise TooMany(self._most)
        if self._shared:
            session = Session(self._env)
        else:
            session = Session(self._spare.pop() if self._spare else self._make())
        self._sessions.add(session)
        return session

    def end(self, session: Session) -> None:
        """Forget a session; its environment is kept for another one."""
        if session not in self._sessions:
            return
        self._sessions.remove(session)
        if not self._shared:
            self._spare.append(session.env)

    def reset(self, session: Session, task: Task, seed: int = 0) -> StepResult:
        """Begin a task.

        Raises:
            AgentrError: the environment fails, or does not know the task.
        """
        env = session.env
        self._on.pop(id(env), None)
        observation = guarded_reset(env, task, seed=seed)
        session.task, session.steps = task, 0
        session.last = StepResult(observation, 0.0, False, False, {})
        self._keep(session)
        return session.last

    def step(self, session: Session, action: str) -> StepResult:
        """Carry out an action in the session's state.

        Raises:
            EnvironmentFault: the environment fails; the session stays in its state.
        """
        env = self.entered(session)
        self._on.pop(id(env), None)
        session.last = guarded_step(env, action)
        session.steps += 1
        self._keep(session)
        return session.last

    def entered(self, session: Session) -> Environment:
        """The session's environment, in the session's state.

        Raises:
            EnvironmentFault: the state cannot be restored.
        """
        env = session.env
        if self._on.get(id(env)) is not session:
            with environment_boundary(env, "restore()"):
                env.restore(session.state)
            self._on[id(env)] = session
        return env

    def _keep(self, session: Session) -> None:
        with environment_boundary(session.env, "snapshot()"):
            session.state = session.env.snapshot()
        self._on[id(session.env)] = session

    def environments(self) -> list[Environment]:
        """All environments that were made, to be closed at the end."""
        return list(
            {
                id(env): env
                for env in (self._env, *self._spare, *(session.env for session in self._sessions))
            }.values()
        )
