"""``agentr-lite search``: one round's tree search, alone."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentr_lite.cli.common import (
    command_line,
    database_path,
    db_option,
    json_option,
    recipe_options,
)
from agentr_lite.console.output import Progress, emit_json, emit_table, say, warn
from agentr_lite.core.errors import EXIT_FAILED, EXIT_SOME_TASKS_FAILED, Interrupted, UsageError
from agentr_lite.runs.choice import Chosen
from agentr_lite.runs.claim import claimed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentr_lite.runs.session import Target
    from agentr_lite.store import Store


@click.command()
@click.argument("targets", metavar="ENV|RECIPE|RUN", nargs=-1, required=True)
@click.option("--round", "round_index", type=click.IntRange(1), help="Default: the next one.")
@click.option("--redo", is_flag=True, help="Throw this round's trees away and search again.")
@recipe_options
@db_option
@json_option
@click.pass_context
def search(
    context: click.Context,
    targets: tuple[str, ...],
    round_index: int | None,
    redo: bool,
    chosen: Chosen,
    db: Path | None,
    as_json: bool,
) -> None:
    """Grow the search trees of one round.

    With an environment or a recipe, begin a new run; with a run, search its next round, or go on
    where a search was cut. What is committed is not searched again. Several environments make one
    run on all of them.
    """
    from agentr_lite.runs.session import target_run
    from agentr_lite.runs.sitting import recorded_status
    from agentr_lite.store import Store

    with Store.open(database_path(db)) as store:
        found = target_run(store, targets, chosen)
        run = found.run
        context.with_resource(claimed(store, run.id))
        number = _round(store, run.id, round_index)
        try:
            with recorded_status(store, run.id, applies=lambda: _searches_only(store, found)):
                summary = _search(store, found, number, redo)
        except KeyboardInterrupt:
            again = command_line("search", run.id, db=db, round_index=number)
            raise Interrupted(
                "search interrupted; whole waves of trees are kept", hint=f"Go on with: {again}"
            ) from None
    if as_json:
        emit_json({"run": run.id, "round": number, "search": summary})
    else:
        _show(run.id, number, summary)
    if summary["failed"]:
        warn(
            f"{summary['failed']} of {summary['trees']} tasks failed",
            hint=f"`agentr-lite trees {run.id}` says why.",
        )
        all_failed = summary["failed"] == summary["trees"]
        context.exit(EXIT_FAILED if all_failed else EXIT_SOME_TASKS_FAILED)


def _round(store: Store, run_id: str, round_index: int | None) -> int:
    """The round asked for, else the first whose search has not finished."""
    from agentr_lite.store.runs import stage_status

    if round_index is not None:
        return round_index
    number = 1
    while (row := stage_status(store, run_id, number, "search")) is not None and row.finished:
        number += 1
    return number


def _search(store: Store, target: Target, number: int, redo: bool) -> Mapping[str, Any]:
    from agentr_lite.runs.actors import open_actor
    from agentr_lite.runs.environments import open_environments
    from agentr_lite.runs.session import equip
    from agentr_lite.runs.stages.search import search_stage
    from agentr_lite.runs.stages.train import adapter_in_use
    from agentr_lite.store.runs import stage_status
    from agentr_lite.store.splices import get_adapter

    run, recipe = target.run, target.recipe
    before = stage_status(store, run.id, number - 1, "train")
    trained = get_adapter(store, run.id, number - 1) is not None
    # A round that found nothing to train on is through, too: it goes on with what was there.
    if number > 1 and not trained and not (before is not None and before.finished):
        # Asked before the model loads: that may take a while.
        raise UsageError(
            f"round {number} of {run.id} searches with the adapter of round {number - 1},"
            " which is not there",
            hint=f"`agentr-lite train {run.id} --round {number - 1}` makes it;"
            f" `--round {number - 1} --redo` searches that round again.",
        )
    with (
        open_environments(recipe) as env,
        closing(open_actor(recipe)) as actor,
    ):
        worn = adapter_in_use(store, run.id, number - 1)
        equip(store, run, actor, worn)
        say(f"{run.id}: round {number}, {'adapter' if worn else 'base model'}")
        with Progress() as progress:
            return search_stage(
                store, run.id, number, recipe, env, actor, progress=progress, redo=redo
            )


def _searches_only(store: Store, target: Target) -> bool:
    """A run of the whole loop keeps the status that the loop gave it."""
    from agentr_lite.store.runs import list_stages

    return target.is_new or all(row.stage == "search" for row in list_stages(store, target.run.id))


def _show(run_id: str, number: int, summary: Mapping[str, Any]) -> None:
    rows = [
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
    say(f"Go on: agentr-lite splice {run_id} --round {number}")
