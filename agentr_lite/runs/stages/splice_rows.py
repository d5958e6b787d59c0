"""Writes what splicing one tree made: trajectories, judgements, revisions, pairs, model calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agentr_lite.core.usage import ModelCall
from agentr_lite.recipe.settings import Recipe
from agentr_lite.splice.judging import JudgedStep
from agentr_lite.splice.pairs import is_good
from agentr_lite.splice.wave import Revision, TreeResult
from agentr_lite.store import Store, preferences, splices, trees
from agentr_lite.store.records import Critic, JudgementRow


def save_splices(
    store: Store, run_id: str, round_index: int, recipe: Recipe, result: TreeResult
) -> None:
    """Save all that splicing one tree made; the caller's transaction.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round.
        recipe: for the tree's environment.
        result: of the tree.
    """
    alpha = recipe.alpha(round_index)
    path_ids = {
        path.leaf_idx: splices.save_trajectory(
            store,
            result.tree_id,
            path.leaf_idx,
            kind="good" if is_good(path.reward, alpha) else "bad",
            reward=path.reward,
            steps=path.steps,
        )
        for path in result.trajectories
    }
    critic = recipe.splice.critic
    save_judged(store, run_id, round_index, result.tree_id, critic, result.judged, path_ids)
    revision_ids = {
        (revision.pair.good.leaf_idx, revision.pair.bad.leaf_idx): _save_revision(
            store, run_id, round_index, revision, path_ids
        )
        for revision in result.revisions
    }
    for pair in result.preferences:
        of_revision = pair.kind == "revision"
        preferences.save_preference(
            store,
            run_id=run_id,
            round_index=round_index,
            tree_id=result.tree_id,
            kind=pair.kind,
            parting_idx=pair.parting_idx,
            chosen_idx=pair.chosen_idx,
            rejected_idx=pair.rejected_idx,
            chosen_value=pair.chosen_value,
            rejected_value=pair.rejected_value,
            revision_id=revision_ids[pair.chosen_idx, pair.rejected_idx] if of_revision else None,
        )
    trees.add_calls(
        store, run_id, round_index, "recover", result.recovery_calls, tree_id=result.tree_id
    )


def save_judged(
    store: Store,
    run_id: str,
    round_index: int,
    tree_id: int,
    critic: Critic,
    judged: Sequence[JudgedStep],
    path_ids: Mapping[int, int],
) -> None:
    """Save the critic's verdicts on one tree, with what they cost; the caller's transaction.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round.
        tree_id: the tree.
        critic: how the model was asked.
        judged: the verdicts.
        path_ids: leaf to the id of its stored trajectory.
    """
    splices.save_judgements(
        store,
        [judgement_row(item, critic, path_ids[item.bad_leaf]) for item in judged],
    )
    trees.add_calls(store, run_id, round_index, "judge", _judge_calls(judged), tree_id=tree_id)


def judgement_row(item: JudgedStep, critic: Critic, trajectory_id: int) -> JudgementRow:
    """A verdict as a row.

    Args:
        item: the verdict.
        critic: how the model was asked.
        trajectory_id: of the judged trajectory.
    """
    return JudgementRow(
        trajectory_id,
        item.step,
        item.node_idx,
        item.judged.verdict,
        critic,
        scores=item.judged.log_likelihoods,
        reason=item.judged.reason,
    )


def _save_revision(
    store: Store, run_id: str, round_index: int, revision: Revision, path_ids: Mapping[int, int]
) -> int:
    return splices.save_revision(
        store,
        run_id=run_id,
        round_index=round_index,
        good_id=path_ids[revision.pair.good.leaf_idx],
        bad_id=path_ids[revision.pair.bad.leaf_idx],
        parting_step=revision.pair.parting_step,
        cut_step=revision.cut.step,
        reflection=revision.signal,
        revision_length=revision.length,
        naive_reward=revision.naive_reward,
        status=revision.status,
        reason=revision.reason,
        messages=revision.messages,
        loss=revision.loss,
        first_error=revision.cut.first_error,
    )


def _judge_calls(judged: Sequence[JudgedStep]) -> list[ModelCall]:
    return [
        ModelCall(
            item.node_idx,
            (),
            item.judged.prompt_tokens,
            item.judged.cached_tokens,
            item.judged.output_tokens,
        )
        for item in judged
    ]
