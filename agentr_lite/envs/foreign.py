"""Code that is not ours: what it raises, how long it takes and what it prints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stdout

from agentr_lite.core.errors import AgentrError, EnvironmentFault
from agentr_lite.core.interruptions import interruption_kept
from agentr_lite.core.unicode import without_surrogates
from agentr_lite.envs.limits import time_limit


def text_of(error: BaseException) -> str:
    """An exception's text, even where its own code for that fails."""
    try:
        return without_surrogates(str.__str__(str(error)))
    except BaseException as fault:
        if isinstance(fault, KeyboardInterrupt):
            raise
        return f"(its text cannot be had: {type(fault).__name__})"


@contextmanager
def foreign_code(
    name: str,
    doing: str,
    limit_s: float,
    *,
    failed: str,
    hint: str = "",
    raised_at: Callable[[BaseException], str] = lambda error: "",
) -> Generator[None]:
    """Turn whatever a plugin's import or constructor raises into a fault that names it.

    Args:
        name: the environment's name, or its file.
        doing: what is done, for the message about its time.
        limit_s: longest time; 0 = no limit.
        failed: what did not succeed, for the message about an error.
        hint: whose code it is.
        raised_at: says where in the code an error was raised.

    Raises:
        AgentrError: the code's own, such as a ``UsageError`` about an option.
        EnvironmentFault: anything else, but for Ctrl-C.
    """
    try:
        with interruption_kept(), time_limit(limit_s, name, doing), redirect_stdout(sys.stderr):
            yield
    except (AgentrError, KeyboardInterrupt):
        raise
    except BaseException as error:
        said = f"{failed}: {type(error).__name__}: {text_of(error)}{raised_at(error)}"
        raise EnvironmentFault(name, said, hint=hint) from error
