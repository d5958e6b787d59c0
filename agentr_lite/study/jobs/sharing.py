"""What runs of a study have in common: finding a cell's run, or one that has played the same.

The base's evaluation depends on neither method nor search, and greedy episodes not on the seed
either; the first round's trees depend on no method.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agentr_lite.core.errors import RecipeError
from agentr_lite.recipe.loading import recipe_from_dict
from agentr_lite.recipe.settings import Recipe
from agentr_lite.store import Store
from agentr_lite.store.records import RunRow, Stage
from agentr_lite.store.runs import list_runs, stage_status
from agentr_lite.store.splices import list_dataset_items, list_datasets


def model_digest(recipe: Recipe) -> str | None:
    """SHA-256 of the recipe's model: a run of another file of the same name is another run.

    Returns:
        None where the model is no single file here (a server's, a directory): any will do.

    Raises:
        ModelError: there is no such model.
    """
    from agentr_lite.actors.digest import file_sha256
    from agentr_lite.actors.openai.spec import is_server
    from agentr_lite.actors.registry import expand, resolve_model

    if is_server(expand(recipe.model)):
        return None
    path = resolve_model(recipe.model).gguf
    return file_sha256(path) if path.is_file() else None


class Runs:
    """The runs of a database, with their recipes read once.

    Recipes are compared as they are resolved today: a key that came later has its default.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._recipes: dict[str, Mapping[str, Any] | None] = {}
        self._seen: tuple[int, int] = (-1, -1)
        self._found: dict[str, list[tuple[RunRow, Mapping[str, Any]]]] = {}

    def of(self, env: str) -> list[tuple[RunRow, Mapping[str, Any]]]:
        """(run, its recipe) of one environment, newest first; runs whose recipe cannot be read
        today are nobody's."""
        # Asked for each of a study's cells: read again only where the file has changed.
        now = (self._store.scalar("PRAGMA data_version"), self._store.db.conn.total_changes)
        if now != self._seen:
            self._seen, self._found = now, {}
        if env not in self._found:
            self._found[env] = self._read(env)
        return self._found[env]

    def _read(self, env: str) -> list[tuple[RunRow, Mapping[str, Any]]]:
        found = []
        for run in list_runs(self._store, env=env):
            if run.id not in self._recipes:
                self._recipes[run.id] = _resolved(run.recipe)
            recipe = self._recipes[run.id]
            if recipe is not None:
                found.append((run, recipe))
        return found

    def find(self, recipe: Recipe, digest: str | None) -> RunRow | None:
        """The run of exactly this recipe, whatever it is called: a finished one, else the newest.

        Args:
            recipe: what is wanted.
            digest: of the model; None: any.
        """
        wanted = comparable(recipe)
        runs = [
            run
            for run, own in self.of(recipe.env_label)
            # A run that was cut before it loaded its model has no digest yet.
            if own == wanted and (digest is None or run.model_sha256 in ("", digest))
        ]
        return next((run for run in runs if run.status == "finished"), next(iter(runs), None))

    def find_stage(self, recipe: Recipe, digest: str | None, stage: Stage) -> RunRow | None:
        """A run whose base evaluation (``eval``) or first search (``search``) serves another.

        Args:
            recipe: whom it is to serve.
            digest: of the model.
            stage: which of the two.
        """
        number, parts = (0, base_parts) if stage == "eval" else (1, search_parts)
        wanted = parts(comparable(recipe))
        for run, own in self.of(recipe.env_label):
            if digest is not None and run.model_sha256 != digest:
                continue
            if parts(own) == wanted:
                done = stage_status(self._store, run.id, number, stage)
                if done is not None and done.finished:
                    return run
        return None


def base_parts(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What the base's evaluation depends on; equal means shareable."""
    parts = {key: recipe[key] for key in ("env", "model", "agent", "eval")}
    if recipe["eval"]["samples"]:
        parts["seed"] = recipe["seed"]
    return parts


def search_parts(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What the first round's trees depend on; equal means shareable."""
    return {key: recipe[key] for key in ("env", "model", "agent", "search", "seed")}


def agent_examples(store: Store, run_id: str, round_index: int) -> int:
    """How many of a round's training examples are the agent's own; 0 without a training set."""
    sets = list_datasets(store, run_id, round_index=round_index)
    if not sets:
        return 0
    items = list_dataset_items(store, sets[-1].id)
    return sum(item.kind != "general" for item in items)


def _resolved(recipe: Mapping[str, Any]) -> Mapping[str, Any] | None:
    try:
        return comparable(recipe_from_dict(recipe))
    except RecipeError:
        # Of a version that knew other keys; it cannot be a run of this study.
        return None


def comparable(recipe: Recipe) -> dict[str, Any]:
    """A recipe as JSON has it, without the name, which changes nothing."""
    plain: dict[str, Any] = json.loads(json.dumps(recipe.to_dict()))
    return {key: value for key, value in plain.items() if key != "name"}
