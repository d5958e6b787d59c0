"""A stage that another run has played from the same inputs is copied, as if it were played again.

What a stage gives depends on its settings, on the adapter in use and, for training, on the
examples. So all methods share the base's evaluation and, of one seed, the first round's trees; and
two that come down to the same examples, such as naive and verified splices where every joined text
is what the environment says, are one run with two names until they part.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentr_lite.console.outcomes import round_name
from agentr_lite.console.streams import say
from agentr_lite.core.config import artifacts_dir
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.equipment import adapter_in_use
from agentr_lite.store import Store, splices
from agentr_lite.store.records import RunRow, Stage
from agentr_lite.store.runs import stage_status
from agentr_lite.store.trees import copy_trees
from agentr_lite.study.jobs.sharing import Runs, base_parts, comparable, search_parts
from agentr_lite.train.dataset import build_dataset
from agentr_lite.train.general import load_general


def reuse_stage(
    store: Store,
    runs: Runs,
    run_id: str,
    recipe: Recipe,
    digest: str | None,
    number: int,
    stage: Stage,
) -> str | None:
    """Copy a stage from a run that has played it from the same inputs, if there is one.

    A stage that has begun here goes on here, and splices are always made.

    Args:
        store: the database.
        runs: its runs.
        run_id: the run that is about to play the stage; everything before it is done.
        recipe: its settings.
        digest: SHA-256 of its model; None: not known, and any will do.
        number: the round; 0 = the base.
        stage: the stage.

    Returns:
        The run that it was copied from; None where there is none.
    """
    if stage == "splice" or stage_status(store, run_id, number, stage) is not None:
        return None
    mine = _settings(stage, comparable(recipe))
    for other, settings in runs.of(recipe.env_label):
        if other.id == run_id or (digest is not None and other.model_sha256 != digest):
            continue
        done = stage_status(store, other.id, number, stage)
        if done is None or not done.finished or _settings(stage, settings) != mine:
            continue
        if _copied(store, other, run_id, recipe, number, stage):
            say(f"{round_name(number)} {stage}: the same as in {other.id}")
            return other.id
    return None


def _settings(stage: Stage, recipe: Mapping[str, Any]) -> dict[str, Any]:
    if stage == "search":
        return search_parts(recipe)
    if stage == "eval":
        return base_parts(recipe)
    keys = ("model", "train_model", "agent", "train", "seed")
    return {key: recipe[key] for key in keys}


def _copied(
    store: Store, other: RunRow, run_id: str, recipe: Recipe, number: int, stage: Stage
) -> bool:
    """Copy a stage of equal settings, where its other inputs are equal too."""
    if stage == "train":
        return _copy_training(store, other.id, run_id, recipe, number)
    plays = number if stage == "eval" else number - 1
    if _adapter(store, other.id, plays) != _adapter(store, run_id, plays):
        return False
    with store.atomic():
        _copy_stage(store, other.id, run_id, number, stage)
        if stage == "eval":
            _copy_evals(store, other.id, run_id, number)
        else:
            copy_trees(store, other.id, run_id, number)
    return True


def _copy_training(store: Store, source: str, target: str, recipe: Recipe, number: int) -> bool:
    adapter = splices.get_adapter(store, source, number)
    if adapter is None:
        return False
    continued = recipe.train.start == "previous"
    if continued and _adapter(store, source, number - 1) != _adapter(store, target, number - 1):
        return False
    theirs = {one.id: one for one in splices.list_datasets(store, source)}[adapter.dataset_id]
    mine = build_dataset(store, target, number, recipe, load_general(recipe.train.general))
    if theirs.settings.get("sha256") != mine.sha256:
        return False
    files = [path for path in Path(adapter.mlx_dir).glob("*") if path.is_file()]
    if Path(adapter.gguf_path) not in files:
        # Deleted since: trained again.
        return False
    folder = artifacts_dir(store.path, target) / f"round-{number}"
    folder.mkdir(parents=True, exist_ok=True)
    for path in files:
        shutil.copyfile(path, folder / path.name)
    with store.atomic():
        _copy_stage(store, source, target, number, "train")
        store.execute(
            "UPDATE rounds SET summary = json_set(summary, '$.dataset_id', ?)"
            " WHERE run_id = ? AND round = ? AND stage = 'train'",
            (mine.id, target, number),
        )
        _copy(store, "metrics", {"run_id": source, "round": number}, {"run_id": target})
        splices.save_adapter(
            store,
            run_id=target,
            round_index=number,
            dataset_id=mine.id,
            mlx_dir=str(folder),
            gguf_path=str(folder / Path(adapter.gguf_path).name),
            gguf_sha256=adapter.gguf_sha256,
            summary=adapter.summary,
        )
    return True


def _adapter(store: Store, run_id: str, number: int) -> str:
    """SHA-256 of the adapter that a round's model wears; empty for the base."""
    row = splices.get_adapter(store, run_id, adapter_in_use(store, run_id, number))
    return row.gguf_sha256 if row is not None else ""


def _copy_evals(store: Store, source: str, target: str, number: int) -> None:
    rows = store.rows(
        "SELECT id FROM evals WHERE run_id = ? AND round = ? ORDER BY id", (source, number)
    )
    for row in rows:
        copied = _copy(store, "evals", {"id": row["id"]}, {"id": None, "run_id": target})
        _copy(store, "eval_items", {"eval_id": row["id"]}, {"eval_id": copied})
    # What greedy episodes were played with names the seed, though nothing in them is drawn.
    store.execute(
        "UPDATE evals SET summary = json_set(summary, '$.settings.seed',"
        " (SELECT seed FROM runs WHERE id = :run)) WHERE run_id = :run AND round = :round"
        " AND json_extract(summary, '$.settings.seed') IS NOT NULL",
        {"run": target, "round": number},
    )


def _copy_stage(store: Store, source: str, target: str, number: int, stage: Stage) -> None:
    """The stage's row as it is: by its times, tables of cost know that it was played once."""
    _copy(
        store,
        "rounds",
        {"run_id": source, "round": number, "stage": stage},
        {"run_id": target},
    )


def _copy(store: Store, table: str, where: Mapping[str, Any], changes: Mapping[str, Any]) -> int:
    """Copy rows with some columns replaced; returns the last new row's id."""
    columns: Sequence[str] = [r["name"] for r in store.rows(f"PRAGMA table_info({table})")]
    chosen = [f":new_{name}" if name in changes else name for name in columns]
    cursor = store.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(chosen)} FROM {table}"
        f" WHERE {' AND '.join(f'{name} = :old_{name}' for name in where)}",
        {
            **{f"new_{name}": value for name, value in changes.items()},
            **{f"old_{name}": value for name, value in where.items()},
        },
    )
    return cursor.lastrowid or 0
