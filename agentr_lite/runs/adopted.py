"""An adapter that was trained elsewhere, as round 1 of a new run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agentr_lite.core.errors import UsageError

if TYPE_CHECKING:
    from agentr_lite.runs.checks.run import CheckedRun
    from agentr_lite.runs.creation import Target
    from agentr_lite.store import Store

ADOPTED_ROUND = 1


def run_with_adapter(
    store: Store, targets: Sequence[str], checked: CheckedRun | None, adapter: Path
) -> Target:
    """A new run that trains nothing: its round 1 has ``adapter``.

    Args:
        store: the database.
        targets: environments or recipes, as in ``recipe_for``.
        checked: of a new run with this adapter, permitted; None: ``targets`` names an existing run.
        adapter: a GGUF file, or for MLX a directory; it stays where it is.

    Raises:
        UsageError: the target is an existing run.
    """
    from agentr_lite.actors.digest import file_sha256
    from agentr_lite.runs.creation import begin_run
    from agentr_lite.runs.targets import existing_run
    from agentr_lite.store.splices import save_adapter, save_dataset

    if checked is None:
        run = existing_run(store, targets[0])
        raise UsageError(
            f"--adapter begins a new run, but {run.id} exists already",
            hint=f"For the run's own adapter: agentr-lite eval {run.id} --round N --paired.",
        )
    target = begin_run(store, checked.recipe)
    path = adapter.resolve()
    with store.atomic():
        # The store keeps an adapter with its data set; nothing is known of this one's data.
        dataset = save_dataset(
            store, target.run.id, ADOPTED_ROUND, settings={"adopted": str(path)}, items=[]
        )
        save_adapter(
            store,
            run_id=target.run.id,
            round_index=ADOPTED_ROUND,
            dataset_id=dataset,
            mlx_dir=str(path) if path.is_dir() else "",
            gguf_path="" if path.is_dir() else str(path),
            gguf_sha256="" if path.is_dir() else file_sha256(path),
            summary={"adopted": True},
        )
    return target
