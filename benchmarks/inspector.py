"""How fast the inspector opens and reacts with large data.

    python -m benchmarks.inspector
    python -m benchmarks.inspector --size 200x60

This makes a database in a temporary folder: a run with many trees, one of which is very large and
one very deep. All trees are spliced, so that verdicts and t' mark their nodes, hundreds of them in
a large tree. Keys are pressed without a terminal. The benchmark measures the processor time from a
key to the drawn screen, because wall time would include the test driver's waiting. Memory is what
Python's allocator holds for a tree after it was opened and its nodes were visited, for trees of
several sizes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import tempfile
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path

from agentr_lite_tui.app import Inspector
from agentr_lite_tui.screens.tasks import TasksScreen
from agentr_lite_tui.screens.tree import TreeScreen
from textual.pilot import Pilot
from textual.screen import Screen

from agentr_lite.core.tasks import Task
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store, runs, splices, trees
from agentr_lite.store.records import JudgementRow, NodeRow

_KEY_LINES = (
    "down down right down space g g b b p s end up",
    "pageup c down c s s left left z m m z m m m",
    "n N G B o home asterisk pagedown",
)
KEYS = tuple(key for line in _KEY_LINES for key in line.split())
"""Keys that are pressed on every screen, even if a screen has no binding for them."""
TREE_KEYS = ("e", "e", "E")
"""Keys that are pressed in trees besides."""
MARKED_LARGE, MARKED_SMALL = 200, 4
"""Bad trajectories of a large and of another tree that are judged; 4 is the recipes' default."""
WALK = ("g", "b", "b", "s", "n", "o", "pagedown", "down", "c")
"""Keys that are pressed before the memory is measured."""


def make_tree(count: int, *, width: int, seed: int = 0) -> list[NodeRow]:
    """A tree in which every node has ``width`` children; the last ones end the episode."""
    draw = random.Random(seed)
    nodes: list[NodeRow] = []
    for idx in range(count):
        parent = (idx - 1) // width if idx else None
        ended = idx * width + 1 >= count
        nodes.append(
            NodeRow(
                tree_id=0,
                idx=idx,
                parent_idx=parent,
                depth=0 if parent is None else nodes[parent].depth + 1,
                kind="root" if parent is None else "act",
                action=None if parent is None else f"get {idx % 97} oak logs",
                text="" if parent is None else f"Thought: next\nAction: get {idx % 97} oak logs",
                observation=f"Got {idx % 97} oak logs",
                reward=float(ended and draw.random() < 0.1),
                terminated=ended,
                truncated=False,
                invalid=False,
                disaster=False,
                visits=draw.randrange(9),
                value_sum=0.0,
                merged=1,
            )
        )
    return nodes


def splice_tree(
    store: Store, run_id: str, tree_id: int, nodes: Sequence[NodeRow], marked: int
) -> None:
    """Verdicts on ``marked`` bad trajectories of a tree or a few more, each with its t'."""
    leaves = [node for node in nodes if node.terminated]
    good = [node for node in leaves if node.reward >= 1][:1]
    bad = [node for node in leaves if node.reward < 1][:: max(1, len(leaves) // marked)]
    with store.atomic():
        ids = {
            leaf.idx: splices.save_trajectory(
                store,
                tree_id,
                leaf.idx,
                kind="good" if leaf.reward >= 1 else "bad",
                reward=leaf.reward,
                steps=leaf.depth,
            )
            for leaf in (*good, *bad)
        }
        for leaf in bad:
            path = [leaf.idx]
            while (parent := nodes[path[-1]].parent_idx) is not None:
                path.append(parent)
            path.reverse()
            judged = [
                JudgementRow(
                    ids[leaf.idx],
                    step - 1,
                    path[step],
                    "bad" if step == len(path) // 2 else "good",
                    "score",
                    scores=(-2.0, -0.2, -3.0) if step == len(path) // 2 else (-0.2, -2.0, -3.0),
                )
                for step in range(1, len(path))
            ]
            splices.save_judgements(store, judged)
            if good and len(path) > 2:
                splices.save_revision(
                    store,
                    run_id=run_id,
                    round_index=1,
                    good_id=ids[good[0].idx],
                    bad_id=ids[leaf.idx],
                    parting_step=0,
                    cut_step=max(1, len(path) // 2),
                    reflection="Stop.",
                    revision_length=1,
                    naive_reward=None,
                    status="rejected",
                    reason="no way back: none",
                )


def make_database(path: Path, nodes: int, tree_count: int) -> tuple[str, dict[int, int], int]:
    """(run, its large trees by their number of nodes, its deepest tree)."""
    with Store.open(path) as store:
        run_id = create_run(store, Recipe())

        def save(name: str, of: Sequence[NodeRow]) -> int:
            tree_id = trees.save_tree(
                store,
                run_id=run_id,
                round_index=1,
                wave=0,
                env="textcraft",
                task=Task(name, "train", f"craft {name}"),
                instructions="Craft.",
                nodes=of,
                calls=[],
                simulations=8,
            )
            marked = MARKED_LARGE if len(of) >= nodes // 100 else MARKED_SMALL
            splice_tree(store, run_id, tree_id, of, marked)
            return tree_id

        sizes = sorted({nodes // 100, nodes // 10, nodes})
        large = {size: save(f"large {size}", make_tree(size, width=4)) for size in sizes}
        deep = save("deep", make_tree(2_000, width=1))
        few = make_tree(100, width=4)
        for number in range(tree_count - len(large) - 1):
            save(f"task {number}", few)
        runs.stage_started(store, run_id, 1, "splice")
        runs.stage_finished(store, run_id, 1, "splice", summary={}, wall_s=1.0)
        return run_id, large, deep


async def bench(
    app: Inspector,
    pilot: Pilot[None],
    name: str,
    screen: Screen[None],
    keys: Sequence[str] = KEYS,
) -> None:
    """Open a screen and press the keys; print the times."""
    before, clock = time.process_time(), time.perf_counter()
    app.push_screen(screen)
    await pilot.pause()
    opened, wall = time.process_time() - before, time.perf_counter() - clock
    costs = []
    for key in keys:
        before = time.process_time()
        await pilot.press(key)
        costs.append((time.process_time() - before) * 1000)
    costs.sort()
    print(
        f"{name:24} open {opened * 1000:4.0f} ms (clock {wall * 1000:4.0f});"
        f" a key: median {costs[len(costs) // 2]:3.0f} ms,"
        f" 95th percentile {costs[int(len(costs) * 0.95)]:3.0f} ms, worst {costs[-1]:3.0f} ms"
    )
    app.pop_screen()
    await pilot.pause()


async def search(app: Inspector, pilot: Pilot[None], tree_id: int) -> None:
    """Print the cost of typing a search word and of finding it."""
    screen = TreeScreen(app.store, tree_id)
    app.push_screen(screen)
    await pilot.pause()
    costs = []
    for key in ("slash", *"77 oak"):
        before = time.process_time()
        await pilot.press("space" if key == " " else key)
        costs.append((time.process_time() - before) * 1000)
    before = time.process_time()
    await pilot.press("enter")
    find_ms = (time.process_time() - before) * 1000
    print(
        f"{'search in it':24} a letter: worst {max(costs):3.0f} ms; enter finds in {find_ms:.0f} ms"
    )
    app.pop_screen()
    await pilot.pause()


async def weigh(app: Inspector, pilot: Pilot[None], sizes: Mapping[int, int]) -> None:
    """Print the memory of trees of several sizes."""
    before, smallest = 0, min(sizes)
    for nodes, tree_id in sorted(sizes.items()):
        gc.collect()
        tracemalloc.start()
        screen = TreeScreen(app.store, tree_id)
        app.push_screen(screen)
        await pilot.pause()
        await pilot.press(*WALK)
        await pilot.pause()
        gc.collect()
        held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        shown = len(screen.tree_view.tree_rows.rows)
        text = (
            f"tree of {nodes:>9,} nodes     holds {held / 1e6:5.2f} MB, peak {peak / 1e6:5.2f} MB"
        )
        text += f", {shown} rows in the list"
        if nodes > smallest:
            text += f"; {(held - before) / (nodes - smallest):.0f} bytes a node more"
        else:
            before = held
        print(text)
        app.pop_screen()
        await pilot.pause()


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--trees", type=int, default=1_000)
    parser.add_argument("--size", default="120x40", help="columns and lines of the terminal")
    options = parser.parse_args()
    columns, _, lines = options.size.partition("x")
    size = (int(columns), int(lines))

    async def session(path: Path, run_id: str, large: Mapping[int, int], deep: int) -> None:
        with Store.open(path, read_only=True) as store:
            app = Inspector(store, poll_s=0)
            all_keys = (*KEYS, *TREE_KEYS)
            gc.freeze()  # The command does this, too.
            async with app.run_test(size=size) as pilot:
                await pilot.pause()
                tasks = TasksScreen(store, run_id)
                await bench(app, pilot, f"run of {options.trees:,} trees", tasks)
                tree = TreeScreen(store, large[options.nodes])
                await bench(app, pilot, f"tree of {options.nodes:,} nodes", tree, all_keys)
                chain = TreeScreen(store, deep)
                await bench(app, pilot, "chain of 2,000 nodes", chain, all_keys)
                await search(app, pilot, large[options.nodes])
                await weigh(app, pilot, large)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.db"
        made = make_database(path, options.nodes, options.trees)
        asyncio.run(session(path, *made))


if __name__ == "__main__":
    main()
