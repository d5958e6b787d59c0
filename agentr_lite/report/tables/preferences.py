"""Pairs of a better and a worse continuation as a table, with an example of each kind."""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.core.rounds import round_name
from agentr_lite.report.model.preferences import PreferenceExample, PreferenceLine
from agentr_lite.report.tables.section import Section
from agentr_lite.report.words import Cell, decimal

_LONGEST_ACTION = 60
"""Characters of an action in an example."""


def preference_section(lines: Sequence[PreferenceLine]) -> Section:
    """How many pairs each round gave, by kind, and how much their values differ."""
    rows: list[list[Cell]] = [
        [
            f"{round_name(line.round)}, {line.kind}",
            line.pairs,
            line.trees,
            decimal(line.chosen_value),
            decimal(line.rejected_value),
            decimal(line.chosen_value - line.rejected_value),
        ]
        for line in lines
    ]
    columns = ["", "pairs", "trees", "better", "worse", "difference"]
    last = {line.kind: line for line in lines}
    notes = [f"For example ({kind}): {_sentence(line.example)}." for kind, line in last.items()]
    if rows:
        notes.append(
            "Pairs of two continuations of one conversation, of which the first is preferred."
            " Better and worse: mean rewards of the episodes (episode, revision), or mean values of"
            " the actions in the search (step). Trees: those that gave a pair."
        )
    return Section("Preferences", columns, rows, notes)


def _sentence(example: PreferenceExample) -> str:
    where = f"after {_quoted(example.after)}" if example.after else "at the beginning"
    better = _quoted(example.chosen) if example.chosen else "the reflection"
    worse = _quoted(example.rejected) if example.rejected else "a turn without an action"
    return (
        f"in {example.task}, {where}, {better} ({example.chosen_value:.2f}) is preferred to"
        f" {worse} ({example.rejected_value:.2f})"
    )


def _quoted(action: str) -> str:
    text = " ".join(action.split())
    return f"“{text if len(text) <= _LONGEST_ACTION else text[:_LONGEST_ACTION] + '…'}”"
