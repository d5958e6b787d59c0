"""``agentr-lite study``: environments x methods x seeds, run, resumed and written up."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentr_lite.cli.common import json_option
from agentr_lite.console.streams import emit, emit_json, emit_table, say, terminal_width, warn
from agentr_lite.core.errors import (
    EXIT_FAILED,
    EXIT_SOME_TASKS_FAILED,
    AgentrError,
    Interrupted,
    StoreError,
    UsageError,
    from_os_error,
)
from agentr_lite.runs.claim import claimed, is_claimed

if TYPE_CHECKING:
    from agentr_lite.store import Store
    from agentr_lite.study.jobs.cells import Cell
    from agentr_lite.study.jobs.schedule import Outcome
    from agentr_lite.study.jobs.status import StudyStatus
    from agentr_lite.study.recipe import StudyRecipe

DEFAULT_STUDY = "study-small"
WORKER = (sys.executable, "-m", "agentr_lite.study.jobs.worker")
"""The command that runs one cell; its stdin names the cell."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """The command line, so that it can be repeated."""

    name: str
    overrides: tuple[str, ...]
    quick: bool
    only: tuple[str, ...]
    jobs: int
    db: Path | None
    out: Path | None

    def words(self, *, whole: bool = True) -> list[str]:
        """The words that define the study; ``whole``: also those that say what is run of it."""
        words = ["study", self.name]
        words += [word for override in self.overrides for word in ("--set", override)]
        words += ["--quick"] if self.quick else []
        if whole:
            words += [word for cell in self.only for word in ("--only", cell)]
            words += ["--jobs", str(self.jobs)] if self.jobs > 1 else []
            words += ["--db", str(self.db)] if self.db is not None else []
            words += ["--out", str(self.out)] if self.out is not None else []
        return words

    def order(self, cell: Cell, path: Path) -> str:
        """What the process that runs one cell reads; see ``study.jobs.worker``."""
        return json.dumps(
            {
                "study": self.name,
                "overrides": list(self.overrides),
                "quick": self.quick,
                "cell": cell.name,
                "db": str(path.absolute()),
            }
        )

    @property
    def again(self) -> str:
        """The command that goes on."""
        return shlex.join(["agentr-lite", *self.words()])


@click.command()
@click.argument("name", metavar="[STUDY]", default=DEFAULT_STUDY)
@click.option("--quick", is_flag=True, help="A short form of the study, with coarse figures.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a study key."
)
@click.option("--model", default=None, help="Shorthand for --set set.model=...")
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
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR|FILE.md",
    help="Where the tables and plots are written.  [default: beside the database]",
)
@click.option("--plan", "plan_only", is_flag=True, help="Print the study, every key, and stop.")
@click.option("--status", "status_only", is_flag=True, help="Print which cells are finished.")
@click.option("--no-run", is_flag=True, help="Write the tables of what is stored; run nothing.")
@click.option(
    "-d",
    "--db",
    type=click.Path(path_type=Path),
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
    out: Path | None,
    plan_only: bool,
    status_only: bool,
    no_run: bool,
    db: Path | None,
    as_json: bool,
) -> None:
    """Compare methods over environments and seeds, at an equal budget.

    STUDY is a bundled study or a YAML file. Cells that are finished in the database are not run
    again, and interrupted cells are resumed: after Ctrl-C or a power cut, give the same command
    again. The tables are written after each cell; at the end they are printed on stdout, all
    narration on stderr.
    """
    from agentr_lite.study.jobs.cells import study_cells
    from agentr_lite.study.recipe import load_study

    if plan_only + status_only + no_run > 1:
        raise UsageError("--plan, --status and --no-run exclude each other")
    if model is not None:
        overrides = (*overrides, f"set.model={json.dumps(model, ensure_ascii=False)}")
    asked = _Asked(name, overrides, quick, only, jobs, db, out)
    recipe = load_study(name, overrides, quick=quick)
    cells = study_cells(recipe, only)
    if plan_only:
        _show_plan(recipe, as_json)
        return
    path = _database(db, recipe)
    if status_only:
        _show_status(path, recipe, cells, jobs, as_json)
        return
    code = _study(asked, recipe, cells, path, no_run=no_run, as_json=as_json)
    if code:
        context.exit(code)


def _database(db: Path | None, recipe: StudyRecipe) -> Path:
    """The database; each study has its own unless one is named."""
    from agentr_lite.core.config import default_database

    if db is not None:
        return db
    return default_database().with_name(f"{recipe.name.removesuffix('-quick')}.db")


def _show_plan(recipe: StudyRecipe, as_json: bool) -> None:
    import dataclasses

    import yaml

    from agentr_lite.recipe.values import plain

    data = plain(dataclasses.asdict(recipe))
    if as_json:
        emit_json(data)
    else:
        emit(yaml.safe_dump(data, sort_keys=False, allow_unicode=True).rstrip("\n"))


def _show_status(
    path: Path, recipe: StudyRecipe, cells: Sequence[Cell], jobs: int, as_json: bool
) -> None:
    from agentr_lite.study.jobs.status import status_json, status_rows

    if path.exists():
        from agentr_lite.store import Store

        with Store.open_to_read(path) as store:
            status = _status(store, recipe, cells)
    else:
        status = _status(None, recipe, cells)
    if as_json:
        emit_json(status_json(status, jobs))
        return
    emit_table(
        ["cell", "by seed", "spent", "to go", "note"],
        status_rows(status),
        align=["left", "left", "right", "right", "left"],
        keep=["cell"],
    )
    say(status.summary(jobs))


def _status(store: Store | None, recipe: StudyRecipe, cells: Sequence[Cell]) -> StudyStatus:
    """How far some cells of a study are."""
    from agentr_lite.study.jobs.cells import study_cells
    from agentr_lite.study.jobs.status import study_status

    return study_status(store, study_cells(recipe), is_held=is_claimed, shown=cells)


def _study(
    asked: _Asked,
    recipe: StudyRecipe,
    cells: Sequence[Cell],
    path: Path,
    *,
    no_run: bool,
    as_json: bool,
) -> int:
    from agentr_lite.store import Store
    from agentr_lite.study.writeup.write import Writer

    with Store.open(path, create=not no_run) as store:
        target = asked.out or path.parent / recipe.name
        command = shlex.join(["agentr-lite", *asked.words(whole=False)])
        writer = Writer(store, recipe, target, command=command)
        outcome: Outcome | None = None
        if not no_run:
            outcome = _run(asked, recipe, cells, store, writer)
        document = writer.write()
        if document is None:
            if outcome is not None and outcome.failed:
                raise _failure(outcome, asked)
            if outcome is not None and outcome.owed:
                cell, why = next(iter(outcome.owed.items()))
                raise UsageError(f"{cell} {why}", hint="Name that with --only as well.")
            raise UsageError(
                f"{path} holds nothing of study {recipe.name} yet", hint="Leave out --no-run."
            )
        status = _status(store, recipe, cells)
    if as_json:
        emit_json(document.as_json())
    else:
        emit(document.terminal(width=terminal_width()))
    for written in writer.written:
        say(f"wrote {written}")
    say(status.summary(asked.jobs))
    return _exit_code(outcome, asked)


def _exit_code(outcome: Outcome | None, asked: _Asked) -> int:
    if outcome is None:
        return 0
    for name, why in outcome.owed.items():
        warn(f"{name} was left out: {why}")
    if outcome.failed:
        error = _failure(outcome, asked)
        warn(error.message, hint=error.hint)
        return EXIT_FAILED
    if outcome.some_tasks_failed:
        warn("some tasks failed", hint="`agentr-lite trees RUN` and `report RUN` say why.")
        return EXIT_SOME_TASKS_FAILED
    return 0


def _failure(outcome: Outcome, asked: _Asked) -> AgentrError:
    first = next(iter(outcome.failed.items()))
    more = f" and {len(outcome.failed) - 1} more" if len(outcome.failed) > 1 else ""
    return AgentrError(
        f"{first[0]}{more} failed: {first[1]}",
        hint=f"Once that is mended, go on with: {asked.again}",
    )


def _run(
    asked: _Asked, recipe: StudyRecipe, cells: Sequence[Cell], store: Store, writer: Any
) -> Outcome:
    """Run the cells, and write the tables after each."""
    from agentr_lite.core.config import artifacts_dir
    from agentr_lite.study.jobs.requirements import check_requirements
    from agentr_lite.study.jobs.schedule import Pool, work_here

    def wrote(cell: Cell) -> None:
        try:
            writer.write()
        except OSError as error:
            # The tables can be written later; hours of work must not end here.
            failure = from_os_error(error)
            warn(f"the tables could not be written: {failure.message}", hint=failure.hint)

    place = f"{recipe.name}.study"
    with claimed(store, place, f"study {recipe.name} in {store.path}"):
        status = _status(store, recipe, cells)
        say(f"study {recipe.name}: {status.summary(asked.jobs)} · database {store.path}")
        check_requirements([each.cell for each in status.cells if each.state != "done"])
        try:
            if asked.jobs == 1:
                return work_here(store, cells, on_cell=wrote)
            return Pool(
                store,
                cells,
                command=WORKER,
                order=lambda cell: asked.order(cell, store.path),
                logs=artifacts_dir(store.path, place) / "logs",
                jobs=asked.jobs,
                on_cell=wrote,
            ).run()
        except KeyboardInterrupt:
            raise Interrupted(
                f"study {recipe.name} interrupted; what was finished is kept",
                hint=f"Go on with: {asked.again}",
            ) from None
        except StoreError as error:
            error.hint = f"{error.hint} Then go on with: {asked.again}".strip()
            raise
