"""Where trees go wrong for the first time: bad verdicts, cuts, and what there was to pair.

The inspector reads these for a whole round at once, or for one tree.
"""

from __future__ import annotations

from dataclasses import dataclass

from agentr_lite.store.database import Store
from agentr_lite.store.decoding import record
from agentr_lite.store.records import JudgementRow


@dataclass(frozen=True, slots=True)
class FirstError:
    """The first step of a tree that the critic judged bad."""

    judgement: JudgementRow
    action: str
    """Empty where the turn held no action."""


@dataclass(frozen=True, slots=True)
class TreeSplicing:
    """What splicing found in one tree."""

    good: int = 0
    """Trajectories that earned at least alpha."""
    bad: int = 0
    """Trajectories that earned less."""
    pairs: int = 0
    judged: int = 0
    """Steps that the critic was asked about."""
    first_error: FirstError | None = None
    """None: no step was judged bad, or none was judged."""


@dataclass(frozen=True, slots=True)
class BadPathCut:
    """Where one revision leaves its bad trajectory."""

    leaf_idx: int
    """The last node of the bad trajectory."""
    parting_step: int
    cut_step: int
    """t', the number of the last bad step that is kept, from 1; equals ``parting_step`` where
    nothing could be revised."""


def splicing_of_trees(store: Store, run_id: str, round_index: int) -> dict[int, TreeSplicing]:
    """What splicing found in each tree of a round, by tree; trees without it are left out."""
    params = (run_id, round_index)
    errors: dict[int, FirstError] = {}
    for row in store.rows(
        """
        SELECT j.tree_id, u.trajectory_id, u.step, u.node_idx, u.verdict, u.critic, u.scores,
            x.content AS reason, n.action
        FROM trees r JOIN trajectories j ON j.tree_id = r.id
            JOIN judgements u ON u.trajectory_id = j.id
            JOIN nodes n ON n.tree_id = r.id AND n.idx = u.node_idx
            LEFT JOIN texts x ON x.id = u.reason_id
        WHERE r.run_id = ? AND r.round = ? AND u.verdict = 'bad'
        ORDER BY j.tree_id, u.step, u.node_idx
        """,
        params,
    ):
        if row["tree_id"] not in errors:
            values = {key: row[key] for key in row.keys() if key not in ("tree_id", "action")}  # noqa: SIM118
            judgement = record(JudgementRow, values, "judgements", decoded=("scores",))
            errors[row["tree_id"]] = FirstError(judgement, row["action"] or "")
    return {
        row["tree_id"]: TreeSplicing(
            row["good"], row["bad"], row["pairs"], row["judged"], errors.get(row["tree_id"])
        )
        for row in store.rows(
            """
            SELECT j.tree_id, sum(j.kind = 'good') AS good, sum(j.kind = 'bad') AS bad,
                sum((SELECT count(*) FROM revisions v WHERE v.bad_id = j.id)) AS pairs,
                sum((SELECT count(*) FROM judgements u WHERE u.trajectory_id = j.id)) AS judged
            FROM trees r JOIN trajectories j ON j.tree_id = r.id
            WHERE r.run_id = ? AND r.round = ? GROUP BY j.tree_id
            """,
            params,
        )
    }


def cuts_of_tree(store: Store, tree_id: int) -> list[BadPathCut]:
    """Where the revisions of a tree leave their bad trajectories, by leaf."""
    rows = store.rows(
        "SELECT b.leaf_idx, v.parting_step, v.cut_step"
        " FROM revisions v JOIN trajectories b ON b.id = v.bad_id"
        " WHERE b.tree_id = ? ORDER BY b.leaf_idx, v.id",
        (tree_id,),
    )
    return [record(BadPathCut, dict(row), "revisions") for row in rows]
