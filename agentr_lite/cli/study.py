"""``agentr-lite study``: runs, resumes and writes up environments x methods x seeds."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentr_lite.cli.common import json_option
from agentr_lite.cli.completion import complete_models, complete_studies
from agentr_lite.cli.study_status import check_cells, show_plan, show_status, stored_status
from agentr_lite.cli.workers import shard_option, worker_options
from agentr_lite.console.streams import emit, emit_json, say, terminal_width, warn
from agentr_lite.core.errors import (
    EXIT_FAILED,
    EXIT_SOME_TASKS_FAILED,
    AgentrError,
    Interrupted,
    StoreError,
    UsageError,
)
from agentr_lite.runs.shards import Shard
from agentr_lite.scale.choice import WorkerChoice

if TYPE_CHECKING:
    from agentr_lite.store import Store
    from agentr_lite.study.jobs.cell_job import CellJob
    from agentr_lite.study.jobs.cells import Cell
    from agentr_lite.study.jobs.outcome import StudyOutcome
    from agentr_lite.study.recipe import StudyRecipe
    from agentr_lite.study.writeup.document import Document
    from agentr_lite.study.writeup.writer import Writer

DEFAULT_STUDY = "study-small"


@dataclass(frozen=True, slots=True)
class _Request:
    """The arguments of the command, from which it can be repeated."""

    name: str
    overrides: tuple[str, ...]
    quick: bool
    only: tuple[str, ...]
    jobs: int
    db: Path | None
    out: Path | None
    where: WorkerChoice
    shard: Shard | None

    def words(self, *, whole: bool = True) -> list[str]:
        """The words of the command; ``whole=False``: only those that define the study."""
        words = ["study", self.name]
        words += [word for override in self.overrides for word in ("--set", override)]
        words += ["--quick"] if self.quick else []
        if whole:
            words += [word for cell in self.only for word in ("--only", cell)]
            words += ["--jobs", str(self.jobs)] if self.jobs > 1 else []
            words += self.where.words()
            words += ["--shard", str(self.shard)] if self.shard is not None else []
            words += ["--db", str(self.db)] if self.db is not None else []
            words += ["--out", str(self.out)] if self.out is not None else []
        return words

    def job(self, path: Path) -> CellJob:
        """The study and its database, for processes that run single cells."""
        from agentr_lite.study.jobs.cell_job import CellJob

        return CellJob(
            self.name,
            self.overrides,
            self.quick,
            cell="",
            db=str(path.absolute()),
            mark=self.shard.mark if self.shard is not None else "",
        )

    @property
    def resume_command(self) -> str:
        """The command that continues the study."""
        return shlex.join(["agentr-lite", *self.words()])


@click.command()
@click.argument("name", metavar="[STUDY]", default=DEFAULT_STUDY, shell_complete=complete_studies)
@click.option("--quick", is_flag=True, help="A short form of the study, with coarse figures.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a study key."
)
@click.option(
    "--model",
    default=None,
    help="Shorthand for --set set.model=...",
    shell_complete=complete_models,
)
@click.option(
    "--only",
    multiple=True,
    metavar="ENV/METHOD/SEED",
    help="Run only these cells; a part may be left out or be *.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Run up to N cells in parallel, each in its own process.",
)
@shard_option("Run only the K-th of N shares of the cells, for machines that share nothing.")
@worker_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR|FILE.md",
    help="Where the tables and plots are written.  [default: beside the database]",
)
@click.option(
    "--plan",
    "plan_only",
    is_flag=True,
    help="Print the study, every key, check all that it needs, and stop.",
)
@click.option(
    "--no-probe",
    is_flag=True,
    help="With --plan: do not load the model to estimate how long the study takes.",
)
@click.option("--status", "status_only", is_flag=True, help="Print which cells are finished.")
@click.option("--no-run", is_flag=True, help="Write the tables of what is stored; run nothing.")
@click.option(
    "--from-outcomes",
    "outcomes",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Write the tables of a study's outcomes; needs no database and no model. May be repeated.",
)
@click.option(
    "-d",
    "--db",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    default=None,
    envvar="AGENTR_LITE_DB",
    help="Run database.  [default: named after the study, beside runs.db]",
)
@json_option
@click.pass_context
def study(
    context: click.Context,
    name: str,
    quick: bool,
    overrides: tuple[str, ...],
    model: str | None,
    only: tuple[str, ...],
    jobs: int,
    shard: Shard | None,
    where: WorkerChoice,
    out: Path | None,
    plan_only: bool,
    no_probe: bool,
    status_only: bool,
    no_run: bool,
    outcomes: tuple[Path, ...],
    db: Path | None,
    as_json: bool,
) -> None:
    """Compare methods over environments and seeds, at an equal budget.

    STUDY is a bundled study or a YAML file. Cells that are finished in the database are not run
    again, and interrupted cells are resumed: after Ctrl-C or a power cut, give the same command
    again. The tables are written after each cell; at the end they are printed on stdout, all
    narration on stderr.

    --plan makes the checks that a study makes before it begins, prints them below the study's keys,
    and exits with the code of the study. If nothing is refused, it then loads the model, lets it
    play for up to ten seconds in each environment, and estimates how long the cells will take.

    A study also writes the outcomes of all its episodes, as one compressed table beside its plots.
    --from-outcomes makes the page, the plots and the tables on stdout from such a file alone. If
    several machines have run parts of a study, give --from-outcomes once for each file.
    """
    from agentr_lite.study.jobs.cells import study_cells
    from agentr_lite.study.recipe import load_study

    if outcomes:
        _refuse_others(context)
        _write_from_outcomes(outcomes, out, as_json)
        return
    if plan_only + status_only + no_run > 1:
        raise UsageError("--plan, --status and --no-run exclude each other")
    if no_probe and not plan_only:
        raise UsageError("--no-probe goes with --plan", hint="A study measures nothing beforehand.")
    if model is not None:
        overrides = (*overrides, f"set.model={json.dumps(model, ensure_ascii=False)}")
    if jobs > 1 and not where.is_here:
        raise UsageError(
            "--jobs and --executor exclude each other",
            hint="With workers, the cells come one after the other, and their waves are shared.",
        )
    request = _Request(name, overrides, quick, only, jobs, db, out, where, shard)
    recipe = load_study(name, overrides, quick=quick)
    cells = study_cells(recipe, only)
    if shard is not None:
        # Runs of one environment and seed reuse each other's stages.
        cells = shard.share(cells, lambda cell: (cell.env, cell.seed))
        if not cells:
            raise UsageError(
                f"shard {shard} of study {recipe.name} has no cells",
                hint="There are as many shares as pairs of an environment and a seed.",
            )
    path = _database(db, recipe)
    if plan_only:
        context.exit(show_plan(recipe, path, cells, jobs, probes=not no_probe, as_json=as_json))
    if status_only:
        show_status(path, recipe, cells, jobs, as_json)
        return
    code = _write_study(request, recipe, cells, path, no_run=no_run, as_json=as_json)
    if code:
        context.exit(code)


_WITH_OUTCOMES = ("outcomes", "out", "as_json")
"""The parameters that go with ``--from-outcomes``."""


def _refuse_others(context: click.Context) -> None:
    """Refuse what says something about a study whose file of outcomes says it already.

    Raises:
        UsageError: such an argument or option was given.
    """
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name not in _WITH_OUTCOMES and source is click.core.ParameterSource.COMMANDLINE:
            given = "STUDY" if name == "name" else parameter.opts[0]
            raise UsageError(
                f"--from-outcomes and {given} exclude each other",
                hint="The file says which study it is of, and what was run.",
            )


def _write_from_outcomes(outcomes: Sequence[Path], out: Path | None, as_json: bool) -> None:
    from agentr_lite.core.errors import from_os_error
    from agentr_lite.study.writeup.pages import write_from_outcomes

    try:
        document, written = write_from_outcomes(outcomes, out)
    except OSError as error:
        raise from_os_error(error) from error
    _show_document(document, written, as_json)


def _show_document(document: Document, written: Sequence[Path], as_json: bool) -> None:
    if as_json:
        emit_json(document.as_json())
    else:
        emit(document.terminal(width=terminal_width()))
    for path in written:
        say(f"wrote {path}")


def _database(db: Path | None, recipe: StudyRecipe) -> Path:
    """The database of the study; the default is named after it."""
    from agentr_lite.core.config import default_database

    if db is not None:
        return db
    return default_database().with_name(f"{recipe.name.removesuffix('-quick')}.db")


def _write_study(
    request: _Request,
    recipe: StudyRecipe,
    cells: Sequence[Cell],
    path: Path,
    *,
    no_run: bool,
    as_json: bool,
) -> int:
    from agentr_lite.runs.refused import opened_for_work
    from agentr_lite.store import Store
    from agentr_lite.study.jobs.cells import study_cells
    from agentr_lite.study.jobs.status import study_status
    from agentr_lite.study.writeup.writer import Writer

    if not no_run:
        check_cells(path, stored_status(path, recipe, cells)).permit()
    with Store.open_to_read(path) if no_run else opened_for_work(path) as store:
        target = request.out or path.parent / recipe.name
        command = shlex.join(["agentr-lite", *request.words(whole=False)])
        writer = Writer(store, recipe, target, command=command)
        outcome: StudyOutcome | None = None
        if not no_run:
            outcome = _run(request, recipe, cells, store, writer)
        document = writer.write()
        if document is None:
            if outcome is not None and outcome.failed:
                raise _failure(outcome, request)
            if outcome is not None and outcome.owed:
                cell, reason = next(iter(outcome.owed.items()))
                raise UsageError(f"{cell} {reason}", hint="Name that with --only as well.")
            raise UsageError(
                f"{path} holds nothing of study {recipe.name} yet", hint="Leave out --no-run."
            )
        status = study_status(store, study_cells(recipe), shown=cells)
    _show_document(document, writer.written, as_json)
    say(status.summary(request.jobs))
    return _exit_code(outcome, request)


def _exit_code(outcome: StudyOutcome | None, request: _Request) -> int:
    if outcome is None:
        return 0
    for name, reason in outcome.owed.items():
        warn(f"{name} was left out: {reason}")
    if outcome.failed:
        error = _failure(outcome, request)
        warn(error.message, hint=error.hint)
        return EXIT_FAILED
    if outcome.some_tasks_failed:
        warn("some tasks failed", hint="`agentr-lite trees RUN` and `report RUN` give the reasons.")
        return EXIT_SOME_TASKS_FAILED
    return 0


def _failure(outcome: StudyOutcome, request: _Request) -> AgentrError:
    first, reason = next(iter(outcome.failed.items()))
    more = f" and {len(outcome.failed) - 1} more" if len(outcome.failed) > 1 else ""
    return AgentrError(
        f"{first}{more} failed: {reason}",
        hint=f"Fix this, then go on with: {request.resume_command}",
    )


def _run(
    request: _Request, recipe: StudyRecipe, cells: Sequence[Cell], store: Store, writer: Writer
) -> StudyOutcome:
    """Run the cells; errors name the command that continues."""
    from agentr_lite.scale.executor import opened_executor
    from agentr_lite.study.run import run_study

    try:
        with opened_executor(request.where) as executor:
            return run_study(
                store,
                recipe,
                cells,
                writer,
                job=request.job(store.path),
                processes=request.jobs,
                executor=executor,
            )
    except KeyboardInterrupt:
        raise Interrupted(
            f"study {recipe.name} interrupted; what was finished is kept",
            hint=f"Go on with: {request.resume_command}",
        ) from None
    except StoreError as error:
        error.hint = f"{error.hint} Then go on with: {request.resume_command}".strip()
        raise
