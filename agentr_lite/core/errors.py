"""One tree of exceptions; the CLI turns each into an exit code in one place.

A message says what is wrong and with which thing; ``hint`` says what to do next.
"""

from __future__ import annotations

import errno
from typing import Any

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_MODEL = 3
EXIT_STORE = 4
EXIT_SOME_TASKS_FAILED = 5
EXIT_NOTHING_TO_LEARN = 6
EXIT_INTERRUPTED = 130


class AgentrError(Exception):
    """Base of every error that a user can cause or mend.

    Attributes:
        kind: short machine-readable name, printed by ``--json``.
        exit_code: the process's exit code.
        hint: what to do next; may be empty.
    """

    kind = "failed"
    exit_code = EXIT_FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is otherwise made again from its text alone, which not all constructors take.
        return _restored, (type(self), self.args, self.__dict__)


class UsageError(AgentrError):
    """Wrong flags, an unknown name, a file that cannot be written."""

    kind = "usage"
    exit_code = EXIT_USAGE


class RecipeError(UsageError):
    """A recipe with an unknown key, a wrong type or a value out of range."""

    kind = "recipe"


class GrammarError(UsageError):
    """A grammar that cannot be read, that no answer could satisfy, or that cannot be followed."""

    kind = "grammar"


class ModelError(AgentrError):
    """A model or adapter is missing, corrupt or unfit for the task."""

    kind = "model"
    exit_code = EXIT_MODEL


class StoreError(AgentrError):
    """The database is not ours, newer than this program, locked, corrupt or out of space."""

    kind = "store"
    exit_code = EXIT_STORE


class HeldError(StoreError):
    """Another process works on what this one wants to work on."""


class EnvironmentFault(AgentrError):
    """Environment code (ours or a plugin's) raised or returned nonsense. Only its task is lost."""

    kind = "environment"

    def __init__(self, env: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"environment '{env}': {message}", hint=hint)
        self.env = env


class NothingToLearn(AgentrError):
    """A run stopped because its trees gave no example to train on; ``hint`` says what to try."""

    kind = "nothing-to-learn"
    exit_code = EXIT_NOTHING_TO_LEARN


class Interrupted(AgentrError):
    """The user stopped the work; what was committed is kept and ``hint`` resumes it."""

    kind = "interrupted"
    exit_code = EXIT_INTERRUPTED


def _restored(
    kind: type[AgentrError], arguments: tuple[Any, ...], state: dict[str, Any]
) -> AgentrError:
    """An error as it was in another process."""
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


def from_os_error(error: OSError) -> AgentrError:
    """An error of the operating system as one of ours, with what to do about it."""
    where = f" ({error.filename})" if error.filename else ""
    hints = {
        errno.ENOSPC: "The disk is full; free some space. What was committed is kept.",
        errno.EDQUOT: "Your disk quota is used up; free some space. What was committed is kept.",
        errno.EACCES: "Check the permissions, or choose another place with -d/--db.",
        errno.EROFS: "Nothing can be written there; choose another place with -d/--db.",
    }
    return AgentrError(f"{error.strerror or error}{where}", hint=hints.get(error.errno or 0, ""))
