"""An index of a database's runs: finds the run of a recipe, or one that shares a stage with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agentr_lite.core.errors import RecipeError
from agentr_lite.core.rounds import START, base_round
from agentr_lite.recipe.loading import recipe_from_dict
from agentr_lite.recipe.settings import Recipe
from agentr_lite.store import Store
from agentr_lite.store.records import RunRow, Stage
from agentr_lite.store.runs import list_runs, stage_status
from agentr_lite.study.jobs.stage_inputs import plain_settings, stage_inputs


class RunIndex:
    """The runs of a database by environment; each recipe is read once.

    Recipes are compared in today's resolved form: a key that was added later has its default.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._settings: dict[str, Mapping[str, Any] | None] = {}
        self._version: tuple[int, int] = (-1, -1)
        self._by_env: dict[str, list[tuple[RunRow, Mapping[str, Any]]]] = {}

    def runs(self, env: str) -> list[tuple[RunRow, Mapping[str, Any]]]:
        """(run, its plain settings) of one environment, newest first.

        Runs whose recipe cannot be read today are left out.
        """
        # Every cell of a study asks: read again only after a change of the database.
        version = (self._store.scalar("PRAGMA data_version"), self._store.db.conn.total_changes)
        if version != self._version:
            self._version, self._by_env = version, {}
        if env not in self._by_env:
            self._by_env[env] = self._read(env)
        return self._by_env[env]

    def _read(self, env: str) -> list[tuple[RunRow, Mapping[str, Any]]]:
        runs = []
        for run in list_runs(self._store, env=env):
            if run.id not in self._settings:
                self._settings[run.id] = _settings_of(run)
            settings = self._settings[run.id]
            if settings is not None:
                runs.append((run, settings))
        return runs

    def find(self, recipe: Recipe, digest: str | None) -> RunRow | None:
        """The run of exactly this recipe under any name: a finished one, else the newest.

        Args:
            recipe: the recipe.
            digest: of the model; None: any.
        """
        wanted = plain_settings(recipe)
        runs = [
            run
            for run, settings in self.runs(recipe.env_label)
            # A run that was interrupted before it loaded its model has no digest yet.
            if settings == wanted and (digest is None or run.model_sha256 in ("", digest))
        ]
        return next((run for run in runs if run.status == "finished"), next(iter(runs), None))

    def find_stage(self, recipe: Recipe, digest: str | None, stage: Stage) -> RunRow | None:
        """A run that has finished a stage which a run of the recipe can reuse.

        Args:
            recipe: of the run that would reuse the stage.
            digest: of the model; None: any.
            stage: ``eval`` for the base's evaluation, ``imitate``, or ``search`` for the first
                search.
        """
        base = base_round(imitates=recipe.imitates)
        number = {"eval": base, "imitate": START}.get(stage, 1)
        wanted = stage_inputs(stage, plain_settings(recipe))
        for run, settings in self.runs(recipe.env_label):
            if digest is not None and run.model_sha256 != digest:
                continue
            if stage_inputs(stage, settings) == wanted and _starts_alike(recipe, settings):
                row = stage_status(self._store, run.id, number, stage)
                if row is not None and row.finished:
                    return run
        return None


def _starts_alike(recipe: Recipe, settings: Mapping[str, Any]) -> bool:
    """Whether two runs have the same imitation, or none."""
    other = recipe_from_dict(settings)
    if not (recipe.imitates or other.imitates):
        return True
    first = [replace(each.imitation, further=()) for each in (recipe, other)]
    return (first[0], recipe.env) == (first[1], other.env)


def _settings_of(run: RunRow) -> Mapping[str, Any] | None:
    try:
        return plain_settings(recipe_from_dict(run.recipe))
    except RecipeError:
        # A version with other keys wrote it, so it cannot be a run of this study.
        return None
