"""Working off one cell: found finished, resumed, or run from what others have played already."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Literal

from agentr_lite.console.progress import Progress
from agentr_lite.console.streams import say
from agentr_lite.core.errors import AgentrError, HeldError, ModelError
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.claim import claimed
from agentr_lite.runs.creation import create_run, package_versions
from agentr_lite.runs.pipeline import PipelineResult, run_pipeline
from agentr_lite.store import Store
from agentr_lite.store.records import RunRow
from agentr_lite.store.runs import stage_status
from agentr_lite.study.jobs.cells import Cell
from agentr_lite.study.jobs.reuse import reuse_stage
from agentr_lite.study.jobs.sharing import Runs, agent_examples, comparable, model_digest
from agentr_lite.study.methods import NAIVE

CLAIM_PATIENCE_S = 60.0
"""How long to wait for a process that was told to stop to let go of its run."""


@dataclass(slots=True)
class Digests:
    """SHA-256 of each model, read once."""

    known: dict[str, str | None] = field(default_factory=dict)

    def of(self, recipe: Recipe) -> str | None:
        """A recipe's model; see ``model_digest``.

        None as well where it is not to be had: what runs have found can be shown without it, and
        whoever is to play with it will miss it.
        """
        if recipe.model not in self.known:
            try:
                self.known[recipe.model] = model_digest(recipe)
            except ModelError:
                self.known[recipe.model] = None
        return self.known[recipe.model]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A cell's recipe, once everything that it depends on is known."""

    recipe: Recipe | None
    """None: not known yet, or never."""
    run: RunRow | None = None
    """The run, finished or to be resumed, if there is one."""
    why: str = ""
    """Why there is no recipe."""
    possible: bool = True
    """Off: nothing that the study still does will change that."""

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.run is not None and self.run.status == "finished"


def resolve(store: Store, runs: Runs, digests: Digests, cell: Cell) -> Resolved:
    """What a cell comes down to now.

    Args:
        store: the database.
        runs: its runs.
        digests: of models.
        cell: the cell.
    """
    recipe = cell.recipe
    digest = digests.of(recipe)
    if cell.equal_to:
        reference = _with_splices_of(recipe, "replay")
        found = _trained(store, runs, reference, digest)
        if found is None:
            return Resolved(None, why=f"needs round 1 of {cell.env}/{cell.equal_to}/{cell.seed}")
        wanted = agent_examples(store, found.id, 1)
        if not wanted:
            return Resolved(
                None, why=f"{cell.equal_to} found nothing to learn from", possible=False
            )
        # Where the naive run of the study itself has no more examples, it is the answer.
        naive = _trained(store, runs, _with_splices_of(recipe, "off"), digest)
        if naive is not None and agent_examples(store, naive.id, 1) <= wanted:
            stage = stage_status(store, naive.id, recipe.rounds, "eval")
            if stage is None or not stage.finished:
                last = f"round {recipe.rounds} of {cell.env}/{NAIVE}/{cell.seed}"
                return Resolved(None, why=f"needs {last}")
            return Resolved(recipe, replace(naive, status="finished"))
        recipe = replace(recipe, train=replace(recipe.train, max_examples=wanted))
    return Resolved(recipe, runs.find(recipe, digest))


def _with_splices_of(recipe: Recipe, verify: Literal["replay", "off"]) -> Recipe:
    return replace(recipe, splice=replace(recipe.splice, verify=verify))


def _trained(store: Store, runs: Runs, recipe: Recipe, digest: str | None) -> RunRow | None:
    """A run of the recipe, however many rounds it has, whose first round has been trained."""
    for run, own in runs.of(recipe.env_label):
        same = {**own, "rounds": recipe.rounds} == comparable(recipe)
        if same and (digest is None or run.model_sha256 == digest):
            done = stage_status(store, run.id, 1, "train")
            if done is not None and done.finished:
                return run
    return None


def work_off(
    store: Store,
    cell: Cell,
    progress: Progress,
    *,
    runs: Runs | None = None,
    digests: Digests | None = None,
) -> tuple[str, PipelineResult]:
    """Bring a cell's run to its end, from wherever it is.

    Args:
        store: the database.
        cell: the cell.
        progress: narration.
        runs: the database's runs, if they are known.
        digests: of models, if they are known.

    Returns:
        (run, what each stage gave); of a run that was finished before, nothing.

    Raises:
        AgentrError: the run cannot go on, or what it depends on is not there.
        KeyboardInterrupt: passed on; what was committed is kept.
    """
    runs, digests = runs or Runs(store), digests or Digests()
    found = resolve(store, runs, digests, cell)
    if found.recipe is None:
        raise AgentrError(f"{cell.name}: {found.why}", hint="Leave out --only, or name it as well.")
    recipe = found.recipe
    if found.run is not None and found.finished:
        return found.run.id, PipelineResult()
    with ExitStack() as stack:
        if found.run is None:
            run_id = create_run(store, recipe, versions=package_versions())
        else:
            run_id = found.run.id
        _claim(stack, store, run_id)
        say(f"{cell.name}: {run_id}{', resumed' if found.run is not None else ''}")
        result = run_pipeline(
            store,
            run_id,
            recipe,
            before=lambda number, stage: reuse_stage(
                store, runs, run_id, recipe, digests.of(recipe), number, stage
            ),
            progress=progress,
        )
    return run_id, result


def _claim(stack: ExitStack, store: Store, run_id: str) -> None:
    """Hold the run; a process that was stopped may take a while to let go of it."""
    until = time.monotonic() + CLAIM_PATIENCE_S
    while True:
        try:
            stack.enter_context(claimed(store, run_id))
            return
        except HeldError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.5)
