"""A downloaded file, how its progress is reported, and what every download checks."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agentr_lite.core.errors import ModelError

OnBytes = Callable[[str, int, int], None]
"""Called with (file, bytes present, total bytes): at the start, then as bytes arrive."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A complete, verified file."""

    path: Path
    revision: str
    """Commit of the repository, or version of the package."""
    checksum: str
    """SHA-256; for small files that git itself stores, git's SHA-1."""
    size_bytes: int
    was_there: bool
    """The file was present already; nothing was fetched."""


def check_space(folder: Path, needed: int) -> None:
    """Refuse a download for which a folder's disk has too little space.

    Args:
        folder: an existing folder.
        needed: bytes.

    Raises:
        ModelError: there is too little.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ModelError(
            f"{needed / 1e6:,.0f} MB are needed in {folder}, and {free / 1e6:,.0f} MB are free",
            hint="Free some space, or set AGENTR_LITE_MODELS to another folder.",
        )


def file_checksum(path: Path, like: str) -> str:
    """The SHA-256 of a file, or git's SHA-1 of it as a blob if ``like`` is that short."""
    if len(like) == 64:
        digest = hashlib.sha256()
    else:
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
