"""The models that the program knows: bundled, named by the user, or to be downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agentr_lite.actors import named_models
from agentr_lite.actors.digest import file_sha256
from agentr_lite.actors.download import catalog
from agentr_lite.actors.llamacpp.gguf_header import read_header
from agentr_lite.actors.named_models import NamedModel
from agentr_lite.actors.registry import STARTER, resolve_model
from agentr_lite.core.errors import ModelError


def list_models() -> list[dict[str, Any]]:
    """A row for each model; JSON types.

    Returns:
        ``name``, ``state`` (bundled, named, downloaded, server, missing, broken, to pull),
        ``path``, ``file_bytes``, ``n_params``, ``train_dir``, and what else is known; ``places``
        for a model to pull, in the order in which they are tried. A catalogue model whose name the
        user has given to another is left out.
    """
    rows = [_bundled(), *(_named(entry) for entry in named_models.entries().values())]
    taken = {row["name"] for row in rows}
    rows += [
        {
            "name": item.name,
            "state": "to pull",
            "path": item.places[0].source,
            "file_bytes": item.places[0].size_bytes,
            "n_params": int(item.parameters),
            "train_dir": None,
            "train_repo": item.train_repo or None,
            "licence": item.licence,
            "places": [
                {
                    "kind": place.kind,
                    "label": place.label,
                    "source": place.source,
                    "file_bytes": place.size_bytes,
                }
                for place in item.places
            ],
        }
        for item in catalog.CATALOG
        if item.name not in taken
    ]
    return rows


def _bundled() -> dict[str, Any]:
    files = resolve_model(STARTER)
    header = read_header(files.gguf)
    return {
        "name": files.name,
        "state": "bundled",
        "path": str(files.gguf),
        "file_bytes": header.file_bytes,
        "n_params": header.parameters(),
        "context_tokens": header.architecture_value("context_length"),
        "sha256": file_sha256(files.gguf),
        "train_dir": str(files.train_dir),
    }


def _named(entry: NamedModel) -> dict[str, Any]:
    """A row for a named model; a missing or broken file is a state, not an error."""
    row: dict[str, Any] = {
        "name": entry.name,
        "state": "downloaded" if entry.source else "named",
        "path": entry.model,
        "file_bytes": None,
        "n_params": None,
        "train_dir": entry.train_model or None,
        "source": entry.source or None,
        "sha256": entry.sha256 or None,
    }
    if entry.model.startswith("openai:"):
        return row | {"state": "server"}
    if entry.model.startswith("mlx:"):
        return row | {"train_dir": entry.model.removeprefix("mlx:")}
    try:
        header = read_header(Path(entry.model))
    except ModelError as error:
        gone = not Path(entry.model).exists()
        return row | {"state": "missing" if gone else "broken", "error": error.message}
    return row | {"file_bytes": header.file_bytes, "n_params": header.parameters()}
