"""What ``--executor`` and its companions ask for, before anything is started."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec

from agentr_lite.core.errors import UsageError

HERE = "here"
"""Waves are done in this process."""
_RAY = "ray"


@dataclass(frozen=True, slots=True)
class WorkerChoice:
    """Where waves are done, and by how many workers. Nothing here changes a recipe."""

    executor: str = HERE
    """``here``, ``ray`` or ``ray:ADDRESS``."""
    workers: int | None = None
    """None: as many as the cluster has room for."""
    threads: int = 1
    """CPU threads of each worker."""
    gpus: float = 0.0
    """GPUs of each worker; a fraction shares one."""

    @property
    def is_here(self) -> bool:
        """Whether no worker is wanted."""
        return self.executor == HERE

    @property
    def address(self) -> str:
        """Of the cluster; empty: RAY_ADDRESS, else a new one on this machine."""
        return self.executor.partition(":")[2]

    def checked(self) -> WorkerChoice:
        """This choice.

        Raises:
            UsageError: the executor is unknown or not installed, or there are settings of workers
                without an executor that has any.
        """
        if self.is_here:
            if self != WorkerChoice():
                raise UsageError(
                    "--workers, --worker-threads and --worker-gpus go with --executor ray",
                    hint="Add --executor ray, or leave them out.",
                )
            return self
        kind, colon, address = self.executor.partition(":")
        if kind != _RAY or (colon and not address):
            raise UsageError(
                f"there is no executor '{self.executor[:40]}'",
                hint="Give here, ray, or ray:ADDRESS with the address of a cluster's head.",
            )
        if not math.isfinite(self.gpus):
            raise UsageError(
                "--worker-gpus is not a number", hint="Give 1, or 0.5 for half of one."
            )
        if find_spec("ray") is None:
            raise UsageError(
                "--executor ray needs Ray, which is not installed",
                hint="pip install 'agentr-lite[ray]'",
            )
        return self

    def words(self) -> list[str]:
        """The options that ask for the same again."""
        if self.is_here:
            return []
        words = ["--executor", self.executor]
        words += ["--workers", str(self.workers)] if self.workers is not None else []
        words += ["--worker-threads", str(self.threads)] if self.threads != 1 else []
        words += ["--worker-gpus", f"{self.gpus:g}"] if self.gpus else []
        return words
