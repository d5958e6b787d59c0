"""What the process that runs one cell needs to know, as one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class CellJob:
    """One cell of one study in one database."""

    study: str
    """Bundled name or path of the study."""
    overrides: Sequence[str]
    """``key=value``; see ``load_study``."""
    quick: bool
    """Whether it is the study's quick form."""
    cell: str
    """The cell's name, ``ENV/METHOD/SEED``; empty in a job that holds for every cell."""
    db: str
    """Absolute path of the database."""
    mark: str = ""
    """A part of the ids of new runs; see ``create_run``."""

    def to_json(self) -> str:
        """The job as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> CellJob:
        """The job that ``to_json`` wrote."""
        return cls(**json.loads(line))
