"""What a round's trees give to learn from, in counts; and why there is nothing, if so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agentr_lite.store.database import Store
from agentr_lite.store.preferences import preference_counts
from agentr_lite.store.runs import stage_status

Cause = Literal[
    "environment", "no action", "illegal actions", "no reward", "all rewarded", "ties", "no pair",
    "no cut", "left out", "no preference",
]  # fmt: skip

MOSTLY = 0.5
"""From this share of the answers on, what is wrong with them is what stops the learning."""

PAIRS_ONLY = "dpo"
"""The ``train.objective`` that learns from pairs alone."""

NOT_AN_ERROR = "no action in %"
"""The error of a tree whose environment worked, but whose answers held no action."""


@dataclass(frozen=True, slots=True)
class LearningCounts:
    """What can be learnt from a round's trees, in counts."""

    trees: int
    broken: int = 0
    """Trees that the environment's code stopped."""
    answers: int = 0
    """Candidates that were drawn."""
    without_action: int = 0
    illegal: int = 0
    """Answers with an action that was not understood or not possible."""
    ended: int = 0
    """Trees with at least one episode that came to its end."""
    rewarded: int = 0
    """Trees in which an episode earned anything."""
    always_rewarded: int = 0
    """Trees in which every episode earned the full reward."""
    tied: int = 0
    """Trees in which all episodes earned the same: no pair of a good and a bad one."""
    best_reward: float = 0.0
    """The highest reward of an episode, in [0, 1]."""
    good: int = 0
    """Good trajectories; 0 before splicing."""
    bad: int = 0
    pairs: int = 0
    revisions: int = 0
    """Pairs that became a revision trajectory."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Why the other pairs did not, most frequent first."""
    preferences: int = 0
    """Pairs of a better and a worse continuation."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a round gave nothing to learn from, and what to try."""

    cause: Cause
    finding: str
    """What was counted, as a sentence without its full stop."""
    advice: tuple[str, ...]
    """What to try, the most promising first; whole sentences."""

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {"cause": self.cause, "finding": self.finding, "advice": list(self.advice)}


def learning_counts(store: Store, run_id: str, round_index: int) -> LearningCounts:
    """Count what a round's trees give to learn from, from the store alone.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round, from 1.
    """
    params = {"run": run_id, "round": round_index, "no_action": NOT_AN_ERROR}
    where = "r.run_id = :run AND r.round = :round"
    trees = store.rows(
        f"SELECT count(*) AS trees, coalesce(sum(r.error NOT LIKE :no_action), 0) AS broken"
        f" FROM trees r WHERE {where}",
        params,
    )[0]
    answers = store.rows(
        f"""
        SELECT coalesce(sum(n.merged), 0) AS answers,
            coalesce(sum(n.merged) FILTER (WHERE n.kind = 'none'), 0) AS without_action,
            coalesce(sum(n.merged) FILTER (WHERE n.kind = 'act' AND n.invalid), 0) AS illegal
        FROM trees r JOIN nodes n ON n.tree_id = r.id WHERE {where}
        """,
        params,
    )[0]
    ends = store.rows(
        f"""
        SELECT max(n.reward) AS best, min(n.reward) AS worst
        FROM trees r JOIN nodes n ON n.tree_id = r.id
        WHERE {where} AND n.parent_idx IS NOT NULL AND (n.terminated OR n.truncated)
        GROUP BY r.id
        """,
        params,
    )
    kinds = dict(
        tuple(row)
        for row in store.rows(
            f"SELECT j.kind, count(*) FROM trajectories j JOIN trees r ON r.id = j.tree_id"
            f" WHERE {where} GROUP BY 1",
            params,
        )
    )
    revisions = store.rows(
        "SELECT status, reason FROM revisions WHERE run_id = :run AND round = :round", params
    )
    rejected: dict[str, int] = {}
    for row in revisions:
        if row["status"] == "rejected":
            kind = str(row["reason"]).partition(":")[0]
            rejected[kind] = rejected.get(kind, 0) + 1
    return LearningCounts(
        **dict(trees),
        **dict(answers),
        ended=len(ends),
        rewarded=sum(row["best"] > 0 for row in ends),
        always_rewarded=sum(row["worst"] >= 1 for row in ends),
        tied=sum(row["best"] == row["worst"] for row in ends),
        best_reward=max((row["best"] for row in ends), default=0.0),
        good=kinds.get("good", 0),
        bad=kinds.get("bad", 0),
        pairs=len(revisions),
        revisions=len(revisions) - sum(rejected.values()),
        rejected=dict(sorted(rejected.items(), key=lambda item: (-item[1], item[0]))),
        preferences=sum(preference_counts(store, run_id, round_index).values()),
    )


def round_diagnosis(store: Store, run_id: str, round_index: int) -> Diagnosis | None:
    """Why a round had nothing to train on; None where it trained, or has not come so far.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round, from 1.
    """
    training = stage_status(store, run_id, round_index, "train")
    if training is None or not training.finished or "skipped" not in training.summary:
        return None
    pairs_only = training.summary.get("objective") == PAIRS_ONLY
    return diagnose(learning_counts(store, run_id, round_index), pairs_only=pairs_only)


def partial_notes(counts: LearningCounts) -> list[str]:
    """What keeps a round from giving more, one sentence each; empty where nothing stands out."""
    notes = []
    if counts.broken:
        notes.append(f"the environment broke in {counts.broken} of {counts.trees} trees")
    if counts.tied:
        notes.append(f"rewards tie in {counts.tied} of {counts.ended} trees: they give no pair")
    if counts.answers and counts.without_action >= MOSTLY * counts.answers:
        notes.append(f"{counts.without_action} of {counts.answers} answers hold no action")
    elif counts.answers and counts.illegal >= MOSTLY * counts.answers:
        notes.append(f"{counts.illegal} of {counts.answers} answers are actions that are not legal")
    return notes


def search_outlook(
    counts: LearningCounts, *, contested: bool, objective: str = "sft"
) -> Diagnosis | None:
    """Why nothing will come of a round's trees, if that is clear before they are spliced.

    Args:
        counts: of the round.
        contested: a recipe's ``splice.contested``: good trajectories count only beside bad ones.
        objective: a recipe's ``train.objective``.
    """
    pairs_only = objective == PAIRS_ONLY
    # Where all rewards tie, all values do: no continuation is better than another.
    clear = not counts.rewarded or ((contested or pairs_only) and counts.tied == counts.ended)
    useful = counts.preferences if pairs_only else counts.revisions
    return diagnose(counts, pairs_only=pairs_only) if clear and not useful else None


def diagnose(counts: LearningCounts, *, pairs_only: bool = False) -> Diagnosis:
    """Why a round with these counts gave nothing to learn from.

    Args:
        counts: of a round that gave no example; of one that was not spliced yet, as far as known.
        pairs_only: only pairs of a better and a worse continuation are learnt.
    """
    if counts.broken and counts.broken == counts.trees:
        finding = f"the environment broke in all {counts.trees} trees"
        return Diagnosis("environment", finding, (_SEE_TREES, _CHECK))
    if not counts.rewarded:
        return _without_reward(counts)
    if counts.always_rewarded == counts.ended or (counts.good and not counts.bad):
        finding = f"every episode of all {counts.ended} trees was rewarded"
        return Diagnosis(
            "all rewarded", finding, (_HARDER, *(() if pairs_only else (_UNCONTESTED,)))
        )
    if pairs_only:
        return _without_preference(counts)
    if counts.pairs and not counts.revisions:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in counts.rejected.items())
        finding = f"none of {counts.pairs} pairs became a revision ({reasons})"
        return Diagnosis("no cut", finding, (_RECOVERY, _CRITIC, _MORE_PAIRS))
    if counts.revisions or counts.good:
        finding = (
            f"there are {counts.revisions} revisions and {counts.good} good trajectories, but the"
            " recipe trains on none of them"
        )
        return Diagnosis("left out", finding, (_CHOICE,))
    if counts.tied == counts.ended:
        finding = f"rewards tie in all {counts.ended} trees"
        return Diagnosis("ties", finding, (_UNCONTESTED, _DEEPER, _HOTTER))
    finding = f"no episode earned enough to count as good (the best reward was {_short(counts)})"
    return Diagnosis("no pair", finding, (_ALPHA, _DEEPER, _EASIER, _LARGER))


def _without_reward(counts: LearningCounts) -> Diagnosis:
    answers = counts.answers
    if answers and counts.without_action >= MOSTLY * answers:
        finding = f"{counts.without_action} of {answers} answers held no action"
        return Diagnosis("no action", finding, (_GRAMMAR, _EXAMPLE, _LONGER, _LARGER))
    if answers and counts.illegal >= MOSTLY * answers:
        finding = f"{counts.illegal} of {answers} actions were not understood or not possible"
        return Diagnosis("illegal actions", finding, (_GRAMMAR, _EXAMPLE, _IMITATE, _LARGER))
    finding = f"no episode in {counts.trees} trees earned any reward"
    if counts.ended < counts.trees:
        finding += f", and in {counts.trees - counts.ended} trees none came to its end"
    return Diagnosis("no reward", finding, (_IMITATE, _EASIER, _DEEPER, _LARGER))


def _without_preference(counts: LearningCounts) -> Diagnosis:
    if counts.tied == counts.ended:
        finding = f"rewards tie in all {counts.ended} trees: no continuation is better than another"
        return Diagnosis("ties", finding, (_DEEPER, _HOTTER))
    finding = (
        f"{counts.good} good and {counts.bad} bad trajectories gave no pair of a better and a worse"
        " continuation"
    )
    return Diagnosis("no preference", finding, (_KINDS, _MARGIN, _ALPHA, _MORE_PAIRS))


def _short(counts: LearningCounts) -> str:
    return f"{counts.best_reward:.2g}"


_SEE_TREES = "`agentr-lite trees RUN` shows where its code failed."
_CHECK = "`agentr-lite envs check ENV` tries the environment alone."
_GRAMMAR = (
    "Let the model write legal actions only: --set agent.grammar=env, or agent.grammar=actions for"
    " an environment that lists its valid actions, or a GBNF file."
)
_EXAMPLE = "Show the model solved tasks in its prompt: --set agent.examples=2."
_IMITATE = (
    "Let the model learn from demonstrations first: --set imitation.tasks=100 (docs/imitation.md)."
)
_LONGER = "Leave room for the action: --set agent.max_tokens=256."
_LARGER = "Use a larger model: `agentr-lite models` lists those that can be downloaded."
_EASIER = "Add easier training tasks, or a reward for partial success."
_DEEPER = "Search deeper: --set search.depth=… --set search.simulations=…"
_HARDER = "Add harder training tasks: these are solved already."
_UNCONTESTED = "Learn also from tasks that are always solved: --set splice.contested=false."
_HOTTER = "Let the candidates differ more: --set search.temperature=1 --set search.width=8."
_ALPHA = "Accept less as good in the early rounds: --set 'splice.alpha=[0.1, 0.5, 1]'."
_RECOVERY = "Try more ways back: --set splice.recovery_attempts=8."
_CRITIC = "Let splices begin without the critic's verdict: --set splice.critic=none."
_MORE_PAIRS = "Search more tasks: --set search.tasks=…"
_KINDS = "Look for other pairs: --set splice.preferences=[episode,step,revision]."
_MARGIN = "Let smaller differences count: --set splice.preference_margin=0.1 --set splice.beta=0."
_CHOICE = "Change what is trained on: --set splice.data=both --set splice.contested=false."
