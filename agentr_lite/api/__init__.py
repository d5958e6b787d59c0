"""The Python interface: the loop and its stages as functions, results as dataclasses.

``import agentr_lite as al`` gives all of it; nothing is loaded before it is used.
"""

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
