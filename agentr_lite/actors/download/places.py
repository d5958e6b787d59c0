"""Places that a model's file can be downloaded from: a hub repository, or a package index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["hub", "index"]


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository on the Hugging Face hub."""

    repo: str
    """``OWNER/NAME``."""
    file: str
    """Path in the repository."""
    megabytes: int = 0
    """Size, rounded; 0: not known."""

    @property
    def kind(self) -> Kind:
        """``hub``."""
        return "hub"

    @property
    def source(self) -> str:
        """The text by which the list of models remembers the place."""
        return f"{self.repo}/{self.file}"

    @property
    def label(self) -> str:
        """The place, for people."""
        return f"hub: {self.source}"

    @property
    def size_bytes(self) -> int:
        """Size of the file, from the rounded one."""
        return self.megabytes * 1_000_000


@dataclass(frozen=True, slots=True)
class WheelPart:
    """One file in the wheel of a package: a whole model, or a part of one."""

    package: str
    path: str
    """Path in the wheel."""
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class IndexFile:
    """A file that packages of the package index carry, in one wheel or in parts that are joined."""

    package: str
    """The package's name; where it has parts, the name that they have in common."""
    version: str
    """Of every part's package."""
    file: str
    """Name of the whole file."""
    sha256: str
    """Of the whole file."""
    parts: tuple[WheelPart, ...]
    """In the order in which they are joined."""

    @property
    def kind(self) -> Kind:
        """``index``."""
        return "index"

    @property
    def source(self) -> str:
        """The text by which the list of models remembers the place."""
        return f"index:{self.package}=={self.version}/{self.file}"

    @property
    def label(self) -> str:
        """The place, for people."""
        return f"package index: {self.package} {self.version}"

    @property
    def size_bytes(self) -> int:
        """Size of the whole file."""
        return sum(part.size_bytes for part in self.parts)


Place = HubFile | IndexFile
