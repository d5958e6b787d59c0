"""The tasks that a round gained or lost against the base, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.console.text import Styled
from agentr_lite.core.rounds import START, reference_round, round_name
from agentr_lite.report.model.pairs import Change, TaskPair
from agentr_lite.report.tables.section import Section
from agentr_lite.report.words import Cell, decimal
from agentr_lite.store.records import EvalItemRow

SHOWN = 20
"""Tasks of each kind in a table."""


def paired_section(
    pairs: Sequence[TaskPair],
    round_index: int,
    *,
    mode: str,
    split: str,
    imitates: bool = False,
    limit: int = SHOWN,
) -> Section:
    """The tasks that changed; no rows where none did.

    Args:
        pairs: from ``task_pairs``.
        round_index: the round.
        mode: how they were played.
        split: whose tasks.
        imitates: whether the run has imitation.
        limit: at most so many tasks gained, and as many lost.
    """
    name = round_name(round_index, imitates=imitates)
    number = reference_round(round_index, imitates=imitates)
    base = round_name(START if number is None else number, imitates=imitates)
    than = "the base" if base == "base" else base
    several = len({pair.now.task.env for pair in pairs}) > 1
    rows: list[list[Cell]] = []
    notes: list[str | Styled] = []
    marks: tuple[tuple[Change, str, str], ...] = (("gained", "+", "green"), ("lost", "−", "red"))
    for change, mark, colour in marks:
        changed = [pair for pair in pairs if pair.change == change]
        for pair in changed[:limit]:
            task = pair.now.task
            rows.append(
                [
                    Styled(f"{mark} {task.name}", fg=colour),
                    *([task.env] if several else []),
                    task.level,
                    *(cell for item in (pair.base, pair.now) for cell in _cells(item)),
                ]
            )
        if len(changed) > limit:
            notes.append(f"… {len(changed) - limit} more {change}; --json has all.")
    notes.append(f"+ solved by {name} alone, − by {than} alone; {both_sides(pairs)}.")
    columns = ["", *(["environment"] if several else []), "level"]
    columns += [base, "steps", name, "steps"]
    return Section(f"Tasks that changed on {split}, {mode}", columns, rows, notes)


def both_sides(pairs: Sequence[TaskPair]) -> str:
    """``both solve 14, neither 19``."""
    same = [pair for pair in pairs if pair.change == "same"]
    both = sum(pair.now.success for pair in same)
    return f"both solve {both}, neither {len(same) - both}"


def _cells(item: EvalItemRow) -> list[Cell]:
    return [decimal(item.reward, 2), item.steps]
