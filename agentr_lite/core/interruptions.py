"""Requests to end this process: counted, so that code which swallows the exception loses none."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

_requests = 0


def note_request() -> None:
    """Count a request; the handler of the signal calls this."""
    global _requests
    _requests += 1


@contextmanager
def interruption_kept() -> Generator[None]:
    """Raise ``KeyboardInterrupt`` at the end of the block where one was raised in it and swallowed.

    A library may catch it with everything else, or raise another exception while it cleans up.
    """
    before = _requests
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if _requests != before or _came_of_interruption(error):
            raise KeyboardInterrupt from error
        raise
    if _requests != before:
        raise KeyboardInterrupt


def _came_of_interruption(error: BaseException) -> bool:
    """Whether an exception was raised while a ``KeyboardInterrupt`` was handled."""
    seen: set[int] = set()
    context: BaseException | None = error
    while context is not None and id(context) not in seen:
        seen.add(id(context))
        context = context.__context__
        if isinstance(context, KeyboardInterrupt):
            return True
    return False
