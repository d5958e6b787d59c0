"""A run's pairs of a better and a worse continuation: counts by round and kind, and examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentr_lite.core.preferences import PREFERENCE_KINDS, PreferenceKind
from agentr_lite.store.database import Store
from agentr_lite.store.inspection import node_labels
from agentr_lite.store.preferences import list_preferences
from agentr_lite.store.records import PreferenceRow
from agentr_lite.store.trees import path_nodes


@dataclass(frozen=True, slots=True)
class PreferenceExample:
    """One pair in a few words."""

    task: str
    after: str
    """The last action that both share; empty where they part at the root."""
    chosen: str
    """The first action of the preferred continuation; of a revision, empty: it reflects."""
    rejected: str
    """The first action of the other one."""
    chosen_value: float
    rejected_value: float


@dataclass(frozen=True, slots=True)
class PreferenceLine:
    """The pairs of one kind of one round."""

    round: int
    kind: PreferenceKind
    pairs: int
    trees: int
    """Trees that gave at least one."""
    chosen_value: float
    """Mean over the pairs, in [0, 1]."""
    rejected_value: float
    example: PreferenceExample
    """The pair whose values differ most."""


def preference_lines(store: Store, run_id: str) -> list[PreferenceLine]:
    """A run's pairs by round and kind; empty where it has none."""
    groups: dict[tuple[int, PreferenceKind], list[PreferenceRow]] = {}
    for row in list_preferences(store, run_id):
        groups.setdefault((row.round, row.kind), []).append(row)
    order = PREFERENCE_KINDS.index
    return [
        PreferenceLine(
            number,
            kind,
            len(rows),
            len({row.tree_id for row in rows}),
            _mean([row.chosen_value for row in rows]),
            _mean([row.rejected_value for row in rows]),
            _example(store, max(rows, key=lambda row: row.chosen_value - row.rejected_value)),
        )
        for (number, kind), rows in sorted(
            groups.items(), key=lambda item: (item[0][0], order(item[0][1]))
        )
    ]


def first_actions(store: Store, row: PreferenceRow) -> tuple[str, str, str]:
    """The last action that the two share, and the first one of each; empty where there is none."""
    first = {}
    for end in (row.chosen_idx, row.rejected_idx):
        path = path_nodes(store, row.tree_id, end)
        # The ends of a revision's good and bad trajectory part before its t'.
        places = [at for at, node in enumerate(path) if node.idx == row.parting_idx]
        first[end] = path[places[0] + 1].action or "" if places else ""
    labels = node_labels(store, row.tree_id, [row.parting_idx])
    return labels[row.parting_idx][0], first[row.chosen_idx], first[row.rejected_idx]


def _example(store: Store, row: PreferenceRow) -> PreferenceExample:
    values = (row.chosen_value, row.rejected_value)
    return PreferenceExample(row.task, *first_actions(store, row), *values)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
