"""The Python interface: the loop and its stages as functions, results as dataclasses.

``import agentr_lite as al`` gives all of it; nothing is loaded before it is used. Type checkers
know the functions under ``agentr_lite.api``.
"""

import importlib
import types
from typing import Any

from agentr_lite.api.actions import evaluate, load_run, resume, run, search
from agentr_lite.api.results import Episode, Evaluation, Rows, RunResult, SearchResult, Stage, Tree

__all__ = [
    "Episode",
    "Evaluation",
    "Rows",
    "RunResult",
    "SearchResult",
    "Stage",
    "Tree",
    "evaluate",
    "load_run",
    "resume",
    "run",
    "search",
]


class _CalledPackage(types.ModuleType):
    """A package that is a function as well: ``al.search(...)`` beside ``agentr_lite.search``."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return _CALLED[self.__name__](*arguments, **named)


_CALLED = {"agentr_lite.search": search, "agentr_lite.evaluate": evaluate}
for _name in _CALLED:
    # Importing a package makes it an attribute of the one above, where the function should be.
    importlib.import_module(_name).__class__ = _CalledPackage
