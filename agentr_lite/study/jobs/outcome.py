"""What one call of ``agentr-lite study`` achieved, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class StudyOutcome:
    """The cells that one call finished, failed at, or could not start."""

    finished: list[str] = field(default_factory=list)
    """The cells that this call finished."""
    failed: dict[str, str] = field(default_factory=dict)
    """Cell to why it failed."""
    owed: dict[str, str] = field(default_factory=dict)
    """Cell to what it still waits for."""
    some_tasks_failed: bool = False
    """Whether the environment or the model failed in a task of a finished cell."""
