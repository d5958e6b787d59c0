"""The run database: one SQLite file that every stage reads and writes.

``Store`` opens it; the tables' reads and writes are plain functions by area, each taking the store
first: ``runs`` (runs, stages, models, tasks, metrics), ``trees``, ``splices`` (trajectories,
judgements, revisions, datasets, adapters) and ``evals``. ``records`` holds the rows they return.
"""

from agentr_lite.store.database import Store

__all__ = ["Store"]
