"""Being asked to end: SIGTERM, and the loss of the terminal, are interruptions like Ctrl-C."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

REPEATS_S = 2.0
"""Further requests within this time are the same request: ``timeout`` and many supervisors send one
to the process and one to its group. The second would stop the saving that the first began."""


@contextmanager
def terminations_interrupt() -> Generator[None]:
    """Raise ``KeyboardInterrupt`` in the main thread at SIGTERM and SIGHUP.

    What a command does at Ctrl-C, it then does at these as well: it keeps what is finished, records
    the status ``interrupted`` and names the command that resumes. A signal that is ignored (by
    ``nohup``) or handled by somebody else stays so.
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
            raise KeyboardInterrupt

    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    ours = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        # After a request this process is about to end, and a repeated one must not cut that short.
        # Ignored, not handled: the interpreter gives up handlers of its own before it has ended.
        after = signal.SIG_DFL if last < 0 else signal.SIG_IGN
        for number in ours:
            signal.signal(number, after)


@contextmanager
def interrupts_ignored() -> Generator[None]:
    """Ignore Ctrl-C and its like in the block, which must come to its end."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    numbers += [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
