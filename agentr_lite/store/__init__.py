"""The run database: one SQLite file that every stage reads and writes.

``Store`` opens it. Reads and writes are plain functions by area, each of which takes the store
first: ``runs`` (runs, stages, models, tasks, metrics), ``trees``, ``splices`` (trajectories,
judgements, revisions, datasets, adapters), ``preferences``, ``evals``, ``demonstrations``,
``examples``, ``summaries``, and ``inspection`` for the inspector. ``records`` holds the rows that
they return; ``schema`` the tables, ``migrations`` their changes since.
"""

from agentr_lite.store.database import Store

__all__ = ["Store"]
