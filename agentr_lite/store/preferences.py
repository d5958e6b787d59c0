"""Pairs of a better and a worse continuation of one conversation: saved, listed, read as turns.

A row names nodes and holds no text. Its turns are those of the tree, and where a revision is
preferred, those of the revision.

    root ── … ── parting ─┬─ … ── chosen
                          └─ … ── rejected
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agentr_lite.core.messages import Message
from agentr_lite.core.openings import Opening
from agentr_lite.core.preferences import PREFERENCE_KINDS, PreferenceKind
from agentr_lite.core.steps import Step
from agentr_lite.store import trees
from agentr_lite.store.database import Store
from agentr_lite.store.decoding import DamagedError, record
from agentr_lite.store.records import PreferenceRow
from agentr_lite.store.splices import get_revision

_PREFERENCE = """
SELECT p.id, p.run_id, p.round, p.tree_id, p.kind, p.parting_idx, p.chosen_idx, p.rejected_idx,
    p.chosen_value, p.rejected_value, p.revision_id, k.name AS task, k.env AS env
FROM preferences p JOIN trees r ON r.id = p.tree_id JOIN tasks k ON k.id = r.task_id
"""


@dataclass(frozen=True, slots=True)
class Continuations:
    """A preference as turns."""

    opening: Opening
    """What comes before the first of them."""
    shared: list[Step]
    """From reset to the parting."""
    chosen: list[Step]
    """After it; never empty. Of a revision only what a conversation has: text, observation,
    tokens and thoughts. Its last observation is empty."""
    rejected: list[Step]
    """After it; never empty."""
    chosen_loss: list[bool] | None = None
    """Of a revision: which turns of ``chosen`` are learnt."""


def save_preference(
    store: Store,
    *,
    run_id: str,
    round_index: int,
    tree_id: int,
    kind: PreferenceKind,
    parting_idx: int,
    chosen_idx: int,
    rejected_idx: int,
    chosen_value: float,
    rejected_value: float,
    revision_id: int | None = None,
) -> int:
    """Store a pair; returns its id. The same pair is replaced. See ``PreferenceRow``."""
    return store.insert(
        "preferences",
        {
            "run_id": run_id,
            "round": round_index,
            "tree_id": tree_id,
            "kind": kind,
            "parting_idx": parting_idx,
            "chosen_idx": chosen_idx,
            "rejected_idx": rejected_idx,
            "chosen_value": chosen_value,
            "rejected_value": rejected_value,
            "revision_id": revision_id,
        },
        replace=True,
    )


def list_preferences(
    store: Store,
    run_id: str,
    *,
    round_index: int | None = None,
    tree_id: int | None = None,
    kinds: Iterable[PreferenceKind] = PREFERENCE_KINDS,
) -> list[PreferenceRow]:
    """Preferences in the order they were made.

    Args:
        store: the database.
        run_id: the run.
        round_index: only this round's.
        tree_id: only this tree's.
        kinds: only of these kinds.
    """
    rows = store.rows(
        f"""
        {_PREFERENCE} WHERE p.run_id = :run AND (:round IS NULL OR p.round = :round)
            AND (:tree IS NULL OR p.tree_id = :tree)
        ORDER BY p.round, p.id
        """,
        {"run": run_id, "round": round_index, "tree": tree_id},
    )
    wanted = set(kinds)
    found = [record(PreferenceRow, dict(row), "preferences") for row in rows]
    return [row for row in found if row.kind in wanted]


def get_preference(store: Store, preference_id: int) -> PreferenceRow:
    """A pair.

    Raises:
        KeyError: no such pair.
    """
    row = store.row(f"{_PREFERENCE} WHERE p.id = ?", (preference_id,))
    if row is None:
        raise KeyError(f"no preference {preference_id} in {store.path}")
    return record(PreferenceRow, dict(row), "preferences")


def preference_counts(store: Store, run_id: str, round_index: int) -> dict[PreferenceKind, int]:
    """How many pairs of each kind a round has; kinds without any are left out."""
    rows = store.rows(
        "SELECT kind, count(*) FROM preferences WHERE run_id = ? AND round = ? GROUP BY kind",
        (run_id, round_index),
    )
    counts = {row[0]: row[1] for row in rows}
    return {kind: counts[kind] for kind in PREFERENCE_KINDS if kind in counts}


def continuations(store: Store, row: PreferenceRow) -> Continuations:
    """The turns that a pair stands for.

    Raises:
        DamagedError: its nodes are not where its row says.
    """
    what = f"preference {row.id}"
    shared = _path(store, row, row.parting_idx) if row.parting_idx else []
    rejected = _after(_path(store, row, row.rejected_idx), shared, what)
    opening = trees.tree_opening(store, row.tree_id)
    if row.revision_id is None:
        chosen = _after(_path(store, row, row.chosen_idx), shared, what)
        return Continuations(opening, shared, chosen, rejected)
    revision = get_revision(store, row.revision_id)
    if revision.messages is None or revision.loss is None:
        raise DamagedError(f"{what} is damaged: its revision has no conversation")
    if revision.cut_step != len(shared):
        raise DamagedError(f"{what} is damaged: its revision begins elsewhere")
    flagged = list(zip(revision.messages, revision.loss, strict=True))
    # Behind the opening and its examples, an agent's turn and its observation a step.
    first = next(
        (i for i, (message, _) in enumerate(flagged) if _is_own_turn(message)), len(flagged)
    )
    rest = flagged[first + 2 * len(shared) :]
    if not rest:
        raise DamagedError(f"{what} is damaged: its revision ends before the parting")
    turns, answers = rest[::2], rest[1::2]
    observations = [message["content"] for message, _ in answers]
    chosen = [
        _step(message, observation)
        for (message, _), observation in zip(turns, [*observations, ""], strict=False)
    ]
    return Continuations(opening, shared, chosen, rejected, [loss for _, loss in turns])


def _is_own_turn(message: Message) -> bool:
    return message["role"] == "assistant" and not message.get("example")


def _step(message: Message, observation: str) -> Step:
    return Step(
        message["content"],
        None,
        observation,
        token_ids=tuple(message.get("token_ids", ())),
        thinking=message.get("thinking", ""),
    )


def _path(store: Store, row: PreferenceRow, idx: int) -> list[Step]:
    try:
        return trees.path_steps(store, row.tree_id, idx)
    except KeyError as error:
        raise DamagedError(
            f"preference {row.id} is damaged: tree {row.tree_id} has no node {idx}"
        ) from error


def _after(path: Sequence[Step], shared: Sequence[Step], what: str) -> list[Step]:
    if len(path) <= len(shared) or list(path[: len(shared)]) != list(shared):
        raise DamagedError(f"{what} is damaged: its two ends do not part where it says")
    return list(path[len(shared) :])
