"""Workers as Ray actors. Ray places them, starts them again, and has the object store."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from agentr_lite.core.errors import AgentrError, UsageError
from agentr_lite.runs.stages.waves import Wave
from agentr_lite.scale.bundle import Bundle, Stock
from agentr_lite.scale.choice import WorkerChoice
from agentr_lite.scale.crew import Call, Crew, WorkerGone, WorkerLost
from agentr_lite.scale.worker import Done, Job, Missing, Ready, Worker

_START_MS = "120000"
"""How long the parts of a cluster of our own may take to start."""
_KNOCK_S = 10.0
"""How long a machine may take to accept a connection."""


class RayCluster:
    """A connection to a cluster; without an address, a cluster on this machine for as long."""

    def __init__(self, choice: WorkerChoice) -> None:
        self._choice = choice
        self._is_open = False

    def __enter__(self) -> RayCluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_open:
            import ray

            ray.shutdown()

    def crew(self, job: Job, choice: WorkerChoice) -> RayCrew:
        """Start the workers of a job; connects to the cluster at the first call.

        Raises:
            AgentrError: the cluster does not answer.
            UsageError: it has no room for the workers.
        """
        if not self._is_open:
            self._connect()
            self._is_open = True
        return RayCrew(job, choice, self._workers())

    def _connect(self) -> None:
        # Otherwise a cluster of our own would report to Ray's makers over the network.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        address = self._choice.address or os.environ.get("RAY_ADDRESS") or "local"
        more: dict[str, Any] = {}
        if address == "local":
            # On a busy machine, Ray's own limit for its start (30 s) is too short.
            os.environ.setdefault("RAY_agent_register_timeout_ms", _START_MS)
            more["include_dashboard"] = False
            if self._choice.workers is not None:
                wanted = self._choice.workers * self._choice.threads
                more["num_cpus"] = max(wanted, os.cpu_count() or 1)
        else:
            _knock(address)
        import ray

        is_main = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **more)
        except Exception as error:
            # Ray raises plain exceptions, too, such as where its own parts start too slowly.
            raise _no_answer(address, error) from error
        finally:
            if is_main:
                # Ray's own handler would end this process without a word of how to go on.
                signal.signal(signal.SIGTERM, before)

    def _workers(self) -> int:
        """How many workers to start.

        Raises:
            UsageError: the cluster has no room for them.
        """
        import ray

        choice, room = self._choice, ray.cluster_resources()
        most = int(room.get("CPU", 0) // choice.threads)
        if choice.gpus:
            most = min(most, int(room.get("GPU", 0) / choice.gpus + 1e-6))
        wanted = choice.workers or most
        if wanted < 1 or wanted > most:
            raise UsageError(
                f"the cluster has room for {most} workers with {choice.threads} CPUs"
                f" and {choice.gpus:g} GPUs each",
                hint="Ask for fewer with --workers, or for smaller ones with --worker-threads and"
                " --worker-gpus.",
            )
        return wanted


def _knock(address: str) -> None:
    """Raise an error where nothing listens: Ray itself would try again for minutes.

    Args:
        address: ``HOST:PORT``, a URL, or a word such as ``auto``, which is left to Ray.

    Raises:
        AgentrError: nothing listens there.
    """
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:  # Ray says what is wrong with it.
        return
    if not host or port is None:
        return
    try:
        socket.create_connection((host, port), timeout=_KNOCK_S).close()
    except OSError as error:
        raise _no_answer(address, error) from error


def _no_answer(address: str, error: Exception) -> AgentrError:
    return AgentrError(
        f"Ray does not answer at '{address}': {_line(error, 0)}",
        hint="`ray status` on the cluster's head says whether it runs. A cluster that was"
        " started with a token needs RAY_AUTH_MODE=token and the token here, too.",
    )


class RayCrew(Crew):
    """The actors of one job."""

    def __init__(
        self, job: Job, choice: WorkerChoice, size: int, *, worker: type[Any] | None = None
    ) -> None:
        """Ask Ray for the actors.

        Args:
            job: what they work on.
            choice: how large they are.
            size: how many.
            worker: what does the waves, made with ``job``; default: ``RayWorker``.
        """
        import ray

        self.size = size
        # Some kernels' threads spin while they wait, which takes the cores from other workers.
        kind = ray.remote(worker or RayWorker).options(
            num_cpus=choice.threads,
            num_gpus=choice.gpus,
            max_restarts=-1,
            runtime_env={"env_vars": {"OMP_WAIT_POLICY": "passive"}},
        )
        self._actors = [kind.remote(job) for _ in range(size)]

    def ready(self, worker: int, *arguments: Any) -> Call:
        call = self._actors[worker].ready.options(max_task_retries=-1)
        return call.remote(*arguments)

    def perform(self, worker: int, *arguments: Any) -> Call:
        call = self._actors[worker].perform.options(max_task_retries=0)
        return call.remote(*arguments)

    def wait(self, calls: Sequence[Call], timeout_s: float) -> Sequence[Call]:
        import ray

        over, rest = ray.wait(list(calls), num_returns=1, timeout=timeout_s)
        if rest:
            more, _ = ray.wait(rest, num_returns=len(rest), timeout=0)
            over += more
        return over

    def result(self, call: Call) -> Any:
        import ray
        from ray import exceptions

        try:
            return ray.get(call)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, AgentrError):
                raise error.cause from None
            if isinstance(error.cause, exceptions.ObjectLostError):
                # A part of a file that was kept on a node that is gone.
                raise WorkerLost(type(error.cause).__name__) from None
            raise
        except exceptions.ActorDiedError as error:
            # The last line has what its start failed with, e.g. that there is no agentr_lite.
            raise WorkerGone(_line(error, -1)) from None
        except (
            exceptions.RayActorError,
            exceptions.ObjectLostError,
            exceptions.OutOfMemoryError,
            exceptions.NodeDiedError,
            exceptions.WorkerCrashedError,
        ) as error:
            # Its text is about sockets; Ray's logs have the rest.
            raise WorkerLost(type(error).__name__) from None

    def put(self, content: bytes) -> Any:
        import ray

        return ray.put(content)

    def close(self) -> None:
        import ray

        for actor in self._actors:
            ray.kill(actor)


class RayWorker:
    """A worker behind Ray's calls."""

    def __init__(self, job: Job) -> None:
        import ray

        self._worker = Worker(job, ray.get)

    def ready(self, stock: Stock) -> Ready | Missing:
        """See ``Worker``."""
        return self._worker.ready(stock)

    def perform(self, wave: Wave[Any], adapter: Bundle | None, stock: Stock) -> Done | Missing:
        """See ``Worker``."""
        return self._worker.perform(wave, adapter, stock)


def _line(error: BaseException, number: int) -> str:
    """A line of an error's text, or its kind where it has none."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[number].strip()[:200] if lines else type(error).__name__
