"""``agentr-lite run``: the whole loop, on one environment or on several."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentr_lite.cli.common import database_path, db_option, json_option, recipe_options
from agentr_lite.cli.completion import complete_new, complete_runs
from agentr_lite.cli.plan import plan_lines, show_plan
from agentr_lite.cli.workers import worker_options
from agentr_lite.console.progress import Progress
from agentr_lite.console.streams import emit, emit_lines, say, terminal_width, warn
from agentr_lite.console.text import Styled
from agentr_lite.core.errors import (
    EXIT_FAILED,
    EXIT_SOME_TASKS_FAILED,
    AgentrError,
    Interrupted,
    NothingToLearn,
    StoreError,
    UsageError,
    from_os_error,
)
from agentr_lite.core.rounds import round_name
from agentr_lite.runs.choice import Chosen
from agentr_lite.runs.claim import claimed
from agentr_lite.scale.choice import WorkerChoice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentr_lite.runs.checks.run import CheckedRun
    from agentr_lite.runs.creation import Target
    from agentr_lite.runs.pipeline import PipelineResult
    from agentr_lite.store import Store


@click.command()
@click.argument("targets", metavar="[ENV|RECIPE]", nargs=-1, shell_complete=complete_new)
@click.option(
    "--resume",
    metavar="RUN",
    help="Go on with an interrupted run (`latest` works).",
    shell_complete=complete_runs,
)
@click.option(
    "--plan",
    "plan_only",
    is_flag=True,
    help="Print the plan, check all that the run needs, and stop.",
)
@click.option(
    "--no-probe",
    is_flag=True,
    help="With --plan: do not load the model to estimate how long the run takes.",
)
@click.option("-v", "--verbose", is_flag=True, help="Print the tables of `report` at the end.")
@worker_options
@recipe_options
@db_option
@json_option
@click.pass_context
def run(
    context: click.Context,
    targets: tuple[str, ...],
    resume: str | None,
    plan_only: bool,
    no_probe: bool,
    verbose: bool,
    where: WorkerChoice,
    chosen: Chosen,
    db: Path | None,
    as_json: bool,
) -> None:
    """Evaluate the base model, then search, splice, train and evaluate, round by round.

    `agentr-lite run textcraft` needs nothing else: it plays a bundled environment with the
    bundled model. With several environments, one model learns all of them. A line after each
    evaluation says what the model solves, and a last line, on stdout, whether it got better.
    `agentr-lite report` and -v print the tables. All narration is on stderr.

    Before it begins, a run checks the environments and their tasks, the model's files, its chat
    template, the weights to train, all of the general data, the database and the free space.
    --plan makes the same checks, prints them, and exits with the code of the run. If nothing is
    refused, it then loads the model, lets it play for up to ten seconds, and estimates how long
    each stage will take. A run that is refused leaves nothing behind.
    """
    if (not targets and chosen.recipe is None) == (resume is None):
        raise UsageError(
            "name what to run or what to resume",
            hint="`agentr-lite run textcraft`, or `agentr-lite run --resume latest`.",
        )
    if resume is not None and (chosen or plan_only):
        raise UsageError(
            "a run's settings are fixed: --resume takes no --recipe, --set, --model, --seed or"
            " --plan",
            hint="Begin a new run with them instead.",
        )
    if no_probe and not plan_only:
        raise UsageError("--no-probe goes with --plan", hint="A run measures nothing beforehand.")
    path = database_path(db)
    checked = None if resume is not None else _checked(targets, chosen, path)
    if checked is not None and plan_only:
        if no_probe:
            estimate = None
        else:
            from agentr_lite.runs.estimate.plan import estimated

            checked, estimate = estimated(checked)
        show_plan(checked, as_json, estimate)
        if checked.refusal is not None:
            context.exit(checked.refusal.exit_code)
        return
    if checked is not None:
        checked.permitted()
    from agentr_lite.runs.creation import begin_run, resumed_run
    from agentr_lite.runs.refused import opened_for_work, removed_if_refused

    with opened_for_work(path, create=checked is not None) as store:
        if checked is not None:
            target = begin_run(store, checked.recipe)
        else:
            target = resumed_run(store, str(resume))
        run_id = target.run.id
        context.with_resource(claimed(store, run_id))
        if checked is not None:
            for line in plan_lines(checked):
                say(line)
        place = ["--db", str(db)] if db is not None else []
        again = shlex.join(["agentr-lite", "run", "--resume", run_id, *place, *where.words()])
        try:
            with removed_if_refused(store, run_id, is_new=target.is_new):
                result = _run_loop(store, target, where)
        except KeyboardInterrupt:
            raise Interrupted(
                f"run {run_id} interrupted; what was finished is kept",
                hint=f"Go on with: {again}",
            ) from None
        except BrokenPipeError:
            raise
        except OSError as error:
            failure = from_os_error(error)
            failure.hint = f"{failure.hint} Then go on with: {again}".strip()
            raise failure from error
        except NothingToLearn:
            # What the base does is known, and worth showing. With --json, the error is the output.
            if not as_json:
                _show(store, run_id, as_json, verbose, shlex.join(place))
            raise
        except AgentrError as error:
            if _has_begun(store, run_id, error):
                error.hint = f"{error.hint} Then go on with: {again}".strip()
            raise
        _show(store, run_id, as_json, verbose, shlex.join(place))
    if result.failed_tasks:
        by_kind = ", ".join(f"{count} {unit}" for unit, count in result.failures.items())
        warn(
            f"{result.failed_tasks} tasks failed ({by_kind})",
            hint=f"`agentr-lite trees {run_id}` says why.",
        )
        context.exit(EXIT_FAILED if result.all_failed else EXIT_SOME_TASKS_FAILED)


def _checked(targets: Sequence[str], chosen: Chosen, path: Path) -> CheckedRun:
    """The checks of a new run.

    Raises:
        UsageError: the targets name no recipe and no environment.
    """
    from agentr_lite.runs.creation import checked_target, not_a_recipe

    checked = checked_target(targets, chosen, path, work="loop")
    return checked or not_a_recipe(path, " ".join(targets))


def _has_begun(store: Store, run_id: str, error: AgentrError) -> bool:
    """Whether there is something to go on with."""
    from agentr_lite.store.runs import list_stages

    # A database that fails is not asked again; it failed in the middle of the work.
    return isinstance(error, StoreError) or bool(list_stages(store, run_id))


def _run_loop(store: Store, target: Target, where: WorkerChoice) -> PipelineResult:
    from agentr_lite.runs.pipeline import run_pipeline
    from agentr_lite.scale.executor import opened_executor

    say(f"run {target.run.id} · database {store.path}")
    with opened_executor(where) as executor, Progress() as progress:
        return run_pipeline(
            store,
            target.run.id,
            target.recipe,
            progress=progress,
            on_stage=lambda *stage: _narrate(store, target, *stage),
            executor=executor,
        )


def _narrate(
    store: Store, target: Target, number: int, stage: str, summary: Mapping[str, Any]
) -> None:
    """A line on what an evaluation gave, and on a training that had no data."""
    from agentr_lite.metrics.evaluation import EvalFigures
    from agentr_lite.metrics.learning import round_diagnosis
    from agentr_lite.report.model.run import EvalLine
    from agentr_lite.report.tables.verdict import round_verdict
    from agentr_lite.store.splices import list_adapters

    if stage == "eval" and (greedy := summary.get("greedy")):
        figures, split = EvalFigures.from_json(greedy), target.recipe.eval.split
        line = EvalLine(number, "greedy", split, figures, imitates=target.recipe.imitates)
        say(Styled(round_verdict(line), bold=True))
    elif stage == "train" and "skipped" in summary:
        # Without any adapter the run stops here, with an error that says the same.
        diagnosis = round_diagnosis(store, target.run.id, number)
        kept = [row.round for row in list_adapters(store, target.run.id) if row.round < number]
        if diagnosis is not None and kept:
            warn(
                f"round {number}: nothing to train on: {diagnosis.finding}",
                hint=f"The adapter of {round_name(max(kept), imitates=True)} stays in use.",
            )


def _show(store: Store, run_id: str, as_json: bool, verbose: bool, place: str) -> None:
    from agentr_lite.report import render_run
    from agentr_lite.report.model.run import gather
    from agentr_lite.report.tables.verdict import run_verdict

    if as_json:
        emit(render_run(store, run_id, "json"))
        return
    if verbose:
        emit(render_run(store, run_id, "terminal", width=terminal_width()) + "\n")
    verdict = run_verdict(gather(store, run_id))
    emit_lines([verdict])
    place = f" {place}" if place else ""
    say(f"database: {store.path}")
    say(f"next: agentr-lite tui {run_id}{place} · agentr-lite report {run_id}{place}")
