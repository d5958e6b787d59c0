"""Which tasks an evaluation plays, and where each episode begins."""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.agent.boundary import guarded_tasks
from agentr_lite.core.errors import UsageError
from agentr_lite.core.seeds import stream_seed
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment
from agentr_lite.evaluate.episodes import Start
from agentr_lite.metrics.episodes import is_faulty
from agentr_lite.recipe.groups import EvalSettings
from agentr_lite.recipe.settings import Recipe
from agentr_lite.store.database import Store
from agentr_lite.store.evals import list_eval_items, list_evals
from agentr_lite.store.records import EpisodeStep, EvalMode, EvalRow


def eval_tasks(env: Environment, settings: EvalSettings) -> list[Task]:
    """The tasks to evaluate on: the whole split, or ``settings.tasks`` evenly spaced ones.

    Splits are often sorted by difficulty; evenly spaced tasks keep the mixture.

    Raises:
        UsageError: the split is empty.
        EnvironmentFault: the environment cannot list its tasks.
    """
    tasks = guarded_tasks(env, settings.split)
    if not tasks:
        raise UsageError(
            f"environment '{env.name}' has no tasks in split '{settings.split}'",
            hint="Choose another with --set eval.split=train, dev or test.",
        )
    wanted = min(settings.tasks or len(tasks), len(tasks))
    return [tasks[i * len(tasks) // wanted] for i in range(wanted)]


def eval_starts(
    store: Store,
    run_id: str,
    recipe: Recipe,
    tasks: Sequence[Task],
    mode: EvalMode,
    *,
    env: str | None = None,
) -> list[Start]:
    """Where each episode of one mode begins, in task order.

    A recovery prefix is the first part of a failed greedy episode of the base: the share
    ``eval.recovery_prefix`` of its steps, rounded down. It has at least one step (unless the share
    is 0) and never the step that ended the episode. There are no recovery starts before round 0
    was evaluated to the end.

    Args:
        store: the database.
        run_id: the run.
        recipe: the run's recipe, or that of one of its environments.
        tasks: what to play.
        mode: how the episodes are played.
        env: the name that the environment of ``tasks`` goes by; None: the run has one environment.
    """
    if mode != "recovery":
        # The round does not enter the seed: rounds are compared on the same draws.
        return [
            Start(task, stream_seed(recipe.seed, "eval", mode, task.name, sample), sample)
            for task in tasks
            for sample in range(recipe.eval.samples if mode == "sampled" else 1)
        ]
    base = find_eval(store, run_id, 0, "greedy", recipe.eval.split, whole=True)
    if base is None:
        return []
    failed = {
        item.task.name: item.episode
        for item in list_eval_items(store, base.id)
        if not item.success and not is_faulty(item) and env in (None, item.task.env)
    }
    return [
        Start(
            task,
            stream_seed(recipe.seed, "eval", mode, task.name),
            prefix=_prefix(failed[task.name], recipe.eval.recovery_prefix),
        )
        for task in tasks
        if task.name in failed
    ]


def _prefix(episode: Sequence[EpisodeStep], share: float) -> list[str]:
    longest = len(episode) - bool(episode and episode[-1].step.terminated)
    length = min(max(1, int(share * len(episode))), longest) if share > 0 else 0
    return [played.step.text for played in episode[:length]]


def find_eval(
    store: Store, run_id: str, round_index: int, mode: EvalMode, split: str, *, whole: bool = False
) -> EvalRow | None:
    """A round's evaluation in one mode on one split; None where it has not begun.

    Args:
        store: the database.
        run_id: the run.
        round_index: the round.
        mode: how its episodes are played.
        split: whose tasks.
        whole: whether it must have been played to its end.
    """
    rows = list_evals(store, run_id, round_index=round_index, mode=mode)
    return next((row for row in rows if row.split == split and (row.whole or not whole)), None)
