"""What was checked before a run, and what came of it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from agentr_lite.core.errors import AgentrError, from_os_error

Outcome = Literal["ok", "warning", "refused"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One check."""

    subject: str
    """What was checked, e.g. ``model``."""
    outcome: Outcome
    message: str
    hint: str = ""
    error: AgentrError | None = None
    """What the run ends with; None unless it is refused."""

    def to_json(self) -> dict[str, str]:
        """Its texts."""
        return {
            "subject": self.subject,
            "outcome": self.outcome,
            "message": self.message,
            "hint": self.hint,
        }


class Checklist:
    """Collects findings.

    Attributes:
        findings: in the order of the checks.
    """

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def passed(self, subject: str, message: str) -> None:
        """Note that something is as it should be."""
        self.findings.append(Finding(subject, "ok", message))

    def warned(self, subject: str, message: str, hint: str = "") -> None:
        """Note something that the user should know, and that does not stop the run."""
        self.findings.append(Finding(subject, "warning", message, hint))

    @contextmanager
    def refusals(self, subject: str) -> Generator[None]:
        """Note what the block raises as the reason to refuse the run, and go on after the block."""
        try:
            yield
        except (AgentrError, OSError) as error:
            known = error if isinstance(error, AgentrError) else from_os_error(error)
            self.findings.append(Finding(subject, "refused", known.message, known.hint, known))

    def is_refused(self, subject: str) -> bool:
        """Whether a check of ``subject`` refused the run."""
        return any(
            finding.subject == subject and finding.outcome == "refused" for finding in self.findings
        )
