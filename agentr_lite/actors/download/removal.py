"""Deletes downloaded model files."""

from __future__ import annotations

import shutil
from pathlib import Path

from agentr_lite.actors import named_models
from agentr_lite.actors.named_models import NamedModel
from agentr_lite.core.config import models_dir


def delete_files(entry: NamedModel) -> list[str]:
    """Delete the files that were downloaded for a model and that no other named model needs.

    Returns:
        The paths that were deleted.
    """
    root = models_dir().resolve()
    needed = {path for other in named_models.entries().values() for path in _paths(other)}
    deleted: list[Path] = []
    for path in _paths(entry):
        if not entry.source or root not in path.parents or not path.exists():
            continue
        if path.is_dir() and any(folder in needed for folder in path.parents):
            # It is part of a folder that another named model needs as a whole.
            continue
        deleted += _delete(path, needed)
        if path.parent != root and not any(path.parent.iterdir()):
            path.parent.rmdir()
    return [str(path) for path in deleted]


def _delete(path: Path, needed: set[Path]) -> list[Path]:
    """Delete a file or a folder except for what is needed; returns what was deleted."""
    if path in needed:
        return []
    if path.is_symlink() or not path.is_dir():
        path.unlink()
    elif any(path in kept.parents for kept in needed):
        # A repository's folder holds everything that was pulled from it, under any name.
        return [deleted for child in sorted(path.iterdir()) for deleted in _delete(child, needed)]
    else:
        shutil.rmtree(path)
    return [path]


def _paths(entry: NamedModel) -> list[Path]:
    named = [entry.model.removeprefix("mlx:"), entry.train_model]
    return [
        Path(path).expanduser().resolve()
        for path in named
        if path and not path.startswith("openai:")
    ]
