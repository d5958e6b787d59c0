"""SHA-256 of model files, computed once for each version of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

_known: dict[tuple[str, int, int], str] = {}


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file, cached while its size and modification time stay the same."""
    stat = path.stat()
    key = (str(path.resolve()), stat.st_mtime_ns, stat.st_size)
    if key not in _known:
        with path.open("rb") as file:
            _known[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _known[key]


def directory_sha256(path: Path) -> str:
    """Hex SHA-256 of a model directory's weights, settings and tokenizer."""
    names = [
        file.name
        for file in path.iterdir()
        if file.suffix in (".safetensors", ".json", ".jinja", ".model") and file.is_file()
    ]
    total = hashlib.sha256()
    for name in sorted(names):
        total.update(f"{name} {file_sha256(path / name)}\n".encode())
    return total.hexdigest()
