"""The critic against the oracle: its verdicts on steps, and where it cuts bad paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agentr_lite.agent.boundary import guarded_tasks
from agentr_lite.agent.states import stored_choice
from agentr_lite.agent.turns import AnswerFormat, answer_format
from agentr_lite.core.tasks import Task
from agentr_lite.core.verdicts import Verdict
from agentr_lite.envs.base import Environment
from agentr_lite.envs.registry import make_env
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.closing import closed_at_end
from agentr_lite.store import Store
from agentr_lite.store.records import JudgementRow, TreeRow
from agentr_lite.store.runs import get_run
from agentr_lite.store.splices import list_judgements, list_revisions, list_trajectories
from agentr_lite.store.trees import list_trees, path_nodes, path_steps
from agentr_lite.study.outcomes.oracle import (
    OracleVerdict,
    first_error,
    has_step_oracle,
    judge_steps,
)


@dataclass(frozen=True, slots=True)
class JudgedStep:
    """The critic's and the oracle's verdict on one step."""

    task: int
    critic: Verdict
    oracle: OracleVerdict


@dataclass(frozen=True, slots=True)
class JudgedPath:
    """A bad path: where the critic cut it, and where its first error is."""

    task: int
    cut: int
    """Index of the last step that is kept."""
    error: int
    """Index of the first bad step after the good path parted."""
    called_bad: bool
    """Whether the critic called a step bad; otherwise the whole path was kept."""


@dataclass(slots=True)
class CriticRound:
    """The critic's verdicts in one round of one run, with the oracle's."""

    steps: list[JudgedStep] = field(default_factory=list)
    paths: list[JudgedPath] = field(default_factory=list)
    without_error: int = 0
    """Bad paths in which the oracle finds no error after the good path parted."""


def critic_rounds(store: Store, run_id: str, env: Environment) -> dict[int, CriticRound]:
    """Compare all verdicts of a run's critic with the oracle's.

    Args:
        store: the database.
        run_id: the run.
        env: its environment.

    Returns:
        Round to verdicts; empty if the environment has no oracle that can judge every step, or if
        the critic judged nothing.

    Raises:
        EnvironmentFault: the environment's code failed.
    """
    by_path: dict[int, list[JudgementRow]] = {}
    for row in list_judgements(store, run_id):
        by_path.setdefault(row.trajectory_id, []).append(row)
    if not by_path or not has_step_oracle(env):
        return {}
    tasks = {task.name: task for task in guarded_tasks(env, "train")}
    trees = {tree.id: tree for tree in list_trees(store, run_id)}
    # If rewards are graded, the worse path of a pair may be good by itself.
    paths = {row.id: row for row in list_trajectories(store, run_id)}
    # A verdict is stored with the first path that has the step, and holds for all such paths.
    called_bad = {
        (paths[row.trajectory_id].tree_id, row.node_idx)
        for rows in by_path.values()
        for row in rows
        if row.verdict == "bad"
    }
    choice = stored_choice(get_run(store, run_id).recipe, env.name)
    oracle = _Oracle(store, env, tasks, answer_format(choice, env))
    rounds: dict[int, CriticRound] = {}
    for path_id, rows in by_path.items():
        path = paths[path_id]
        tree = trees[path.tree_id]
        verdicts = oracle.verdicts(tree, path.leaf_idx)
        judged = rounds.setdefault(tree.round, CriticRound())
        judged.steps += [JudgedStep(tree.task.id, r.verdict, verdicts[r.step]) for r in rows]
    for revision in list_revisions(store, run_id):
        path = paths[revision.bad_id]
        tree = trees[path.tree_id]
        kind = revision.reason.partition(":")[0]
        judged = rounds.setdefault(revision.round, CriticRound())
        error = first_error(oracle.verdicts(tree, path.leaf_idx), revision.parting_step)
        if kind == "nothing to revise":
            continue
        if error is None:
            judged.without_error += 1
            continue
        # Where a late cut is was drawn: the critic said where the first error is.
        cut = (revision.first_error or revision.cut_step) - 1
        # The root comes before a path's first step.
        node = path_nodes(store, tree.id, path.leaf_idx)[cut + 1]
        by_verdict = (tree.id, node.idx) in called_bad
        judged.paths.append(JudgedPath(tree.task.id, cut, error, by_verdict))
    return rounds


class _Oracle:
    """The oracle's verdicts on paths; each path is judged once."""

    def __init__(
        self, store: Store, env: Environment, tasks: Mapping[str, Task], form: AnswerFormat
    ) -> None:
        self._store = store
        self._env = env
        self._tasks = tasks
        self._form = form
        self._verdicts: dict[tuple[int, int], list[OracleVerdict]] = {}

    def verdicts(self, tree: TreeRow, leaf_idx: int) -> list[OracleVerdict]:
        key = (tree.id, leaf_idx)
        if key not in self._verdicts:
            steps = path_steps(self._store, tree.id, leaf_idx)
            self._verdicts[key] = judge_steps(
                self._env, self._tasks[tree.task.name], steps, self._form
            )
        return self._verdicts[key]


class CriticCache:
    """The critic rounds of runs; a run is read again only after another round is spliced."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_run: dict[tuple[str, int], Mapping[int, CriticRound]] = {}

    def rounds(self, recipe: Recipe, run_id: str, spliced: int) -> Mapping[int, CriticRound]:
        """The critic rounds of a run; see ``critic_rounds``.

        Args:
            recipe: the run recipe of the cell.
            run_id: the run.
            spliced: how many of its rounds have been spliced.
        """
        key = (run_id, spliced)
        if key not in self._by_run:
            with closed_at_end(
                make_env(recipe.environment.name, recipe.environment.options)
            ) as env:
                self._by_run[key] = critic_rounds(self._store, run_id, env)
        return self._by_run[key]
