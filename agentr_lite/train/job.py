"""A training as JSON: the arguments of ``train_lora``, and its result."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentr_lite.recipe.groups import TrainSettings
from agentr_lite.train.batches import TrainExample
from agentr_lite.train.dpo import PairFigures
from agentr_lite.train.lora import TrainResult
from agentr_lite.train.preferences import DroppedPairs, PreferenceExample

_PATHS = ("model_dir", "out_dir", "start_adapter", "chat_template")
_RESULT_PATHS = ("adapter_dir", "gguf_path")
_EXAMPLES: dict[str, Any] = {
    "train": TrainExample,
    "valid": TrainExample,
    "pairs": PreferenceExample,
    "valid_pairs": PreferenceExample,
}


def arguments_to_json(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON can hold of the arguments of ``train_lora``, but for ``on_report`` and ``team``."""
    values = dict(arguments)
    for name in _EXAMPLES:
        values[name] = [dataclasses.asdict(example) for example in values[name]]
    for name in _PATHS:
        # Other processes may have another current folder.
        values[name] = values[name] and str(Path(values[name]).absolute())
    return {**values, "settings": dataclasses.asdict(values["settings"])}


def arguments_from_json(values: dict[str, Any]) -> dict[str, Any]:
    """The arguments again."""
    for name, kind in _EXAMPLES.items():
        values[name] = [kind(**example) for example in values[name]]
    for name in _PATHS:
        values[name] = values[name] and Path(values[name])
    return {**values, "settings": TrainSettings(**values["settings"])}


def result_to_json(result: TrainResult) -> str:
    """A training's result."""
    values = dataclasses.asdict(result)
    return json.dumps({**values, **{name: str(values[name]) for name in _RESULT_PATHS}})


def result_from_json(text: str) -> TrainResult:
    """The result again."""
    values = json.loads(text)
    for name in _RESULT_PATHS:
        values[name] = Path(values[name])
    for name in ("train_losses", "valid_losses"):
        values[name] = [tuple(row) for row in values[name]]
    for name in ("pair_figures", "valid_pair_figures"):
        values[name] = [PairFigures(**row) for row in values[name]]
    return TrainResult(**{**values, "dropped_pairs": DroppedPairs(**values["dropped_pairs"])})
