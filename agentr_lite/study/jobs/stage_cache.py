"""The cache of stages: a stage that another run finished from the same inputs is copied.

A stage's result depends on its settings, on the adapter in use and, for training, on the examples.
So all methods share the base's evaluation and, within one seed, the first round's trees. Two
methods that arrive at the same examples share everything until they differ. Naive and verified
splices do so as long as every joined text is what the environment says.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentr_lite.console.streams import say
from agentr_lite.core.config import artifacts_dir
from agentr_lite.core.rounds import START, round_name
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.equipment import adapter_in_use
from agentr_lite.runs.general import usable_general
from agentr_lite.store import Store, splices
from agentr_lite.store.examples import examples_key
from agentr_lite.store.records import AdapterRow, RunRow, Stage
from agentr_lite.store.runs import stage_status
from agentr_lite.store.trees import copy_trees
from agentr_lite.study.jobs.run_index import RunIndex
from agentr_lite.study.jobs.stage_inputs import plain_settings, stage_inputs
from agentr_lite.train.dataset import build_dataset


def copy_cached_stage(
    store: Store,
    index: RunIndex,
    run_id: str,
    recipe: Recipe,
    digest: str | None,
    number: int,
    stage: Stage,
) -> str | None:
    """Copy a stage from a run that has finished it from the same inputs, if there is one.

    A stage that has begun in this run is continued in it. Splices are always made anew.

    Args:
        store: the database.
        index: its runs.
        run_id: the run that is about to begin the stage; all its earlier stages are finished.
        recipe: the run's settings.
        digest: SHA-256 of its model; None: unknown, and any model with its name will do.
        number: the round; 0 = the base.
        stage: the stage.

    Returns:
        The run from which the stage was copied; None if there is no such run.
    """
    if stage == "splice" or stage_status(store, run_id, number, stage) is not None:
        return None
    if stage == "train" and not recipe.searches:
        # No other method of a study takes further demonstrations.
        return None
    inputs = stage_inputs(stage, plain_settings(recipe))
    for other, settings in index.runs(recipe.env_label):
        if other.id == run_id or (digest is not None and other.model_sha256 != digest):
            continue
        row = stage_status(store, other.id, number, stage)
        if row is None or not row.finished or stage_inputs(stage, settings) != inputs:
            continue
        if not _same_examples(store, other.id, run_id):
            continue
        if _copy_if_equal(store, other, run_id, recipe, number, stage):
            if not examples_key(store, run_id):
                _copy(store, "examples", {"run_id": other.id}, {"run_id": run_id})
            name = round_name(number, imitates=recipe.imitates)
            say(f"{name} {stage}: the same as in {other.id}")
            return other.id
    return None


def _same_examples(store: Store, source: str, target: str) -> bool:
    """Whether a run shows the same examples in its prompts, or has not chosen any yet."""
    own = examples_key(store, target)
    return not own or own == examples_key(store, source)


def _copy_if_equal(
    store: Store, other: RunRow, run_id: str, recipe: Recipe, number: int, stage: Stage
) -> bool:
    """Copy a stage with equal settings if its other inputs are equal, too."""
    if stage == "train":
        return _copy_training(store, other.id, run_id, recipe, number)
    if stage == "imitate":
        return _copy_imitation(store, other.id, run_id)
    trained = number if stage == "eval" else number - 1
    if _adapter(store, other.id, trained) != _adapter(store, run_id, trained):
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
    before = number - 1 if recipe.train.start == "previous" else START
    if _adapter(store, source, before) != _adapter(store, target, before):
        return False
    datasets = {dataset.id: dataset for dataset in splices.list_datasets(store, source)}
    general = usable_general(recipe)
    refused = len(general.refused)
    own = build_dataset(store, target, number, recipe, general.examples, refused=refused)
    if datasets[adapter.dataset_id].settings.get("sha256") != own.sha256:
        return False
    return _copy_adapter(store, adapter, target, own.id, "train")


def _copy_imitation(store: Store, source: str, target: str) -> bool:
    """Copy an imitation with equal settings, with the demonstrations that it chose."""
    adapter = splices.get_adapter(store, source, START)
    if adapter is None:
        return False
    [dataset] = [
        row for row in splices.list_datasets(store, source) if row.id == adapter.dataset_id
    ]
    items = splices.list_dataset_items(store, dataset.id)
    own = splices.save_dataset(store, target, START, settings=dataset.settings, items=items)
    return _copy_adapter(store, adapter, target, own, "imitate")


def _copy_adapter(
    store: Store, adapter: AdapterRow, target: str, dataset_id: int, stage: Stage
) -> bool:
    """Copy the stage that made an adapter, and the adapter; False where its files are gone."""
    source, number = adapter.run_id, adapter.round
    files = [path for path in Path(adapter.mlx_dir).glob("*") if path.is_file()]
    if Path(adapter.gguf_path) not in files:
        # The adapter has been deleted, so this run trains again.
        return False
    folder = artifacts_dir(store.path, target) / f"round-{number}"
    folder.mkdir(parents=True, exist_ok=True)
    for path in files:
        shutil.copyfile(path, folder / path.name)
    with store.atomic():
        _copy_stage(store, source, target, number, stage)
        store.execute(
            "UPDATE rounds SET summary = json_set(summary, '$.dataset_id', ?)"
            " WHERE run_id = ? AND round = ? AND stage = ?",
            (dataset_id, target, number, stage),
        )
        _copy(store, "metrics", {"run_id": source, "round": number}, {"run_id": target})
        splices.save_adapter(
            store,
            run_id=target,
            round_index=number,
            dataset_id=dataset_id,
            mlx_dir=str(folder),
            gguf_path=str(folder / Path(adapter.gguf_path).name),
            gguf_sha256=adapter.gguf_sha256,
            summary=adapter.summary,
        )
    return True


def _adapter(store: Store, run_id: str, number: int) -> str:
    """SHA-256 of the adapter in use after a round; empty for the base."""
    worn = adapter_in_use(store, run_id, number)
    row = None if worn is None else splices.get_adapter(store, run_id, worn)
    return row.gguf_sha256 if row is not None else ""


def _copy_evals(store: Store, source: str, target: str, number: int) -> None:
    rows = store.rows(
        "SELECT id FROM evals WHERE run_id = ? AND round = ? ORDER BY id", (source, number)
    )
    for row in rows:
        copied = _copy(store, "evals", {"id": row["id"]}, {"id": None, "run_id": target})
        _copy(store, "eval_items", {"eval_id": row["id"]}, {"eval_id": copied})
    # The summary names the run's seed, although greedy episodes do not depend on it.
    store.execute(
        "UPDATE evals SET summary = json_set(summary, '$.settings.seed',"
        " (SELECT seed FROM runs WHERE id = :run)) WHERE run_id = :run AND round = :round"
        " AND json_extract(summary, '$.settings.seed') IS NOT NULL",
        {"run": target, "round": number},
    )


def _copy_stage(store: Store, source: str, target: str, number: int, stage: Stage) -> None:
    """Copy the stage's row with its times; tables of cost use them to count the stage only once."""
    _copy(
        store,
        "rounds",
        {"run_id": source, "round": number, "stage": stage},
        {"run_id": target},
    )


def _copy(store: Store, table: str, where: Mapping[str, Any], changes: Mapping[str, Any]) -> int:
    """Copy rows and replace some of their columns.

    Returns:
        The id of the last new row.
    """
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
