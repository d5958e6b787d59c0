"""What a library raises at a damaged file, as an error of ours.

The libraries that read models and tokenizers check what they need and trust the rest. A damaged
file therefore ends in any of Python's errors, and in a panic of a library written in Rust.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from agentr_lite.core.errors import ModelError

_RAISED = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    MemoryError,
    AssertionError,
    struct.error,
)
_SHOWN = 200


@contextmanager
def damage_explained(path: Path, *, hint: str = "") -> Generator[None]:
    """Turn what the block raises while it reads ``path`` into a ``ModelError``.

    Our own errors and those of the operating system pass.

    Args:
        path: the file or directory that is read.
        hint: what to do; default: to get it again.

    Raises:
        ModelError: the file is damaged, or of an unknown kind.
    """
    try:
        yield
    except _RAISED as error:
        raise _damaged(path, error, hint) from error
    except BaseException as error:
        # Both are the libraries' own: Rust's panic is not even an `Exception`.
        if type(error).__name__ not in ("PanicException", "SafetensorError") and (
            type(error) is not Exception
        ):
            raise
        raise _damaged(path, error, hint) from error


def _damaged(path: Path, error: BaseException, hint: str) -> ModelError:
    said = " ".join(str(error).split())[:_SHOWN]
    kind = type(error).__name__
    return ModelError(
        f"{path} is damaged or of an unknown kind ({kind}: {said})",
        hint=hint or "Download or write it again.",
    )
