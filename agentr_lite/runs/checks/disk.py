"""Checks that a run can write its database, and that its files fit on the disk."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agentr_lite.actors.openai.spec import is_server
from agentr_lite.actors.registry import expand, resolve_model
from agentr_lite.core.config import home
from agentr_lite.core.errors import AgentrError, ModelError, StoreError
from agentr_lite.core.json_values import JsonError, read_json_object
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.checks.checklist import Checklist

_DATABASE = (1 << 20, 50 << 20)
"""Bytes: the least, and what a run of some hundred trees takes."""
_FLOAT = 4
_KEPT = 4
"""Copies of an adapter that a round leaves: for MLX, for llama.cpp, and two in its checkpoint."""
_IN_TRAINING = 8
"""Further copies while a round trains: two moments of the optimizer, in the checkpoint and in the
one that replaces it."""


@dataclass(frozen=True, slots=True)
class Need:
    """What is written in one place, in bytes."""

    place: Path
    least: int
    """Without so much, the run cannot succeed."""
    likely: int
    """An estimate."""


def check_database(checks: Checklist, path: Path) -> None:
    """Look whether the database can be made, or opened and written; nothing is changed."""
    from agentr_lite.store.files import database_exists

    with checks.refusals("database"):
        if database_exists(path):
            _check_existing(path)
            checks.passed("database", str(path))
            return
        folder = _existing(path.parent)
        if not folder.is_dir():
            raise StoreError(
                f"cannot make the database {path}: {folder} is not a folder",
                hint="Give another path with -d.",
            )
        _check_writable(folder, path)
        checks.passed("database", f"{path}, which will be made")


def check_disk(
    checks: Checklist, recipe: Recipe, database: Path, *, trains: bool, runs: int = 1
) -> None:
    """Compare what will be written with the free space.

    Args:
        checks: for the findings.
        recipe: the run's.
        database: where the run is to be stored.
        trains: whether the run trains adapters.
        runs: how many runs of about this recipe there will be.
    """
    with checks.refusals("disk"):
        by_disk: dict[int, list[Need]] = defaultdict(list)
        for need in _needs(recipe, database, trains=trains, runs=runs):
            by_disk[_existing(need.place).stat().st_dev].append(need)
        for needs in by_disk.values():
            folder = _existing(needs[0].place)
            free = shutil.disk_usage(folder).free
            least, likely = sum(n.least for n in needs), sum(n.likely for n in needs)
            if free < least:
                raise AgentrError(
                    f"not enough space on the disk of {folder}: the run needs at least"
                    f" {_size(least)}, and {_size(free)} are free",
                    hint="Free some space, or choose another place with -d and AGENTR_LITE_HOME.",
                )
            if free < likely:
                checks.warned(
                    "disk",
                    f"the run may need {_size(likely)} on the disk of {folder}, and {_size(free)}"
                    " are free",
                    "If the disk gets full, the run can be resumed once there is space.",
                )
            else:
                checks.passed("disk", f"about {_size(likely)} needed, {_size(free)} free")


def _check_existing(path: Path) -> None:
    from agentr_lite.store import Store
    from agentr_lite.store.database import OutdatedError
    from agentr_lite.store.files import check_writable, is_empty

    if is_empty(path):
        # As good as none: the tables are made in it.
        return check_writable(path)
    # The run brings an outdated one up to date.
    with suppress(OutdatedError):
        Store.open(path, read_only=True).close()
    check_writable(path)


def _check_writable(folder: Path, path: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(
            f"database {path} cannot be made: the folder {folder} is readonly",
            hint="Change the folder's permissions, or give another path with -d.",
        )


def _needs(recipe: Recipe, database: Path, *, trains: bool, runs: int) -> list[Need]:
    least_database, likely_database = _DATABASE
    needs = [Need(database.parent, least_database, likely_database * runs)]
    if not trains or is_server(expand(recipe.model)):
        return needs
    try:
        adapter = _adapter_bytes(recipe)
        copy = _copy_bytes(recipe)
    except ModelError:
        # The check of the model says why.
        return needs
    least = adapter * (_KEPT + _IN_TRAINING)
    likely = least + adapter * _KEPT * ((recipe.rounds + recipe.imitates) * runs - 1)
    return [*needs, Need(database.parent, least, likely), Need(_copies(), copy, copy)]


def _copies() -> Path:
    return home() / "cache" / "weights"


def _copy_bytes(recipe: Recipe) -> int:
    """What taking the weights from the GGUF file will write; 0 where that is not necessary."""
    files = resolve_model(recipe.model)
    if recipe.train_model or files.train_dir is not None:
        return 0
    from agentr_lite.actors.llamacpp.gguf_header import read_header

    # By its name: hashing a large file takes seconds.
    folder = _copies()
    if folder.is_dir() and any(
        path.name.startswith(f"{files.gguf.stem}-") and (path / "conversion.json").is_file()
        for path in folder.iterdir()
    ):
        return 0
    header = read_header(files.gguf)
    kinds = {tensor.kind for tensor in header.tensors if len(tensor.shape) > 1}
    # ggml's type 0 is f32; anything else is written in 16 bits.
    return header.parameters() * (4 if kinds == {0} else 2)


def _adapter_bytes(recipe: Recipe) -> int:
    """One adapter in f32, by the sizes of the model's matrices; 0 where they are not known."""
    files = resolve_model(recipe.model)
    if not recipe.train_model and files.train_dir is None:
        from agentr_lite.actors.llamacpp.gguf_header import read_header

        value = read_header(files.gguf).architecture_value
        layers, width, hidden = (
            value(key) for key in ("block_count", "embedding_length", "feed_forward_length")
        )
        heads = value("attention.head_count", 1)
        kv_heads = value("attention.head_count_kv", heads)
        head = value("attention.key_length", width // max(1, heads))
    else:
        config = _config(Path(recipe.train_model).expanduser() if recipe.train_model else None)
        config = config or _config(files.train_dir)
        layers, width, hidden, heads = (
            _number(config, key)
            for key in (
                "num_hidden_layers",
                "hidden_size",
                "intermediate_size",
                "num_attention_heads",
            )
        )
        kv_heads = _number(config, "num_key_value_heads") or heads
        head = _number(config, "head_dim") or width // max(1, heads)
    if recipe.train.layers >= 0:
        layers = min(layers, recipe.train.layers)
    # Rows and columns of q, k, v and o, then of the three matrices of the MLP.
    attention = 4 * width + 2 * heads * head + 2 * kv_heads * head
    return _FLOAT * recipe.train.rank * layers * (attention + 3 * (width + hidden))


def _config(folder: Path | None) -> dict[str, object]:
    if folder is None:
        return {}
    try:
        data = read_json_object(folder / "config.json")
    except (OSError, JsonError):
        return {}
    text = data.get("text_config")
    return {**data, **text} if isinstance(text, dict) else data


def _number(config: dict[str, object], key: str) -> int:
    value = config.get(key)
    return value if isinstance(value, int) else 0


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _size(count: int) -> str:
    if count >= 10**9:
        return f"{count / 10**9:,.1f} GB"
    return f"{max(1, round(count / 10**6)):,} MB"
