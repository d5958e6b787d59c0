"""What workers give, and how much one command can commit.

    python -m benchmarks.scale                  # both; needs the extra `ray`
    python -m benchmarks.scale --only pair      # two workers of one thread, one process of two
    python -m benchmarks.scale --only ceiling   # workers that answer at once: the driver's limit

The pair searches the same tasks with the bundled model and compares the trees. The ceiling commits
trees that nobody had to search, so that only Ray, the driver and SQLite work.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from agentr_lite.actors.base import Capabilities
from agentr_lite.core.tasks import Task
from agentr_lite.core.usage import Usage
from agentr_lite.recipe.groups import SearchSettings
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.runs.environments import open_environments
from agentr_lite.runs.stages.search import SearchStage
from agentr_lite.runs.stages.stage import StageContext
from agentr_lite.runs.stages.tree_rows import SearchedTree
from agentr_lite.runs.stages.waves import SearchWave
from agentr_lite.scale.choice import WorkerChoice
from agentr_lite.scale.executor import CrewWaves
from agentr_lite.scale.pool import Pool
from agentr_lite.scale.ray_crew import RayCluster, RayCrew
from agentr_lite.scale.worker import Done, Job, Ready
from agentr_lite.store import Store, summaries
from agentr_lite.store.runs import list_runs, stage_status
from benchmarks.store import make_nodes

WAVE = 16


class InstantWorker:
    """Answers every wave at once, with the same tree for each of its tasks."""

    def __init__(self, job: Job) -> None:
        nodes = make_nodes(int(job.recipe["nodes"]), depth=10)
        self._tree = SearchedTree("Craft what is asked for.", nodes, (), 10, None)

    def ready(self, stock: Any) -> Ready:
        """See ``Worker``."""
        return Ready("here", os.getpid(), {"backend": "none", "sha256": ""}, Capabilities())

    def perform(self, wave: SearchWave, adapter: Any, stock: Any) -> Done:
        """See ``Worker``."""
        return Done([self._tree] * len(wave.tasks), Usage())


def measure_ceiling(trees: int, nodes: int, workers: int) -> None:
    """Commit trees that were not searched; print the driver's speed and memory.

    Args:
        trees: how many.
        nodes: of each.
        workers: who answer.
    """
    recipe = Recipe(
        env=(EnvironmentSettings("textcraft"),), search=SearchSettings(tasks=trees, wave=WAVE)
    )
    tasks = [Task(f"task {number}", "train", f"craft {number}") for number in range(trees)]
    choice = WorkerChoice("ray", workers)
    job = Job({"nodes": nodes}, None, None, None, 1, {})
    with (
        tempfile.TemporaryDirectory() as folder,
        RayCluster(choice) as cluster,
        Store.open(Path(folder) / "runs.db") as store,
        open_environments(recipe) as environments,
    ):
        cluster.crew(job, choice).close()  # connects
        crew = RayCrew(job, choice, workers, worker=InstantWorker)
        pool = Pool(crew)
        pool.open([])
        with closing(CrewWaves(crew, pool, None)) as waves:
            run_id = create_run(store, recipe)
            context = StageContext(store, run_id, 1, recipe, environments, waves)
            before = _memory_mb()
            started = time.perf_counter()
            SearchStage(context, tasks=tasks).run()
            seconds = time.perf_counter() - started
    count = -(-trees // WAVE)
    print(
        f"ceiling, {workers} workers: {count} waves of {WAVE} trees, {trees * nodes:,} nodes in"
        f" {seconds:.1f} s: {count / seconds:.1f} waves/s, {trees * nodes / seconds:,.0f} nodes/s;"
        f" driver's memory {before:.0f} MB before, {_memory_mb():.0f} MB at most"
    )


def _memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def measure_pair(tasks: int, simulations: int) -> None:
    """Search the same tasks in one process and by two workers; print times, compare trees."""
    settings = [f"search.tasks={tasks}", "search.wave=4", f"search.simulations={simulations}"]
    results = []
    for name, where in (
        ("one process", []),
        ("two workers of one thread", ["--executor", "ray", "--workers", "2"]),
    ):
        with tempfile.TemporaryDirectory() as folder:
            db = Path(folder) / "runs.db"
            started = time.perf_counter()
            _search([*(word for each in settings for word in ("--set", each)), *where], db)
            seconds = time.perf_counter() - started
            with Store.open(db, create=False, read_only=True) as store:
                run = list_runs(store)[0]
                stage = stage_status(store, run.id, 1, "search")
                wall_s = stage.wall_s if stage else 0.0
                results.append((wall_s, [*summaries.dump_trees(store, run.id, 1)]))
                threads = run.model_description.get("threads")
        print(
            f"{name} ({threads} threads each): search {wall_s:.1f} s, command {seconds:.1f} s,"
            f" {len(results[-1][1]):,} rows"
        )
    (one, trees), (two, others) = results
    print(f"ratio of the searches' wall times {two / one:.2f}; equal trees: {trees == others}")


def _search(words: Sequence[str], db: Path) -> None:
    command = [sys.executable, "-m", "agentr_lite", "search", "textcraft", *words, "-d", str(db)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # 5: some tasks failed, which is a result, too.
    if done.returncode not in (0, 5):
        raise RuntimeError(done.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", choices=("pair", "ceiling"))
    parser.add_argument("--tasks", type=int, default=32, help="tasks of the pair")
    parser.add_argument("--simulations", type=int, default=8, help="simulations of each task")
    parser.add_argument("--trees", type=int, default=4_000, help="trees of the ceiling")
    parser.add_argument("--nodes", type=int, default=250, help="nodes of each of them")
    parser.add_argument("--workers", type=int, default=2, help="workers of the ceiling")
    chosen = parser.parse_args(arguments)
    if chosen.only != "ceiling":
        measure_pair(chosen.tasks, chosen.simulations)
    if chosen.only != "pair":
        measure_ceiling(chosen.trees, chosen.nodes, chosen.workers)


if __name__ == "__main__":
    main()
