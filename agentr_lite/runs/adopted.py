"""An adapter from elsewhere as round 1 of a run of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from agentr_lite.core.errors import UsageError
from agentr_lite.runs.choice import Chosen

if TYPE_CHECKING:
    from agentr_lite.runs.session import Target
    from agentr_lite.store import Store

ADOPTED_ROUND = 1


def run_with_adapter(store: Store, targets: Sequence[str], chosen: Chosen, adapter: Path) -> Target:
    """A new run that trains nothing: its round 1 wears ``adapter``.

    Args:
        store: the database.
        targets: environments or recipes, as in ``session.target_run``.
        chosen: as there.
        adapter: a GGUF file, or for MLX a directory; it stays where it is.

    Raises:
        UsageError: the target is an existing run.
        ModelError: the adapter does not fit the model.
    """
    from agentr_lite.actors.digest import file_sha256
    from agentr_lite.actors.registry import check_adapter
    from agentr_lite.runs.session import begin_run, existing_run, recipe_for
    from agentr_lite.store.splices import save_adapter, save_dataset

    recipe = recipe_for(targets, chosen)
    if recipe is None:
        run = existing_run(store, targets[0])
        raise UsageError(
            f"--adapter begins a run of its own, and {run.id} is there already",
            hint=f"For an adapter of its own: agentr-lite eval {run.id} --round N --paired.",
        )
    check_adapter(recipe.model, adapter)
    found = begin_run(store, replace(recipe, rounds=0))
    path = adapter.resolve()
    with store.atomic():
        # Data and adapter go together in the store; of this one's data nothing is known.
        dataset = save_dataset(
            store, found.run.id, ADOPTED_ROUND, settings={"adopted": str(path)}, items=[]
        )
        save_adapter(
            store,
            run_id=found.run.id,
            round_index=ADOPTED_ROUND,
            dataset_id=dataset,
            mlx_dir=str(path) if path.is_dir() else "",
            gguf_path="" if path.is_dir() else str(path),
            gguf_sha256="" if path.is_dir() else file_sha256(path),
            summary={"adopted": True},
        )
    return found
