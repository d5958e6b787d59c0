"""A time limit on an environment's code."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from types import FrameType
from typing import Any

from agentr_lite.core.errors import EnvironmentFault

_AGAIN_S = 1.0
MOST_ITEMS = 1_000_000
"""Of a list that an environment gives; a longer one is taken for one without an end."""


class _Expired(BaseException):
    """Not an ``Exception``, so that the code that takes too long does not catch it."""


@contextmanager
def time_limit(seconds: float, env: str, call: str) -> Generator[None]:
    """Stop the block after ``seconds``.

    Python code, a sleep, and a wait for a socket or a process are interrupted; a library's machine
    code runs until it returns. Limits work only in the main thread, which receives signals. They
    cannot be nested.

    Args:
        seconds: 0 = no limit.
        env: name of the environment, for the message.
        call: the call, for the message.

    Raises:
        EnvironmentFault: the block took too long.
    """
    if seconds <= 0 or threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(number: int, frame: FrameType | None) -> None:
        raise _Expired

    before = signal.signal(signal.SIGALRM, expire)
    try:
        # The signal is repeated, in case the code suppresses the first exception.
        signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _Expired:
        raise EnvironmentFault(
            env,
            f"{call} took longer than {seconds:g} s and was stopped",
            hint="`--set env_options.time_limit_s=SECONDS` changes the limit; 0 = no limit.",
        ) from None
    finally:
        signal.signal(signal.SIGALRM, before)


def bounded(items: Iterable[Any], env: str, call: str) -> list[Any]:
    """A list of what an environment gives, which may come from a generator without an end.

    Args:
        items: what the call gave.
        env: name of the environment, for the message.
        call: the call, for the message.

    Raises:
        EnvironmentFault: there are more than ``MOST_ITEMS``.
        TypeError: it is nothing that can be listed.
    """
    listed = list(itertools.islice(items, MOST_ITEMS + 1))
    if len(listed) > MOST_ITEMS:
        raise EnvironmentFault(env, f"{call} returned more than {MOST_ITEMS:,} items")
    return listed
