"""What splicing a round gave, counted from the store alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from agentr_lite.core.preferences import PREFERENCE_KINDS
from agentr_lite.splice.wave import ENVIRONMENT_FAULT
from agentr_lite.store import Store, preferences, splices, trees


def splice_counts(
    store: Store, run_id: str, round_index: int, *, env: str | None = None
) -> dict[str, Any]:
    """A round's counts.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round.
        env: count only what was made from the trees of this environment.

    Returns:
        ``trees``, ``trajectories``, ``good``, ``bad``, ``pairs``; ``judged`` steps and
        ``verdicts`` by name; ``cuts`` of accepted revisions by kind; ``naive_replayed`` pairs and
        ``naive_failed`` ones with their ``naive_failed_share`` (None where nothing was replayed);
        ``accepted`` by status and ``rejected`` by reason; ``revision_length``: mean over accepted
        revisions (None without any); ``preferences`` by kind, where there are any.
    """
    tree_ids = {
        tree.id
        for tree in trees.list_trees(store, run_id, round_index=round_index)
        if env in (None, tree.task.env)
    }
    paths = [
        path
        for path in splices.list_trajectories(store, run_id, round_index=round_index)
        if path.tree_id in tree_ids
    ]
    path_ids = {path.id for path in paths}
    verdicts = Counter(
        row.verdict
        for row in splices.list_judgements(store, run_id, round_index=round_index)
        if row.trajectory_id in path_ids
    )
    pairs = [
        row
        for row in splices.list_revisions(store, run_id, round_index=round_index)
        if row.bad_id in path_ids
    ]
    accepted = [row for row in pairs if row.status != "rejected"]
    replayed = [row for row in pairs if row.naive_reward is not None]
    naive_failed = [row for row in replayed if row.status != "replayed"]
    compared = Counter(
        row.kind
        for row in preferences.list_preferences(store, run_id, round_index=round_index)
        if row.tree_id in tree_ids
    )
    counts: dict[str, Any] = {
        "trees": len(tree_ids),
        "trajectories": len(paths),
        "good": sum(path.kind == "good" for path in paths),
        "bad": sum(path.kind == "bad" for path in paths),
        "pairs": len(pairs),
        "judged": sum(verdicts.values()),
        "verdicts": dict(sorted(verdicts.items())),
        "cuts": _by_kind(row.reason for row in accepted),
        "naive_replayed": len(replayed),
        "naive_failed": len(naive_failed),
        "naive_failed_share": len(naive_failed) / len(replayed) if replayed else None,
        "accepted": dict(sorted(Counter(row.status for row in accepted).items())),
        "rejected": _by_kind(row.reason for row in pairs if row.status == "rejected"),
        "revision_length": (
            sum(row.revision_length for row in accepted) / len(accepted) if accepted else None
        ),
    }
    if compared:
        counts["preferences"] = {kind: compared[kind] for kind in PREFERENCE_KINDS}
    return counts


def environment_faults(counts: Mapping[str, Any]) -> int:
    """How many pairs were dropped because the environment broke."""
    return int(counts["rejected"].get(ENVIRONMENT_FAULT, 0))


def splice_headline(counts: Mapping[str, Any]) -> str:
    """The counts in a few words, for the progress line."""
    revisions = sum(counts["accepted"].values())
    text = f"{revisions} revisions from {counts['pairs']} pairs"
    pairs = sum(counts.get("preferences", {}).values())
    text += f", {pairs} preferences" if pairs else ""
    share = counts["naive_failed_share"]
    return text if share is None else f"{text}; {share:.0%} of naive splices failed their replay"


def _by_kind(reasons: Iterable[str]) -> dict[str, int]:
    """How often each kind of reason stands before the colon."""
    return dict(sorted(Counter(reason.partition(":")[0] for reason in reasons).items()))
