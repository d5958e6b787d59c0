"""agentr-lite: a small local model teaches itself to notice its own mistakes and recover.

``import agentr_lite as al`` has ``al.run``, ``al.resume``, ``al.search``, ``al.evaluate`` and
``al.load_run`` (docs/python.md). The names in ``__all__`` are stable; all others may change.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

__all__ = [
    "Episode",
    "Evaluation",
    "Rows",
    "RunResult",
    "SearchResult",
    "Stage",
    "Tree",
    "__version__",
    "evaluate",
    "load_run",
    "resume",
    "run",
    "search",
]
_LAZY = frozenset(__all__) - {"__version__"}


def __getattr__(name: str) -> Any:
    # Commands import this package first: what the interface needs is loaded when it is used.
    if name in _LAZY:
        return getattr(importlib.import_module("agentr_lite.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
