"""``agentr-lite splice``: one round's revision data, alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentr_lite.cli.common import command_line, database_path, db_option, json_option, set_option
from agentr_lite.cli.completion import complete_runs
from agentr_lite.cli.learning import learning_json, say_learning
from agentr_lite.cli.workers import worker_options
from agentr_lite.console.streams import emit_json, emit_table, say, warn
from agentr_lite.core.errors import EXIT_FAILED, EXIT_SOME_TASKS_FAILED, Interrupted
from agentr_lite.runs.claim import claimed
from agentr_lite.scale.choice import WorkerChoice

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.command()
@click.argument("run", default="latest", shell_complete=complete_runs)
@click.option(
    "--round", "round_index", type=click.IntRange(1), help="Default: the last searched round."
)
@click.option(
    "--critic",
    type=click.Choice(["score", "reason", "none"]),
    help="How the model finds its first error; none: direct revision.  [default: the recipe's]",
)
@click.option(
    "--verify",
    type=click.Choice(["replay", "off"]),
    help="Whether spliced trajectories are executed; off is the paper's way."
    "  [default: the recipe's]",
)
@set_option("Another splice.* setting.")
@click.option("--redo", is_flag=True, help="Delete the round's revision data and begin again.")
@worker_options
@db_option
@json_option
@click.pass_context
def splice(
    context: click.Context,
    run: str,
    round_index: int | None,
    critic: str | None,
    verify: str | None,
    overrides: tuple[str, ...],
    redo: bool,
    where: WorkerChoice,
    db: Path | None,
    as_json: bool,
) -> None:
    """Make revision data from the trees of RUN (default: the newest run).

    Pairs the good and bad trajectories of each tree, lets the model judge where the bad one went
    wrong, joins the two there, and executes the result. What is committed is not done again.
    """
    from agentr_lite.metrics.learning import learning_counts, search_outlook
    from agentr_lite.runs.rounds import round_to_splice
    from agentr_lite.runs.single_stage import splice_recipe, splice_round
    from agentr_lite.runs.stages.splice_counts import environment_faults
    from agentr_lite.scale.executor import opened_executor
    from agentr_lite.store import Store
    from agentr_lite.store.runs import get_run

    changed = [*overrides]
    changed += [f"splice.critic={critic}"] if critic else []
    changed += [f"splice.verify={verify}"] if verify else []
    with Store.open(database_path(db), create=False) as store:
        row = get_run(store, run)
        context.with_resource(claimed(store, row.id))
        recipe = splice_recipe(row, changed)
        number = round_to_splice(store, row.id, round_index)
        try:
            with opened_executor(where) as executor:
                summary = splice_round(store, row, recipe, number, redo=redo, executor=executor)
            counts = learning_counts(store, row.id, number)
        except KeyboardInterrupt:
            again = command_line(
                "splice", row.id, db=db, round_index=number, overrides=changed, where=where
            )
            raise Interrupted(
                "splicing interrupted; whole waves of trees are kept", hint=f"Go on with: {again}"
            ) from None
    why = search_outlook(
        counts, contested=recipe.splice.contested, objective=recipe.train.objective
    )
    if as_json:
        emit_json({"run": row.id, "round": number, "splice": summary, **learning_json(counts, why)})
    else:
        _show(row.id, number, summary)
    say_learning(counts, why)
    faults = environment_faults(summary)
    if faults:
        warn(f"the environment broke in {faults} of {summary['pairs']} pairs; they are left out")
        context.exit(EXIT_FAILED if faults == summary["pairs"] else EXIT_SOME_TASKS_FAILED)


def _show(run_id: str, number: int, summary: Mapping[str, Any]) -> None:
    share, length = summary["naive_failed_share"], summary["revision_length"]
    rows: list[list[Any]] = [
        ["trees", summary["trees"]],
        ["good trajectories", summary["good"]],
        ["bad trajectories", summary["bad"]],
        ["pairs", summary["pairs"]],
        ["judged steps", summary["judged"]],
        *([f"  {verdict}", count] for verdict, count in summary["verdicts"].items()),
        ["naive splices that failed their replay", None if share is None else f"{share:.1%}"],
        ["revisions", sum(summary["accepted"].values())],
        *([f"  {status}", count] for status, count in summary["accepted"].items()),
        ["rejected", sum(summary["rejected"].values())],
        *([f"  {reason}", count] for reason, count in summary["rejected"].items()),
        *(
            [f"preferences of kind {kind}", count]
            for kind, count in summary.get("preferences", {}).items()
        ),
        ["mean revision length", None if length is None else f"{length:.1f}"],
    ]
    emit_table([f"round {number}", ""], rows, align=["left", "right"])
    if summary["accepted"]:
        say(f"Write them to a file: agentr-lite export {run_id} -o FILE")
        say(f"Go on: agentr-lite train {run_id} --round {number}")
