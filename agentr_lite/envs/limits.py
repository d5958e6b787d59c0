"""A time limit on an environment's code."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from agentr_lite.core.errors import EnvironmentFault

_AGAIN_S = 1.0


class _Expired(BaseException):
    """Not an ``Exception``: the code that takes too long must not take it for one of its own."""


@contextmanager
def time_limit(seconds: float, env: str, call: str) -> Generator[None]:
    """Cut the block off after ``seconds``.

    What stops is Python code, a sleep, or a wait for a socket or a process; a library's own
    machine code runs on until it returns. Limits hold in the main thread only, where signals
    arrive, and do not nest.

    Args:
        seconds: 0 = no limit.
        env: whose code it is, for the message.
        call: what is called, for the message.

    Raises:
        EnvironmentFault: the time was up.
    """
    if seconds <= 0 or threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(number: int, frame: FrameType | None) -> None:
        raise _Expired

    before = signal.signal(signal.SIGALRM, expire)
    try:
        # Repeated, in case the first one ends in code that drops every exception.
        signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _Expired:
        raise EnvironmentFault(
            env,
            f"{call} took longer than {seconds:g} s and was cut off",
            hint="`--set env_options.time_limit_s=SECONDS` changes the limit; 0 lifts it.",
        ) from None
    finally:
        signal.signal(signal.SIGALRM, before)
