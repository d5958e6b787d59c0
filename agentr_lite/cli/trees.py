"""``agentr-lite trees``: look at the search trees of a run."""

from __future__ import annotations

from pathlib import Path

import click

from agentr_lite.cli.common import database_path, db_option, json_option
from agentr_lite.cli.completion import complete_runs
from agentr_lite.core.errors import UsageError


@click.command()
@click.argument("run", default="latest", shell_complete=complete_runs)
@click.option("--round", "round_index", type=click.IntRange(1), help="Only this round's trees.")
@click.option("--task", help="Draw the trees of this task.")
@click.option("--tree", "tree_id", type=int, help="Draw the tree with this id.")
@click.option("--all", "everything", is_flag=True, help="Also draw nodes that were never visited.")
@click.option("--observations", is_flag=True, help="Also draw the observations.")
@click.option("--depth", type=click.IntRange(1), help="Draw the first N steps only.")
@db_option
@json_option
def trees(
    run: str,
    round_index: int | None,
    task: str | None,
    tree_id: int | None,
    everything: bool,
    observations: bool,
    depth: int | None,
    db: Path | None,
    as_json: bool,
) -> None:
    """List the search trees of RUN (default: the newest run), or draw some of them.

    RUN is a run's id, a unique beginning of it, or `latest`. `--task` and `--tree` draw:

    \b
      ✓ solved   ◐ ended with part of the reward   ✗ ended without reward
      ☠ fatal mistake   … cut at the depth limit   ! invalid action
      ↺ revision turn   ? no action
      n visits, v mean reward, r reward at the end, ×k candidates with this action
      ⋯12 at the left: 12 more levels of indentation than there is room for
    """
    from agentr_lite.console.streams import (
        emit,
        emit_json,
        emit_lines,
        emit_table,
        say,
        terminal_width,
    )
    from agentr_lite.report.render.trees import TreeView, render_tree, tree_heading
    from agentr_lite.store import Store
    from agentr_lite.store.runs import get_run
    from agentr_lite.store.trees import list_trees, load_tree

    with Store.open_to_read(database_path(db)) as store:
        run_id = get_run(store, run).id
        rows = list_trees(store, run_id, round_index=round_index, task=task)
        if tree_id is not None:
            rows = [tree for tree in rows if tree.id == tree_id]
        drawing = task is not None or tree_id is not None
        if drawing and not rows:
            what = f"tree {tree_id}" if tree_id is not None else f"tree of a task '{task}'"
            raise UsageError(
                f"run {run_id} has no {what}", hint=f"`agentr-lite trees {run_id}` lists its trees."
            )
        if not drawing:
            if as_json:
                emit_json(rows)
                return
            say(f"run {run_id}: {len(rows)} trees")
            emit_table(
                ["tree", "round", "wave", "task", "level", "best", "sims", "nodes", "error"],
                [
                    [
                        tree.id,
                        tree.round,
                        tree.wave,
                        tree.task.name,
                        tree.task.level,
                        f"{tree.best_reward:.3g}",
                        tree.simulations,
                        tree.node_count,
                        tree.error or "",
                    ]
                    for tree in rows
                ],
                keep=["task", "best"],
                hide=["wave", "sims", "nodes", "level"],
            )
            return
        if as_json:
            emit_json([{"tree": tree, "nodes": load_tree(store, tree.id)} for tree in rows])
            return
        view = TreeView(everything, observations, depth)
        for tree in rows:
            emit_lines([tree_heading(tree)])
            for line in render_tree(load_tree(store, tree.id), view, width=terminal_width()):
                emit(line)
