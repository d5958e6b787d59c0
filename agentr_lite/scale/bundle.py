"""Files that workers need, named by their SHA-256: models, adapters, chat templates.

A worker that has the same file, at the same path or under the same name, uses it. Otherwise the
content is sent to it in parts, checked while it is written, and kept in ``received`` beside the
downloaded models for the next time.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentr_lite.actors.digest import file_sha256
from agentr_lite.core.config import models_dir
from agentr_lite.core.errors import ModelError

PART_BYTES = 32 << 20
"""Size of the parts in which a file is sent."""

Stock = Mapping[str, Sequence[Any]]
"""SHA-256 of a file to the handles of its parts, in order."""


@dataclass(frozen=True, slots=True)
class BundledFile:
    """A file by its content."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """A file, or a directory without the directories in it."""

    path: str
    """Where the sender has it."""
    is_directory: bool
    files: tuple[BundledFile, ...]

    @classmethod
    def of(cls, path: Path) -> Bundle:
        """Name what lies at a path.

        Raises:
            ModelError: nothing lies there.
            OSError: it cannot be read.
        """
        if not path.exists():
            raise ModelError(f"there is no {path} to send to the workers", hint="Check the path.")
        chosen = [path]
        if path.is_dir():
            chosen = sorted(each for each in path.iterdir() if each.is_file())
        files = tuple(
            BundledFile(each.name, file_sha256(each), each.stat().st_size) for each in chosen
        )
        return cls(str(path.absolute()), path.is_dir(), files)

    @property
    def digest(self) -> str:
        """Hex SHA-256 of all names and contents."""
        total = hashlib.sha256()
        for file in self.files:
            total.update(f"{file.name} {file.sha256}\n".encode())
        return total.hexdigest()

    def is_at(self, path: Path) -> bool:
        """Whether the same content lies at a path."""
        try:
            return all(
                each.stat().st_size == file.size and file_sha256(each) == file.sha256
                for file, each in self._places(path)
            )
        except OSError:
            return False

    def missing(self, stock: Stock) -> list[str]:
        """SHA-256 of the files that are not in a stock."""
        return [file.sha256 for file in self.files if file.sha256 not in stock]

    def source(self, sha256: str) -> Path:
        """Where the sender has a file.

        Raises:
            KeyError: the bundle has no such file.
        """
        for file, each in self._places(Path(self.path)):
            if file.sha256 == sha256:
                return each
        raise KeyError(sha256)

    def received(self, stock: Stock, fetch: Callable[[Any], bytes]) -> Path:
        """Write what was sent, and give its place.

        Args:
            stock: holds every file of the bundle.
            fetch: gives the content of a part.

        Raises:
            ModelError: the content is not what was to be sent.
            OSError: it cannot be written.
        """
        folder = received_dir(self)
        target = folder if self.is_directory else folder / self.files[0].name
        for file, place in self._places(target):
            place.parent.mkdir(parents=True, exist_ok=True)
            _write(place, file, (fetch(part) for part in stock[file.sha256]))
        return target

    def _places(self, path: Path) -> Iterator[tuple[BundledFile, Path]]:
        """Each file with its place, if the bundle lies at ``path``."""
        for file in self.files:
            yield file, path / file.name if self.is_directory else path


def received_dir(bundle: Bundle) -> Path:
    """Where a bundle lies that was sent here."""
    return models_dir() / "received" / bundle.digest


def parts_of(path: Path) -> Iterator[bytes]:
    """A file's content in parts; one empty part of an empty file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        part = file.read(PART_BYTES)
        yield part
        while part := file.read(PART_BYTES):
            yield part


def _write(place: Path, file: BundledFile, parts: Iterable[bytes]) -> None:
    """Write a file under another name, check it, and rename it: several workers may do so."""
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    digest = hashlib.sha256()
    try:
        with os.fdopen(handle, "wb") as out:
            for part in parts:
                digest.update(part)
                out.write(part)
        if digest.hexdigest() != file.sha256:
            raise ModelError(
                f"{file.name} was changed on its way to a worker, or while it was sent",
                hint="Give the same command again.",
            )
        Path(name).replace(place)
    finally:
        Path(name).unlink(missing_ok=True)
