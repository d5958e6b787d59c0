"""How fast trees are stored, read and searched, and how large they are.

    python -m benchmarks.store

This makes databases in a temporary folder and prints one line per figure. It uses no model, so for
search it measures only the search's own time.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from agentr_lite.actors.base import Actor, Completion, GenerateRequest, GenerateResult
from agentr_lite.core.steps import Step
from agentr_lite.core.tasks import Task
from agentr_lite.core.usage import Usage
from agentr_lite.envs.registry import make_env
from agentr_lite.recipe.groups import SearchSettings
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.search.context import search_context
from agentr_lite.search.scheduler import TreeSearch, run_wave
from agentr_lite.store import Store, trees
from agentr_lite.store.records import NodeRow


class RandomActor(Actor):
    """Draws one of the environment's listed actions, at almost no cost."""

    def __init__(self, actions: Sequence[str]) -> None:
        self.actions = actions
        self.usage = Usage()

    @property
    def description(self) -> dict[str, str]:
        return {"back_end": "random"}

    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateResult]:
        return [
            GenerateResult(tuple(self._answer(seed) for seed in request.seeds), 0, 0)
            for request in requests
        ]

    def _answer(self, seed: int) -> Completion:
        action = random.Random(seed).choice(self.actions)
        return Completion(f"Thought: next\nAction: {action}", 8, "stop")


def make_nodes(count: int, depth: int) -> list[NodeRow]:
    """A tree of chains of length ``depth`` below the root, with texts of a usual length."""
    nodes = [NodeRow.root("You have nothing.", visits=1)]
    while len(nodes) < count:
        parent, level = 0, 0
        while level < depth and len(nodes) < count:
            level += 1
            nodes.append(_node(len(nodes), parent, level))
            parent = len(nodes) - 1
    return nodes


def _node(idx: int, parent: int, depth: int) -> NodeRow:
    step = Step(
        f"Thought: I need {idx} logs.\nAction: get {idx} oak logs",
        f"get {idx} oak logs",
        f"Got {idx} oak logs. Inventory: [oak logs] ({idx})",
    )
    return NodeRow.from_step(step, idx, parent, depth, visits=1)


def measure(action: Callable[[], object], repeat: int = 5) -> float:
    """Seconds of the fastest of ``repeat`` calls."""
    best = float("inf")
    for _ in range(repeat):
        started = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - started)
    return best


def bench_store(folder: Path, count: int) -> None:
    """Measure writing, sizes, reading of paths, and opening."""
    for depth in (20, 200, 2_000):
        with Store.open(folder / f"{depth}.db") as store:
            run_id = create_run(store, Recipe())
            empty = store.scalar("PRAGMA page_count")
            nodes = make_nodes(count, depth)
            started = time.perf_counter()
            tree_id = trees.save_tree(
                store,
                run_id=run_id,
                round_index=1,
                wave=0,
                env="textcraft",
                task=Task("stick", "train", "craft a stick"),
                instructions="play",
                nodes=nodes,
                calls=[],
                simulations=8,
            )
            wrote = time.perf_counter() - started
            size = (store.scalar("PRAGMA page_count") - empty) * store.scalar("PRAGMA page_size")
            leaf = max(nodes, key=lambda node: node.depth).idx
            path = measure(partial(trees.path_steps, store, tree_id, leaf))
            load = measure(partial(trees.load_tree, store, tree_id), 2)
            print(
                f"depth {depth:5}: {count / wrote:9,.0f} nodes/s written, {size / count:5.0f}"
                f" bytes/node, path {path * 1e3:6.2f} ms, load {count / load:9,.0f} nodes/s"
            )


def bench_search(tree_count: int) -> None:
    """Measure the search's own time, without the model."""
    env = make_env("textcraft")
    tasks = list(env.tasks("train"))[:tree_count]
    actor = RandomActor(["get 1 oak log", "get 2 stick", "inventory", "craft 4 oak planks"] * 2)
    for descent in ("paper", "textbook"):
        recipe = Recipe(search=SearchSettings(descent=descent))
        searches: list[TreeSearch] = []

        def run(recipe: Recipe = recipe, searches: list[TreeSearch] = searches) -> None:
            context = search_context(recipe, env, 1)
            searches[:] = [TreeSearch(task, context) for task in tasks]
            run_wave(searches, actor)

        seconds = measure(run, 3)
        nodes = sum(len(search.tree.nodes) for search in searches)
        calls = sum(len(search.tree.calls) for search in searches)
        print(
            f"search {descent:8}: {nodes / seconds:9,.0f} nodes/s, {calls / seconds:7,.0f}"
            f" requests/s, {seconds / calls * 1e6:5.0f} µs a request"
            f" ({len(tasks)} trees, {nodes} nodes)"
        )


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=20_000)
    parser.add_argument("--trees", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench_store(Path(folder), options.nodes)
    bench_search(options.trees)


if __name__ == "__main__":
    main()
