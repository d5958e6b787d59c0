"""The critic against the oracle: how often it is right about a step, and about the first error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agentr_lite.agent.boundary import guarded_tasks
from agentr_lite.console.outcomes import round_name
from agentr_lite.core.tasks import Task
from agentr_lite.core.verdicts import Verdict
from agentr_lite.envs.base import Environment
from agentr_lite.metrics.estimates import Estimate
from agentr_lite.metrics.resampling import clustered_rate, clustered_ratio
from agentr_lite.report.tables.section import Section
from agentr_lite.report.words import Cell, interval, percent, percent_of
from agentr_lite.store import Store
from agentr_lite.store.records import JudgementRow, TreeRow
from agentr_lite.store.splices import list_judgements, list_revisions, list_trajectories
from agentr_lite.store.trees import list_trees, path_nodes, path_steps
from agentr_lite.study.writeup.oracle import Truth, first_error, has_truth, label_steps


@dataclass(frozen=True, slots=True)
class JudgedStep:
    """One verdict with the truth."""

    task: int
    verdict: Verdict
    truth: Truth


@dataclass(frozen=True, slots=True)
class JudgedPath:
    """One bad path: where the critic cut it, and where the first error is."""

    task: int
    cut: int
    """Index of the last step that is kept."""
    error: int
    """Index of the first bad step after the parting."""
    found: bool
    """The critic judged a step bad; otherwise the whole path was kept."""


@dataclass(slots=True)
class CriticTruth:
    """One round of one run."""

    steps: list[JudgedStep] = field(default_factory=list)
    paths: list[JudgedPath] = field(default_factory=list)
    without_error: int = 0
    """Bad paths in which the oracle finds no error after the parting."""


def judge_the_judge(store: Store, run_id: str, env: Environment) -> dict[int, CriticTruth]:
    """Label every judged path of a run by the oracle.

    Args:
        store: the database.
        run_id: the run.
        env: its environment.

    Returns:
        Round to what was found; empty where the environment has no oracle that knows, or the
        critic judged nothing.

    Raises:
        EnvironmentFault: the environment's code failed.
    """
    judged: dict[int, list[JudgementRow]] = {}
    for row in list_judgements(store, run_id):
        judged.setdefault(row.trajectory_id, []).append(row)
    if not judged or not has_truth(env):
        return {}
    tasks = {task.name: task for task in guarded_tasks(env, "train")}
    trees = {tree.id: tree for tree in list_trees(store, run_id)}
    # Of a pair, the worse one may be good by itself, where rewards are graded.
    paths = {row.id: row for row in list_trajectories(store, run_id)}
    # A verdict stands under the first path that a step belongs to, and holds for all of them.
    called_bad = {
        (paths[row.trajectory_id].tree_id, row.node_idx)
        for rows in judged.values()
        for row in rows
        if row.verdict == "bad"
    }
    labels = _Labels(store, env, tasks)
    found: dict[int, CriticTruth] = {}
    for path_id, rows in judged.items():
        path = paths[path_id]
        tree = trees[path.tree_id]
        truths = labels.of(tree, path.leaf_idx)
        truth = found.setdefault(tree.round, CriticTruth())
        truth.steps += [JudgedStep(tree.task.id, r.verdict, truths[r.step]) for r in rows]
    for revision in list_revisions(store, run_id):
        path = paths[revision.bad_id]
        tree = trees[path.tree_id]
        kind = revision.reason.partition(":")[0]
        truth = found.setdefault(revision.round, CriticTruth())
        error = first_error(labels.of(tree, path.leaf_idx), revision.parting_step)
        if kind == "nothing to revise":
            continue
        if error is None:
            truth.without_error += 1
            continue
        cut = revision.cut_step - 1
        # The root comes before a path's first step.
        node = path_nodes(store, tree.id, path.leaf_idx)[cut + 1]
        by_verdict = (tree.id, node.idx) in called_bad
        truth.paths.append(JudgedPath(tree.task.id, cut, error, by_verdict))
    return found


class _Labels:
    """Labels of paths, each worked out once."""

    def __init__(self, store: Store, env: Environment, tasks: Mapping[str, Task]) -> None:
        self._store = store
        self._env = env
        self._tasks = tasks
        self._known: dict[tuple[int, int], list[Truth]] = {}

    def of(self, tree: TreeRow, leaf_idx: int) -> list[Truth]:
        key = (tree.id, leaf_idx)
        if key not in self._known:
            steps = path_steps(self._store, tree.id, leaf_idx)
            self._known[key] = label_steps(self._env, self._tasks[tree.task.name], steps)
        return self._known[key]


Named = tuple[str, int, Sequence[CriticTruth]]
"""(method as tables name it, round, one a seed)."""


def step_section(found: Sequence[Named], env: str) -> Section:
    """The critic's verdicts on single steps."""
    rows: list[list[Cell]] = []
    for name, number, truths in found:
        steps = [step for truth in truths for step in truth.steps if step.truth != "neutral"]
        if not steps:
            continue
        counts = Counter((step.truth, step.verdict == "bad") for step in steps)
        row: list[Cell] = [f"{name}, {round_name(number)}", len(steps)]
        for truth in ("bad", "good"):
            of = [step for step in steps if step.truth == truth]
            called = _share([(s.task, s.verdict == "bad") for s in of])
            row += [
                f"{counts[truth, True]} of {len(of)}",
                percent_of(called),
                interval(called),
            ]
        right = _balanced(steps)
        row += [percent_of(right), interval(right)]
        rows.append(row)
    columns = ["", "steps", "bad, called bad", "share", "95 % interval"]
    columns += ["good, called bad", "share", "95 % interval", "balanced accuracy", "95 % interval"]
    notes = [
        "Steps that the critic judged while it looked for the first error. A round's critic is the"
        " model that searched in it: in round 1 the base, in round 2 what round 1 trained. Steps"
        " that the oracle calls neutral are left out. Balanced accuracy: the mean of the shares of"
        " bad steps called bad and of good steps not called bad; always the same answer, and a"
        " coin, have 50 %."
        " Intervals resample tasks."
    ]
    return Section(f"The critic against the oracle, {env}: steps", columns, rows, notes)


def path_section(found: Sequence[Named], env: str) -> Section:
    """Where the critic cut bad paths, against the first error."""
    rows: list[list[Cell]] = []
    for name, number, truths in found:
        paths = [path for truth in truths for path in truth.paths]
        if not paths:
            continue
        exact = _share([(p.task, p.cut == p.error) for p in paths])
        distances = [p.cut - p.error for p in paths]
        rows.append(
            [
                f"{name}, {round_name(number)}",
                len(paths),
                percent_of(exact),
                interval(exact),
                percent(sum(d < 0 for d in distances) / len(paths)),
                percent(sum(d > 0 for d in distances) / len(paths)),
                f"{sum(distances) / len(paths):+.1f}".replace("-", "−"),
                percent(sum(not p.found for p in paths) / len(paths)),
                sum(truth.without_error for truth in truths),
            ]
        )
    columns = ["", "paths", "at the first error", "95 % interval", "before it", "after it"]
    columns += ["mean distance", "none judged bad", "no error"]
    notes = [
        "Bad paths of pairs; the first error is the first step after the parting that the oracle"
        " calls bad. Mean distance: steps that the cut comes after it. None judged bad: the whole"
        " path was kept, and counts as a cut at its end. No error: paths in which the oracle finds"
        " none; they are not among the others."
    ]
    return Section(f"The critic against the oracle, {env}: first errors", columns, rows, notes)


def _share(trials: Sequence[tuple[int, bool]]) -> Estimate | None:
    if not trials:
        return None
    tasks = [task for task, _ in trials]
    return clustered_rate([hit for _, hit in trials], tasks, seed=1)


def _balanced(steps: Sequence[JudgedStep]) -> Estimate | None:
    """Each step weighted so that bad and good ones count alike."""
    bad = sum(step.truth == "bad" for step in steps)
    good = len(steps) - bad
    if not bad or not good:
        return None
    weights = [1 / bad if step.truth == "bad" else 1 / good for step in steps]
    right = [(step.verdict == "bad") == (step.truth == "bad") for step in steps]
    above = [weight * hit for weight, hit in zip(weights, right, strict=True)]
    tasks = [step.task for step in steps]
    return clustered_ratio(above, weights, tasks, seed=1)
