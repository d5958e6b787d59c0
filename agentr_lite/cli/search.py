"""``agentr-lite search``: one round's tree search, alone."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentr_lite.cli.common import (
    command_line,
    database_path,
    db_option,
    json_option,
    recipe_options,
    targets_argument,
)
from agentr_lite.cli.learning import learning_json, say_learning
from agentr_lite.cli.workers import shard_option, worker_options
from agentr_lite.console.streams import emit_json, emit_table, say, warn
from agentr_lite.core.errors import EXIT_FAILED, EXIT_SOME_TASKS_FAILED, Interrupted, UsageError
from agentr_lite.runs.choice import Chosen
from agentr_lite.runs.claim import claimed
from agentr_lite.runs.shards import Shard
from agentr_lite.scale.choice import WorkerChoice

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.command()
@targets_argument
@click.option("--round", "round_index", type=click.IntRange(1), help="Default: the next round.")
@click.option("--redo", is_flag=True, help="Delete this round's trees and search again.")
@shard_option("Search only the K-th of N shares of the waves, for machines that share nothing.")
@worker_options
@recipe_options
@db_option
@json_option
@click.pass_context
def search(
    context: click.Context,
    targets: tuple[str, ...],
    round_index: int | None,
    redo: bool,
    shard: Shard | None,
    where: WorkerChoice,
    chosen: Chosen,
    db: Path | None,
    as_json: bool,
) -> None:
    """Grow the search trees of one round.

    With an environment or a recipe, begin a new run. With a run, search its next round, or go on
    with a search that was cut; trees that are committed are not searched again. Several
    environments make one run on all of them.

    With --shard, each of N machines searches its share of the waves into its own database, and
    `agentr-lite runs merge` joins them to one run.
    """
    from agentr_lite.metrics.learning import learning_counts, search_outlook
    from agentr_lite.runs.creation import checked_target, target_run
    from agentr_lite.runs.refused import opened_for_work, removed_if_refused
    from agentr_lite.runs.rounds import round_to_search
    from agentr_lite.runs.single_stage import begun_shard, search_round
    from agentr_lite.scale.executor import opened_executor

    path = database_path(db)
    checked = checked_target(targets, chosen, path, work="search")
    if checked is not None:
        checked.permitted()
        if checked.recipe.imitates:
            words = shlex.join(["agentr-lite", "imitate", *targets])
            raise UsageError(
                "round 1 of this recipe searches with what imitation gives",
                hint=f"Begin with `{words}` and the same settings; then search that run.",
            )
    with opened_for_work(path, create=checked is not None) as store:
        mark = shard.mark if shard is not None else ""
        target = target_run(store, targets, checked, chosen.overrides, mark=mark)
        run_id = target.run.id
        context.with_resource(claimed(store, run_id))
        number = round_to_search(store, run_id, round_index)
        try:
            with (
                removed_if_refused(store, run_id, is_new=target.is_new),
                opened_executor(where) as executor,
            ):
                summary = search_round(
                    store, target, number, redo=redo, executor=executor, shard=shard
                )
            counts = learning_counts(store, run_id, number)
            is_shard = begun_shard(store, run_id, number) is not None
        except KeyboardInterrupt:
            again = command_line("search", run_id, db=db, round_index=number, where=where)
            raise Interrupted(
                "search interrupted; whole waves of trees are kept", hint=f"Go on with: {again}"
            ) from None
    why = search_outlook(
        counts, contested=target.recipe.splice.contested, objective=target.recipe.train.objective
    )
    if as_json:
        emit_json({"run": run_id, "round": number, "search": summary, **learning_json(counts, why)})
    else:
        _show(run_id, number, summary, is_shard=is_shard)
    say_learning(counts, why)
    if summary["failed"]:
        warn(
            f"{summary['failed']} of {summary['trees']} tasks failed",
            hint=f"`agentr-lite trees {run_id}` says why.",
        )
        all_failed = summary["failed"] == summary["trees"]
        context.exit(EXIT_FAILED if all_failed else EXIT_SOME_TASKS_FAILED)


def _show(run_id: str, number: int, summary: Mapping[str, Any], *, is_shard: bool) -> None:
    rows: list[tuple[str, Any]] = [
        ("trees", summary["trees"]),
        ("solved", summary["solved"]),
        ("failed", summary["failed"]),
        ("mean best reward", summary["mean_best_reward"]),
        ("mean reward", summary["mean_reward"]),
        ("simulations", summary["simulations"]),
        ("nodes", summary["nodes"]),
        ("valid actions", f"{summary['valid_samples'] / max(1, summary['samples']):.1%}"),
        ("output tokens", summary["output_tokens"]),
    ]
    emit_table(["round " + str(number), ""], [list(row) for row in rows])
    say(f"Look at the trees: agentr-lite trees {run_id}")
    if is_shard:
        say("Go on, with the databases of all shards: agentr-lite runs merge FILE... --db ALL.db")
    else:
        say(f"Go on: agentr-lite splice {run_id} --round {number}")
