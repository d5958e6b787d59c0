"""The splice stage: from a round's trees in the store to its revision trajectories in the store.

Work is done a wave of trees at a time and a wave is committed whole, so a cut stage is resumed at
the first wave that is not there, and ends as if it had not been cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from agentr_lite.actors.base import Actor
from agentr_lite.agent.boundary import environment_boundary
from agentr_lite.console.output import Progress, silent_progress
from agentr_lite.core.errors import UsageError
from agentr_lite.core.tasks import Task
from agentr_lite.core.usage import ModelCall
from agentr_lite.recipe.groups import CHOOSING
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.environments import Environments, Part, by_name, parts_of
from agentr_lite.runs.sitting import Sitting
from agentr_lite.splice.pairs import is_good
from agentr_lite.splice.wave import (
    ENVIRONMENT_FAULT,
    JudgedStep,
    Revision,
    TreeInput,
    TreeResult,
    splice_wave,
)
from agentr_lite.store import Store, runs, splices, trees
from agentr_lite.store.records import JudgementRow, TreeRow


def splice_stage(
    store: Store,
    run_id: str,
    round_index: int,
    recipe: Recipe,
    env: Environments,
    actor: Actor,
    *,
    progress: Progress | None = None,
    redo: bool = False,
) -> dict[str, Any]:
    """Make a round's revision trajectories.

    Args:
        store: the database; holds the round's trees.
        run_id: the run.
        round_index: from 1.
        recipe: the run's settings.
        env: for replays: the environment, or several (``parts.open_environments``).
        actor: the model that searched the trees, its adapter on.
        progress: where to report; default: nowhere.
        redo: throw away what the round has and begin again; otherwise a finished stage is left as
            it is.

    Returns:
        The stage's counts; see ``summarise``.

    Raises:
        UsageError: the round has no trees, was begun with other settings, or a tree's task is not
            in the environment.
    """
    finished = check_splice(store, run_id, round_index, recipe, redo=redo)
    if finished is not None:
        return finished
    waves = _waves(store, run_id, round_index)
    with store.atomic():
        if redo:
            splices.delete_splices(store, run_id, round_index)
        sitting = Sitting(store, run_id, round_index, "splice", actor)
        sitting.begin()
        runs.set_stage_summary(store, run_id, round_index, "splice", _settings(recipe))
    done = _done_trees(store, run_id, round_index)
    progress = progress or silent_progress()
    todo = {wave: rows for wave, rows in waves.items() if not any(r.id in done for r in rows)}
    total = sum(len(rows) for rows in waves.values())
    progress.start(
        f"round {round_index} splice, trees",
        total,
        initial=total - sum(len(rows) for rows in todo.values()),
    )
    parts = _Parts(parts_of(recipe, env))
    for rows in todo.values():
        # A wave was searched in one environment.
        part = parts.of(rows[0])
        # With an empty cache, a wave's batches do not depend on the waves before it.
        actor.reset_cache()
        results = splice_wave(
            [
                TreeInput(
                    row.id,
                    parts.task(row),
                    trees.tree_opening(store, row.id),
                    trees.load_tree(store, row.id),
                )
                for row in rows
            ],
            recipe=part.recipe,
            round_index=round_index,
            env=part.env,
            actor=actor,
        )
        with sitting.commit():
            for result in results:
                _save(store, run_id, round_index, part.recipe, result)
        progress.advance(len(rows))
    summary = {**summarise(store, run_id, round_index), **_settings(recipe)}
    if len(recipe.env) > 1:
        summary["by_env"] = {
            name: summarise(store, run_id, round_index, env=name)
            for name in sorted({row.task.env for rows in waves.values() for row in rows})
        }
    sitting.finish(summary)
    progress.finish(_headline(summary))
    return summary


def check_splice(
    store: Store, run_id: str, round_index: int, recipe: Recipe, *, redo: bool = False
) -> dict[str, Any] | None:
    """What splicing a round now would meet, before a model is loaded for it.

    Returns:
        The counts of a stage that has finished with these settings; None where there is work.

    Raises:
        UsageError: no trees, or a stage that was begun with other settings.
    """
    _waves(store, run_id, round_index)
    status = runs.stage_status(store, run_id, round_index, "splice")
    if status is None or redo:
        return None
    stored = status.summary.get("settings")
    # Cut before it had noted them, it has made nothing yet either.
    if stored is not None and not _same_settings(stored, recipe):
        raise UsageError(
            f"round {round_index} of {run_id} has been spliced with other settings",
            hint="--redo throws that away and begins again.",
        )
    return dict(status.summary) if status.finished else None


def _settings(recipe: Recipe) -> dict[str, Any]:
    """What the stage's result depends on, as its summary holds it; JSON types."""
    found = {own.env_label: _kept(own.to_dict()["splice"]) for own in recipe.by_environment()}
    return {"settings": found[recipe.env_label] if len(recipe.env) == 1 else found}


def _same_settings(stored: Mapping[str, Any], recipe: Recipe) -> bool:
    if len(recipe.env) > 1:
        stored = {name: _kept(own) for name, own in stored.items()}
    else:
        stored = _kept(stored)
    return {"settings": stored} == _settings(recipe)


def _kept(splice: Mapping[str, Any]) -> dict[str, Any]:
    """Settings less those that only choose from the result; a key that came later has its default:
    a run that was cut goes on after an upgrade."""
    defaults = Recipe().to_dict()["splice"]
    return {key: splice.get(key, value) for key, value in defaults.items() if key not in CHOOSING}


def summarise(
    store: Store, run_id: str, round_index: int, *, env: str | None = None
) -> dict[str, Any]:
    """A round's counts, from the store alone.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round.
        env: only what was made of the trees of this environment.

    Returns:
        ``trees``, ``trajectories``, ``good``, ``bad``, ``pairs``; ``judged`` steps and
        ``verdicts`` by name; ``cuts`` of accepted revisions by kind; ``naive_replayed`` pairs and
        ``naive_failed`` ones with their ``naive_failed_share`` (None where nothing was replayed);
        ``accepted`` by status and ``rejected`` by reason; ``revision_length``: mean over accepted
        revisions (None without any).
    """
    grown = {
        tree.id
        for tree in trees.list_trees(store, run_id, round_index=round_index)
        if env in (None, tree.task.env)
    }
    paths = [
        path
        for path in splices.list_trajectories(store, run_id, round_index=round_index)
        if path.tree_id in grown
    ]
    ids = {path.id for path in paths}
    verdicts = Counter(
        row.verdict
        for row in splices.list_judgements(store, run_id, round_index=round_index)
        if row.trajectory_id in ids
    )
    rows = [
        row
        for row in splices.list_revisions(store, run_id, round_index=round_index)
        if row.bad_id in ids
    ]
    accepted = [row for row in rows if row.status != "rejected"]
    replayed = [row for row in rows if row.naive_reward is not None]
    naive_failed = [row for row in replayed if row.status != "replayed"]
    return {
        "trees": len(grown),
        "trajectories": len(paths),
        "good": sum(path.kind == "good" for path in paths),
        "bad": sum(path.kind == "bad" for path in paths),
        "pairs": len(rows),
        "judged": sum(verdicts.values()),
        "verdicts": dict(sorted(verdicts.items())),
        "cuts": _counted(row.reason for row in accepted),
        "naive_replayed": len(replayed),
        "naive_failed": len(naive_failed),
        "naive_failed_share": len(naive_failed) / len(replayed) if replayed else None,
        "accepted": dict(sorted(Counter(row.status for row in accepted).items())),
        "rejected": _counted(row.reason for row in rows if row.status == "rejected"),
        "revision_length": (
            sum(row.revision_length for row in accepted) / len(accepted) if accepted else None
        ),
    }


def environment_faults(summary: Mapping[str, Any]) -> int:
    """How many pairs of a summary were dropped because the environment broke."""
    return int(summary["rejected"].get(ENVIRONMENT_FAULT, 0))


def _counted(reasons: Any) -> dict[str, int]:
    """Counts by the part before the colon."""
    return dict(sorted(Counter(reason.partition(":")[0] for reason in reasons).items()))


def _headline(summary: Mapping[str, Any]) -> str:
    revisions = sum(summary["accepted"].values())
    note = f"{revisions} revisions from {summary['pairs']} pairs"
    share = summary["naive_failed_share"]
    return note if share is None else f"{note}; {share:.0%} of naive splices failed their replay"


def _waves(store: Store, run_id: str, round_index: int) -> dict[int, list[TreeRow]]:
    waves: dict[int, list[TreeRow]] = {}
    for row in trees.list_trees(store, run_id, round_index=round_index):
        waves.setdefault(row.wave, []).append(row)
    if not waves:
        raise UsageError(
            f"run {run_id} has no trees in round {round_index}",
            hint=f"`agentr-lite search {run_id}` or `agentr-lite run --resume {run_id}`"
            " searches them.",
        )
    return waves


def _done_trees(store: Store, run_id: str, round_index: int) -> set[int]:
    """Trees with trajectories; a wave without any costs nothing to do again."""
    paths = splices.list_trajectories(store, run_id, round_index=round_index)
    return {path.tree_id for path in paths}


class _Parts:
    """Finds a tree's environment, and its task there."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._only = parts[0] if len(parts) == 1 else None
        self._parts = by_name(parts)
        self._tasks: dict[tuple[str, str], dict[str, Task]] = {}

    def of(self, row: TreeRow) -> Part:
        """The part whose tree this is.

        Raises:
            UsageError: the recipe does not have its environment.
        """
        part = self._only or self._parts.get(row.task.env)
        if part is None:
            raise UsageError(
                f"tree {row.id} is of environment '{row.task.env}', which the recipe does not have",
                hint="Use the recipe that the run was searched with.",
            )
        return part

    def task(self, row: TreeRow) -> Task:
        """The task that the tree was searched for.

        Raises:
            UsageError: the environment does not have it.
            EnvironmentFault: it cannot list its tasks.
        """
        env, split = self.of(row).env, row.task.split
        key = (env.name, split)
        if key not in self._tasks:
            with environment_boundary(env, f"tasks({split!r})"):
                self._tasks[key] = {task.name: task for task in env.tasks(split)}
        task = self._tasks[key].get(row.task.name)
        if task is None:
            raise UsageError(
                f"tree {row.id} is of the {split} task '{row.task.name}', which environment"
                f" '{env.name}' does not have",
                hint="Use the environment options that the run was searched with.",
            )
        return task


def _save(store: Store, run_id: str, round_index: int, recipe: Recipe, result: TreeResult) -> None:
    alpha = recipe.alpha(round_index)
    ids = {
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
    splices.save_judgements(
        store,
        [
            JudgementRow(
                ids[item.bad_leaf],
                item.step,
                item.node_idx,
                item.judged.verdict,
                critic,
                scores=item.judged.log_likelihoods,
                reason=item.judged.reason,
            )
            for item in result.judged
        ],
    )
    for revision in result.revisions:
        _save_revision(store, run_id, round_index, revision, ids)
    add = trees.add_calls
    add(store, run_id, round_index, "judge", _judge_calls(result.judged), tree_id=result.tree_id)
    add(store, run_id, round_index, "recover", result.recovery_calls, tree_id=result.tree_id)


def _save_revision(
    store: Store, run_id: str, round_index: int, revision: Revision, ids: Mapping[int, int]
) -> None:
    splices.save_revision(
        store,
        run_id=run_id,
        round_index=round_index,
        good_id=ids[revision.pair.good.leaf_idx],
        bad_id=ids[revision.pair.bad.leaf_idx],
        parting_step=revision.pair.parting_step,
        cut_step=revision.cut.step,
        reflection=revision.signal,
        revision_length=revision.length,
        naive_reward=revision.naive_reward,
        status=revision.status,
        reason=revision.reason,
        messages=revision.messages,
        loss=revision.loss,
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
