"""The run database: one SQLite file that every stage reads and writes.

``Store`` opens it; the tables' reads and writes are plain functions by area, each taking the store
first: ``runs`` (runs, stages, models, tasks, metrics), ``trees``, ``splices`` (trajectories,
judgements, revisions, datasets, adapters), ``evals`` and ``summaries``. ``records`` holds the rows
that they return.
"""

from agentr_lite.store.database import Store

__all__ = ["Store"]
