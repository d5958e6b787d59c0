"""Runs one cell to its end: a finished run is returned, an interrupted one is resumed."""

from __future__ import annotations

import time
from contextlib import ExitStack

from agentr_lite.console.progress import Progress
from agentr_lite.console.streams import say
from agentr_lite.core.errors import AgentrError, HeldError
from agentr_lite.runs.claim import claimed
from agentr_lite.runs.creation import create_run, package_versions
from agentr_lite.runs.pipeline import PipelineResult, run_pipeline
from agentr_lite.runs.refused import removed_if_refused
from agentr_lite.runs.stages.waves import Executor
from agentr_lite.store import Store
from agentr_lite.store.records import Stage
from agentr_lite.study.jobs.cells import Cell
from agentr_lite.study.jobs.model_digests import ModelDigests
from agentr_lite.study.jobs.peak_memory import PeakMemory
from agentr_lite.study.jobs.resolution import resolve_cell
from agentr_lite.study.jobs.run_index import RunIndex
from agentr_lite.study.jobs.stage_cache import copy_cached_stage

CLAIM_PATIENCE_S = 60.0
"""How long to wait until a process that has been asked to stop releases its run."""


def run_cell(
    store: Store,
    cell: Cell,
    progress: Progress,
    *,
    index: RunIndex | None = None,
    digests: ModelDigests | None = None,
    executor: Executor | None = None,
    mark: str = "",
) -> tuple[str, PipelineResult]:
    """Run a cell to its end, from wherever it is.

    Args:
        store: the database.
        cell: the cell.
        progress: narration.
        index: the database's runs, if the caller has an index.
        digests: of models, if the caller has them.
        executor: where waves are done; None: in this process.
        mark: a part of a new run's id; see ``create_run``.

    Returns:
        (run, the result of each stage); the result is empty for a run that was finished before.

    Raises:
        AgentrError: the run cannot go on, or something that it depends on is missing.
        KeyboardInterrupt: passed on; what was committed is kept.
    """
    index, digests = index or RunIndex(store), digests or ModelDigests()
    resolution = resolve_cell(store, index, digests, cell)
    recipe, run = resolution.recipe, resolution.run
    if recipe is None:
        hint = "Leave out --only, or name it as well."
        raise AgentrError(f"{cell.name}: {resolution.reason}", hint=hint)
    if run is not None and resolution.finished:
        return run.id, PipelineResult()
    with ExitStack() as stack:
        run_id = (
            run.id if run else create_run(store, recipe, versions=package_versions(), mark=mark)
        )
        _claim(stack, store, run_id)
        say(f"{cell.name}: {run_id}{', resumed' if run is not None else ''}")
        stack.enter_context(removed_if_refused(store, run_id, is_new=run is None))
        peak = PeakMemory(store, run_id)

        def before(number: int, stage: Stage) -> None:
            digest = digests.digest(recipe)
            copy_cached_stage(store, index, run_id, recipe, digest, number, stage)
            peak.begin(number, stage)

        result = run_pipeline(
            store,
            run_id,
            recipe,
            before=before,
            progress=progress,
            on_stage=lambda number, stage, _: peak.end(number, stage),
            executor=executor,
        )
    return run_id, result


def _claim(stack: ExitStack, store: Store, run_id: str) -> None:
    """Claim the run; a process that is stopping may take a while to release it."""
    deadline = time.monotonic() + CLAIM_PATIENCE_S
    while True:
        try:
            stack.enter_context(claimed(store, run_id))
            return
        except HeldError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.5)
