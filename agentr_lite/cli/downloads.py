"""What ``agentr-lite models`` does with downloads: their names, their progress, their end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agentr_lite.core.errors import UsageError

if TYPE_CHECKING:
    from agentr_lite.actors.shelf import Entry
    from agentr_lite.console.progress import Progress


class Megabytes:
    """A progress line a file, in whole MB; to be called as ``hub.OnBytes``."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._file = ""
        self._shown = 0

    def __call__(self, file: str, there: int, total: int) -> None:
        megabytes = there // 1_000_000
        if file != self._file:
            self.finish()
            self._file, self._shown = file, megabytes
            self._progress.start(f"{file}, MB", -(-total // 1_000_000), initial=megabytes)
        elif megabytes > self._shown:
            self._progress.advance(megabytes - self._shown)
            self._shown = megabytes

    def finish(self) -> None:
        """End the last file's line."""
        if self._file:
            total = self._progress.total or 0
            self._progress.advance(total - self._shown)
            self._progress.finish()
        self._file = ""


def repository_file(model: str, revision: str) -> tuple[str, str]:
    """``OWNER/REPOSITORY/PATH`` taken apart; a repository with one GGUF file needs no path.

    Raises:
        UsageError: no such form, or several files to choose from.
        ModelError: the repository cannot be listed.
    """
    from agentr_lite.actors import hub
    from agentr_lite.actors.catalog import CATALOG
    from agentr_lite.core.suggestions import did_you_mean

    parts = model.removeprefix("hf:").strip("/").split("/")
    if len(parts) < 2:
        raise UsageError(
            f"no known model '{model}'{did_you_mean(model, [item.name for item in CATALOG])}",
            hint="`agentr-lite models list` has the names; OWNER/REPOSITORY/FILE.gguf works too.",
        )
    repo = "/".join(parts[:2])
    if len(parts) > 2:
        return repo, "/".join(parts[2:])
    files = hub.gguf_files(hub.list_files(repo, revision=revision))
    if len(files) == 1:
        return repo, files[0]
    raise UsageError(
        f"{repo} has {len(files) or 'no'} GGUF files" + ("; name one" if files else ""),
        hint=", ".join(f"{repo}/{file}" for file in files[:8])
        or "Look for a repository whose name ends in -GGUF.",
    )


def delete_files(entry: Entry) -> list[str]:
    """Delete what was downloaded for ``entry`` and is needed by no other; says what went."""
    from agentr_lite.actors import shelf
    from agentr_lite.core.config import models_dir

    root = models_dir().resolve()
    needed = {path for other in shelf.entries().values() for path in _paths(other)}
    deleted: list[Path] = []
    for path in _paths(entry):
        if not entry.source or root not in path.parents or not path.exists():
            continue
        if path.is_dir() and any(folder in needed for folder in path.parents):
            # A part of a folder that another name needs whole.
            continue
        deleted += _delete(path, needed)
        if path.parent != root and not any(path.parent.iterdir()):
            path.parent.rmdir()
    return [str(path) for path in deleted]


def _delete(path: Path, needed: set[Path]) -> list[Path]:
    """Delete a file or a folder except for what is needed; gives what went."""
    import shutil

    if path in needed:
        return []
    if path.is_symlink() or not path.is_dir():
        path.unlink()
    elif any(path in one.parents for one in needed):
        # A repository's folder holds whatever was pulled from it, by any name.
        return [gone for child in sorted(path.iterdir()) for gone in _delete(child, needed)]
    else:
        shutil.rmtree(path)
    return [path]


def _paths(entry: Entry) -> list[Path]:
    named = [entry.model.removeprefix("mlx:"), entry.train_model]
    return [
        Path(one).expanduser().resolve() for one in named if one and not one.startswith("openai:")
    ]
