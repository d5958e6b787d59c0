"""What the critic is asked about besides pairs: the trees that no trajectory solved.

They give no pair and nothing to train on. People see the first error of the task in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from agentr_lite.actors.base import Actor
from agentr_lite.core.openings import Opening
from agentr_lite.core.seeds import stream_seed
from agentr_lite.core.tasks import Task
from agentr_lite.recipe.settings import Recipe
from agentr_lite.splice.critic import Critic, Judged
from agentr_lite.splice.pairs import Trajectory, find_trajectories, good_trajectories
from agentr_lite.splice.transition import BadPath, Judgements
from agentr_lite.store.records import NodeRow


@dataclass(frozen=True, slots=True)
class TreeInput:
    """One searched tree."""

    tree_id: int
    task: Task
    opening: Opening
    nodes: Sequence[NodeRow]


@dataclass(frozen=True, slots=True)
class JudgedStep:
    """One step that the critic was asked about."""

    bad_leaf: int
    """Leaf of the first bad trajectory that asked."""
    step: int
    """From 0."""
    node_idx: int
    judged: Judged


def new_judgements(critic: Critic, recipe: Recipe) -> Judgements:
    """Nothing judged yet, with the recipe's settings of a critic."""
    return Judgements(critic, recipe.splice.critic_tokens, recipe.splice.critic_margin)


def judge_seed(
    trees: Iterable[TreeInput], recipe: Recipe, round_index: int
) -> Callable[[BadPath, int], int]:
    """The seeds of the critic that reasons, by path and step."""
    task_of = {tree.tree_id: tree.task.name for tree in trees}

    def seed(path: BadPath, step: int) -> int:
        names = (round_index, task_of[path.tree_id], path.nodes[step])
        return stream_seed(recipe.seed, "judge", *names)

    return seed


def failed_paths(
    tree: TreeInput, trajectories: Sequence[Trajectory], *, alpha: float, limit: int
) -> list[BadPath]:
    """Bad trajectories of a tree without any good one; none of another tree.

    Args:
        tree: the tree.
        trajectories: all of it.
        alpha: the least reward of a good trajectory.
        limit: the most that are wanted; the cleanest and shortest come first.
    """
    if good_trajectories(trajectories, alpha):
        return []
    rows = {node.idx: node for node in tree.nodes}
    clean_first = sorted(
        trajectories, key=lambda path: (sum(path.flaws), path.steps, path.leaf_idx)
    )
    paths = []
    for bad in clean_first[:limit]:
        steps = tuple(rows[idx].to_step() for idx in bad.path)
        paths.append(BadPath(tree.tree_id, tree.opening, steps, bad.path, parting_step=0))
    return paths


def judge_failed_tree(
    tree: TreeInput,
    *,
    critic: Critic,
    recipe: Recipe,
    round_index: int,
    actor: Actor,
    on_progress: Callable[[int, int], None],
) -> list[JudgedStep]:
    """Ask the critic about a tree that was never solved, as ``splice.judge_failures`` does.

    Args:
        tree: the tree.
        critic: how the model is asked.
        recipe: for the tree's environment.
        round_index: from 1; decides alpha and the seeds.
        actor: the model of the round.
        on_progress: called before each batch with the number of steps that are judged, and that
            of all steps that may be; what it raises ends the asking.

    Returns:
        The judged steps; none if a trajectory earned alpha, or if none came to an end.
    """
    paths = failed_paths(
        tree,
        find_trajectories(tree.nodes),
        alpha=recipe.alpha(round_index),
        limit=max(1, recipe.splice.pairs_per_task),
    )
    most = len({path.nodes[step] for path in paths for step in path.candidates})
    judgements = new_judgements(critic, recipe)
    judgements.ask(
        actor,
        paths,
        judge_seed([tree], recipe, round_index),
        before_batch=lambda judged: on_progress(judged, most),
    )
    return judged_steps(paths, judgements)


def judged_steps(paths: Iterable[BadPath], judgements: Judgements) -> list[JudgedStep]:
    """The judged steps of one tree, each under the first bad trajectory that it belongs to."""
    by_node: dict[int, JudgedStep] = {}
    for path in paths:
        for step in path.candidates:
            judged = judgements.of(path, step)
            if judged is not None:
                node = path.nodes[step]
                by_node.setdefault(node, JudgedStep(path.nodes[-1], step, node, judged))
    return list(by_node.values())
