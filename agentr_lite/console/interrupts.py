"""Being asked to end: Ctrl-C, SIGTERM and the loss of the terminal are the same interruption."""

from __future__ import annotations

import atexit
import math
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from agentr_lite.core.interruptions import note_request

REPEATS_S = 2.0
"""Further requests within this time are the same request: ``timeout`` and many supervisors send one
to the process and one to its group. The second would stop the saving that the first began."""

_PYTHONS_OWN = (signal.SIG_DFL, signal.default_int_handler)


@contextmanager
def terminations_interrupt() -> Generator[None]:
    """Raise ``KeyboardInterrupt`` in the main thread at SIGINT, SIGTERM and SIGHUP.

    At each of them a command keeps what is finished, records the status ``interrupted`` and names
    the command that resumes. Repeated requests, of the same kind or another, are one. A signal that
    is ignored (by ``nohup``) or handled by somebody else stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    last = -math.inf

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        is_repeated, last = now - last < REPEATS_S, now
        if not is_repeated:
            note_request()
            raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in _requests()}
    ours = [number for number, handler in before.items() if handler in _PYTHONS_OWN]
    for number in ours:
        signal.signal(number, interrupt)
    requests_held(held=False)
    try:
        yield
    finally:
        # After a request this process is about to end, and a repeated one must not cut that short.
        # Ignored, not handled: the interpreter gives up handlers of its own before it has ended.
        for number in ours:
            signal.signal(number, before[number] if last < 0 else signal.SIG_IGN)


def requests_held(*, held: bool) -> None:
    """Let requests wait until they are no longer held, or deliver those that have waited.

    A process that is replaced by another program hands on that they wait.
    """
    if hasattr(signal, "pthread_sigmask"):
        how = signal.SIG_BLOCK if held else signal.SIG_UNBLOCK
        signal.pthread_sigmask(how, _requests())


@contextmanager
def interrupts_ignored() -> Generator[None]:
    """Ignore Ctrl-C and its like in the block, which must come to its end."""
    numbers = _requests()
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@atexit.register
def ignore_interrupts_at_exit() -> None:
    """Ignore further requests: the work is done, and the exit code is decided.

    Python would print a traceback, or end by the signal, if one came while it takes itself down.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _requests():
            signal.signal(number, signal.SIG_IGN)


def _requests() -> list[signal.Signals]:
    """The signals that ask a process to end; not every system has all of them."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]
