"""The command line in tests: how it is called, and what its errors look like."""

from __future__ import annotations

from collections.abc import Callable

Call = Callable[..., tuple[int, str, str]]
"""Arguments to exit code, stdout and stderr."""


def one_error(err: str) -> str:
    """The error's line, where nothing but a hint, a usage line and narration is around it."""
    assert "Traceback" not in err
    found = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert len(found) == 1, err
    return found[0]
