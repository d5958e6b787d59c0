"""Trees with values, and a run whose trees give pairs of every kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agentr_lite.core.preferences import PREFERENCE_KINDS, PreferenceKind
from agentr_lite.core.tasks import Task
from agentr_lite.recipe.groups import SearchSettings, SpliceSettings, TrainSettings
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store, trees
from agentr_lite.store.records import NodeRow
from tests.support.corridor import Corridor
from tests.support.splice_cases import RuleActor, walk
from tests.support.stages import splice_stage

GOOD = "forward, take, forward, open"
BAD = "forward, take, jump high, shout, leave"
WORSE = "forward, jump"
PATHS = (GOOD, BAD, WORSE)


class Corridors(Corridor):
    """Tasks of one shape."""

    def tasks(self, split: str) -> list[Task]:
        payload = {"length": 3, "key": 1}
        return [Task(f"t{i}", split, f"open door {i}", 3, payload=payload) for i in range(4)]


def valued(nodes: Sequence[NodeRow]) -> list[NodeRow]:
    """The nodes with the visits and values that one simulation a leaf would leave."""
    visits, sums = [0] * len(nodes), [0.0] * len(nodes)
    for leaf in nodes:
        if leaf.ended:
            node: NodeRow | None = leaf
            while node is not None:
                visits[node.idx] += 1
                sums[node.idx] += leaf.reward
                node = None if node.parent_idx is None else nodes[node.parent_idx]
    return [replace(node, visits=visits[node.idx], value_sum=sums[node.idx]) for node in nodes]


def pair_recipe(
    kinds: Sequence[PreferenceKind] = PREFERENCE_KINDS,
    *,
    splice: dict[str, object] | None = None,
    **train: object,
) -> Recipe:
    """A recipe for the corridor, which trains on pairs alone unless it is told otherwise."""
    values = {"alpha": (1.0,), "preferences": tuple(kinds), **(splice or {})}
    return Recipe(
        env=(EnvironmentSettings("corridor"),),
        search=SearchSettings(depth=8),
        splice=SpliceSettings(**values),
        train=TrainSettings(**{"eta": 1.0, "validation": 0.0, "objective": "dpo", **train}),
    )


def planted_run(path: Path, recipe: Recipe, paths: Sequence[str] = PATHS) -> tuple[Store, str]:
    """A database with a run of four trees, spliced in round 1."""
    store = Store.open(path)
    run_id = create_run(store, recipe)
    env = Corridors()
    for task in env.tasks("train"):
        trees.save_tree(
            store,
            run_id=run_id,
            round_index=1,
            wave=0,
            env=env.name,
            task=task,
            instructions=env.instructions(),
            nodes=valued(walk(env, task, paths)),
            calls=[],
            simulations=len(paths),
        )
    splice_stage(store, run_id, 1, recipe, env, RuleActor(["jump high"]))
    return store, run_id
