"""A child process for the tests of ``core.child``: it answers, hangs, grows or dies as asked."""

from __future__ import annotations

import os
import re
import sys
import time
from typing import Any

from agentr_lite.core.child import serve


def _answer(question: tuple[str, Any]) -> Any:
    work, value = question
    print("printed", flush=True)
    print("complained", file=sys.stderr, flush=True)
    match work:
        case "sleep":
            time.sleep(600)
        case "machine code":
            # This holds the interpreter's lock.
            re.match(r"(a+)+$", "a" * 60 + "b")
        case "exit":
            os._exit(3)
        case "abort":
            os.abort()
        case "raise":
            raise RuntimeError("the answer fails")
        case "fill":
            filled = bytearray(b"x") * value
            time.sleep(600)
            return len(filled)
    return value


def main() -> None:
    """The child's program."""
    serve(_answer)
