"""What a running stage does now, as a line."""

from __future__ import annotations

from datetime import UTC, datetime

from agentr_lite.console.text import format_duration
from agentr_lite.store.live import LiveRow

from .lines import Line, Span, one_line

QUIET_S = 60.0
"""Seconds without news after which a line says so: a batch of a large model can take as long."""


def live_line(row: LiveRow, now: datetime) -> tuple[Line, Line]:
    """The left and the right part of the line.

    Args:
        row: what the stage said last.
        now: with a time zone.
    """
    counts = f"{row.count:,}" if row.total is None else f"{row.count:,}/{row.total:,}"
    left: list[Span] = [(" ● ", "good"), (one_line(f"{row.label} {counts}"), "plain")]
    if row.note:
        left.append((f" · {one_line(row.note)}", "dim"))
    quiet_s = (now - _time(row.updated_utc)).total_seconds()
    if quiet_s > QUIET_S:
        text = f"no news for {format_duration(quiet_s)}: the process may have ended "
        return tuple(left), ((text, "partial"),)
    facts: list[str] = []
    if row.tokens_per_s:  # Training generates none.
        facts.append(f"{row.tokens_per_s:,.0f} tokens/s")
    ends = []
    if row.part_left_s is not None:
        ends.append(f"{format_duration(row.part_left_s)} left")
    if row.run_left_s is not None:
        ends.append(f"run {format_duration(row.run_left_s)}")
    if ends:
        facts.append(", ".join(ends))
    return tuple(left), ((" · ".join(facts) + " ", "strong"),)


def _time(text: str) -> datetime:
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
