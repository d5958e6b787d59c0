"""A splice as the page shows it: the shared steps, both continuations, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentr_lite.agent.states import stored_choice
from agentr_lite.agent.turns import AnswerFormat, parse_action
from agentr_lite.console.outcomes import (
    REVISION_STATUS,
    VERDICT,
    Mark,
    Segment,
    naive_outcome,
    revision_outcome,
    revision_reason,
    segment_of,
    turn_mark,
    verdict_words,
)
from agentr_lite.core.messages import without_examples
from agentr_lite.report.model.episodes import NO_ACTION_TITLE
from agentr_lite.report.render.excerpts import shorten, without_action
from agentr_lite.store.database import Store
from agentr_lite.store.inspection import get_trajectory
from agentr_lite.store.records import JudgementRow, NodeRow, RevisionRow, TreeRow
from agentr_lite.store.runs import get_run
from agentr_lite.store.splices import get_revision, list_judgements
from agentr_lite.store.trees import path_nodes, tree_opening

TEXT_LIMIT = 2_000
"""Characters of one turn or observation."""
TURN_LIMIT = 60
"""Turns of one side that are shown; a longer side shows its first ones."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn and the environment's answer."""

    number: int
    """From 1, counted from reset."""
    action: str
    said: str
    """The whole turn where it says more than the action."""
    observation: str
    mark: Mark | None = None
    verdict: Mark | None = None
    verdict_words: str = ""
    dropped: bool = False
    """A bad step after t', which the revision leaves out."""
    is_cut: bool = False
    """Whether this is the step t'."""
    segment: Segment | None = None
    """Where a revision's turn comes from."""
    learnt: bool = False
    """Whether a revision's turn carries loss."""


@dataclass(frozen=True, slots=True)
class Side:
    """One column of turns."""

    turns: Sequence[Turn]
    more: int = 0
    """Turns left out at the end."""


@dataclass(frozen=True, slots=True)
class SplicePage:
    """A splice, ready for the template."""

    anchor: str
    where: str
    """Its run's label, where there are several, and its environment, where there are several."""
    tree: TreeRow
    revision: RevisionRow
    status: Mark
    outcome: str
    """What became of it, in one sentence."""
    reason: str
    """Why t′ is where it is."""
    opening: str
    """What the environment said first."""
    shared: Side
    bad: Side
    bad_reward: float
    good: Side
    good_reward: float
    result: Side
    """The revision's turns; none where it was rejected."""
    prompt: str
    """The revision's instructions; empty where it was rejected."""


def splice_page(
    store: Store, tree: TreeRow, revision_id: int, *, anchor: str, where: str = ""
) -> SplicePage:
    """Read a splice.

    Args:
        store: the database.
        tree: the tree that its trajectories are in.
        revision_id: the revision.
        anchor: its id in the page.
        where: which of several runs and environments it is from.
    """
    revision = get_revision(store, revision_id)
    good, bad = (get_trajectory(store, each) for each in (revision.good_id, revision.bad_id))
    verdicts = {
        row.step: row for row in list_judgements(store, revision.run_id, trajectory_id=bad.id)
    }
    bad_nodes = path_nodes(store, bad.tree_id, bad.leaf_idx)[1:]
    good_nodes = path_nodes(store, good.tree_id, good.leaf_idx)[1:]
    parting = revision.parting_step
    choice = stored_choice(get_run(store, revision.run_id).recipe, revision.env)
    instructions, observation, _ = tree_opening(store, tree.id)
    return SplicePage(
        anchor=anchor,
        where=where,
        tree=tree,
        revision=revision,
        status=REVISION_STATUS[revision.status],
        outcome=_outcome(revision, good.reward),
        reason=revision_reason(revision.reason),
        opening=shorten(observation, TEXT_LIMIT),
        shared=_side(bad_nodes[:parting], 0, verdicts),
        bad=_side(bad_nodes[parting:], parting, verdicts, cut=revision.cut_step),
        bad_reward=bad.reward,
        good=_side(good_nodes[parting:], parting, {}),
        good_reward=good.reward,
        result=_result(revision, AnswerFormat(choice, keeps_full_stop=True)),
        prompt=shorten(instructions, TEXT_LIMIT) if revision.messages else "",
    )


def _outcome(revision: RevisionRow, good_reward: float) -> str:
    outcome = revision_outcome(revision.status)
    if revision.status == "rejected":
        outcome += f" ({revision_reason(revision.reason)})"
    if revision.naive_reward is not None:
        outcome += f"; {naive_outcome(revision.naive_reward, good_reward)}"
    return f"{outcome[0].upper()}{outcome[1:]}."


def _side(
    nodes: Sequence[NodeRow],
    before: int,
    verdicts: Mapping[int, JudgementRow],
    *,
    cut: int | None = None,
) -> Side:
    turns = []
    for at, node in enumerate(nodes[:TURN_LIMIT], start=before):
        judgement = verdicts.get(at)
        turns.append(
            Turn(
                at + 1,
                *_said(node.action, node.text),
                shorten(node.observation, TEXT_LIMIT),
                turn_mark(node),
                None if judgement is None else VERDICT[judgement.verdict],
                "" if judgement is None else _judged(judgement),
                dropped=cut is not None and at >= cut,
                is_cut=at + 1 == cut,
            )
        )
    return Side(turns, max(0, len(nodes) - TURN_LIMIT))


def _judged(judgement: JudgementRow) -> str:
    asked = judgement.critic != "none"
    words = verdict_words(judgement.verdict, judgement.scores, asked=asked)
    return f"{words}: {shorten(judgement.reason, TEXT_LIMIT)}" if judgement.reason else words


def _result(revision: RevisionRow, form: AnswerFormat) -> Side:
    messages, loss = without_examples(revision.messages or (), revision.loss or ())
    turns: list[Turn] = []
    count = 0
    for at, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        count += 1
        if count > TURN_LIMIT:
            continue
        # The last turn has no answer: nothing is learnt from what comes after it.
        answer = messages[at + 1]["content"] if at + 1 < len(messages) else ""
        text = message["content"]
        turns.append(
            Turn(
                count,
                *_said(parse_action(text, form), text),
                shorten(answer, TEXT_LIMIT),
                segment=segment_of(
                    count - 1,
                    parting_step=revision.parting_step,
                    cut_step=revision.cut_step,
                ),
                learnt=bool(loss[at]),
            )
        )
    return Side(turns, max(0, count - TURN_LIMIT))


def _said(action: str | None, text: str) -> tuple[str, str]:
    """The action, and what the turn says besides it."""
    said = shorten(without_action(action, text), TEXT_LIMIT)
    return NO_ACTION_TITLE if action is None else shorten(action, TEXT_LIMIT), said
