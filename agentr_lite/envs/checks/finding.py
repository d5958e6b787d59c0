"""What a check found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal["ok", "remark", "not tried", "failed"]
"""``remark``: no promise is broken, but something is unusual."""

SHOWN_EXAMPLES = 3
UNTRIED = "no real action was tried"
"""What is said where only refused or nonsensical actions were tried."""
UNTRIED_HINT = "Implement valid_actions() or solve(), so that there are actions to try."


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    check: str
    """``splits``, ``instructions``, ``rewards``, ``determinism``, ``snapshots``, ``oracle``,
    ``seeds``, ``actions``, ``repeats`` or ``limits``."""
    outcome: Outcome
    cases: int
    """Number of tasks, steps or states that were tried."""
    detail: str = ""
    """The problems, with the first examples; or a remark."""
    hint: str = ""
    """What to do about it."""

    @property
    def ok(self) -> bool | None:
        """Whether the check passed; None: it was not tried."""
        return None if self.outcome == "not tried" else self.outcome != "failed"

    @property
    def failed(self) -> bool:
        """Whether a promise is broken."""
        return self.outcome == "failed"

    def to_json(self) -> dict[str, Any]:
        """Its fields, and ``ok``: null where it was not tried."""
        return {
            "check": self.check,
            "outcome": self.outcome,
            "ok": self.ok,
            "cases": self.cases,
            "detail": self.detail,
            "hint": self.hint,
        }


def found(
    check: str,
    cases: int,
    problems: Sequence[str] = (),
    *,
    remarks: Sequence[str] = (),
    note: str = "",
    hint: str = "",
    untried: tuple[str, str] = ("", ""),
) -> Finding:
    """The finding of a check that has been carried out.

    Args:
        check: its name.
        cases: how many cases were tried; with 0, the check was not tried.
        problems: broken promises.
        remarks: what is unusual.
        note: what to say where there is nothing of both.
        hint: what to do about the problems or the remarks.
        untried: why nothing was tried, and what to implement so that it can be; with a reason, the
            check counts as not tried whatever ``cases`` is.
    """
    if problems:
        return Finding(check, "failed", cases, listed(problems), hint)
    if untried[0] or not cases:
        reason, then = untried if untried[0] else ("there is no task to try it on", "")
        return Finding(check, "not tried", cases, reason, then)
    if remarks:
        return Finding(check, "remark", cases, listed(remarks), hint)
    return Finding(check, "ok", cases, note)


def listed(problems: Sequence[str]) -> str:
    """The first problems, and how many more there are."""
    more = len(problems) - SHOWN_EXAMPLES
    return "; ".join(problems[:SHOWN_EXAMPLES]) + (f"; … {more} more" if more > 0 else "")
