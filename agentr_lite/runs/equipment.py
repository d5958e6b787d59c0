"""The model of a run: checked to be the same as before, with a round's adapter on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentr_lite.actors.base import LoadedModel
from agentr_lite.core.errors import ModelError, UsageError
from agentr_lite.core.rounds import START
from agentr_lite.recipe.settings import Recipe
from agentr_lite.store import Store, splices
from agentr_lite.store.records import RunRow
from agentr_lite.store.runs import set_run_model


def equip(store: Store, run: RunRow, actor: LoadedModel, adapter_round: int | None) -> None:
    """Check that the model is the run's, and put a round's adapter on.

    Args:
        store: the database.
        run: the run; its model is recorded if it had none.
        actor: the loaded model.
        adapter_round: whose adapter; None: the base model.

    Raises:
        ModelError: another model than the run's, or an unusable adapter.
        UsageError: that round has not been trained.
    """
    check_same_model(store, run, actor)
    if adapter_round is not None:
        actor.use_adapter(adapter_path(store, run, actor, adapter_round))


def check_same_model(store: Store, run: RunRow, actor: LoadedModel) -> None:
    """Check that the model is the run's; it is recorded if the run had none and can be written.

    Raises:
        ModelError: another model than the run's.
    """
    digest = str(actor.description.get("sha256") or "")
    earlier, now = run.model_description.get("identity"), actor.description.get("identity")
    if earlier and earlier != now:
        raise ModelError(
            f"the server's model is not the one that run {run.id} was made with:"
            f" {_facts(now)} instead of {_facts(earlier)}",
            hint=f"Serve the old one at {run.model_path}, or begin a new run.",
        )
    _warn_of_tuning(run, actor)
    if not run.model_sha256:
        if not store.read_only:
            set_run_model(store, run.id, actor.description)
    elif digest != run.model_sha256:
        raise ModelError(
            f"the model is not the one that run {run.id} was made with"
            f" (SHA-256 {digest[:12]} instead of {run.model_sha256[:12]})",
            hint=f"Put the old file back at {run.model_path}, or begin a new run.",
        )


def adapter_in_use(store: Store, run_id: str, round_index: int) -> int | None:
    """The last round up to ``round_index`` that has an adapter; None: the base model."""
    rounds = [row.round for row in splices.list_adapters(store, run_id)]
    return max((number for number in rounds if number <= round_index), default=None)


def start_adapter(store: Store, run_id: str, recipe: Recipe, number: int) -> Path | None:
    """The adapter directory from which a round's training starts; None: the base model.

    With ``train.start: previous`` it is the previous round's, else that of imitation.
    """
    before = number - 1 if recipe.train.start == "previous" else START
    worn = adapter_in_use(store, run_id, before)
    row = None if worn is None else splices.get_adapter(store, run_id, worn)
    return Path(row.mlx_dir) if row is not None else None


def adapter_path(store: Store, run: RunRow, actor: LoadedModel, round_index: int) -> Path:
    """Where a round's adapter is, in the actor's format.

    Raises:
        UsageError: that round has not been trained.
    """
    adapter = splices.get_adapter(store, run.id, round_index)
    if adapter is None:
        raise UsageError(
            f"run {run.id} has no adapter of round {round_index}",
            hint=f"`agentr-lite train {run.id} --round {round_index}` makes it."
            if round_index
            else f"`agentr-lite imitate {run.id}` makes it.",
        )
    mlx = actor.capabilities.adapter_format == "mlx"
    return Path(adapter.mlx_dir if mlx else adapter.gguf_path)


def _facts(identity: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{key} {value}" for key, value in (identity or {}).items()) or "another"


def _warn_of_tuning(run: RunRow, actor: LoadedModel) -> None:
    from agentr_lite.console.streams import warn

    earlier, now = run.model_description, actor.description
    if earlier and earlier.get("tuning") != now.get("tuning"):
        warn(
            "the engine has been tuned differently since this run began",
            hint="Sums are rounded in another way, which can decide near ties. To go on exactly as"
            " before: `agentr-lite doctor --untune`, or --tune as it was.",
        )
