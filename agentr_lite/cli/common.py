"""Options and outputs that several commands share."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from agentr_lite.cli.completion import (
    complete_keys,
    complete_models,
    complete_recipes,
    complete_targets,
)
from agentr_lite.cli.env_options import env_settings
from agentr_lite.core.errors import EnvironmentFault, UsageError
from agentr_lite.runs.choice import Chosen

if TYPE_CHECKING:
    from agentr_lite.core.tasks import Task
    from agentr_lite.envs.base import Environment
    from agentr_lite.scale.choice import WorkerChoice

F = TypeVar("F", bound=Callable[..., Any])


def db_option(function: F) -> F:
    """``-d/--db``: the run database."""
    return click.option(
        "-d",
        "--db",
        # The store checks the path, so that every unusable database has the same exit code.
        type=click.Path(path_type=Path, readable=False),
        metavar="FILE",
        default=None,
        envvar="AGENTR_LITE_DB",
        help="Run database.  [default: runs.db in AGENTR_LITE_HOME or the XDG data directory]",
    )(function)


def json_option(function: F) -> F:
    """``--json``: data as JSON on stdout, errors as JSON too."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def set_option(help_text: str, *, metavar: str = "KEY=VALUE") -> Callable[[F], F]:
    """``--set``, any number of times; the command gets ``overrides``."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar=metavar,
        help=help_text,
        shell_complete=complete_keys,
    )


def targets_argument(function: F) -> F:
    """The environments, the recipe or the run that a stage works on; at least one word."""
    return click.argument(
        "targets",
        metavar="ENV|RECIPE|RUN",
        nargs=-1,
        required=True,
        shell_complete=complete_targets,
    )(function)


def recipe_options(function: F) -> Callable[..., Any]:
    """The options that change a result: ``--recipe``, ``--set``, ``--model``, ``--seed``, ``-o``
    and the flags for an environment's data.

    The command gets them together, as ``chosen: Chosen``.
    """

    @functools.wraps(function)
    def command(
        *arguments: Any,
        recipe: str | None,
        overrides: tuple[str, ...],
        model: str | None,
        seed: int | None,
        settings: dict[str, Any],
        **named: Any,
    ) -> Any:
        chosen = Chosen(recipe, result_overrides(overrides, model, seed, settings))
        return function(*arguments, chosen=chosen, **named)

    wrapped: Callable[..., Any] = env_settings(command)
    for option in (
        click.option("--seed", type=int, default=None, help="Shorthand for --set seed=N."),
        click.option(
            "--model",
            default=None,
            help="Shorthand for --set model=...: a GGUF, a name, mlx:DIRECTORY, openai:URL#MODEL.",
            shell_complete=complete_models,
        ),
        set_option("Override a recipe key."),
        click.option(
            "--recipe",
            shell_complete=complete_recipes,
            default=None,
            help="Bundled recipe or YAML file.  [default: the recipe of ENV]",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


def result_overrides(
    overrides: Sequence[str],
    model: str | None,
    seed: int | None,
    settings: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """``--set`` and the flags that are short for it, as a list of ``key=value``.

    Args:
        overrides: ``--set``.
        model: ``--model``.
        seed: ``--seed``.
        settings: the environment's settings.
    """
    import json

    words = list(overrides)
    # Quoted: YAML would cut a path at " #" and take "12" for a number.
    words += [f"model={json.dumps(model, ensure_ascii=False)}"] if model is not None else []
    words += [f"seed={seed}"] if seed is not None else []
    words += [
        f"env_options.{key}={json.dumps(value, ensure_ascii=False, default=str)}"
        for key, value in (settings or {}).items()
    ]
    return tuple(words)


def database_path(db: Path | None) -> Path:
    """The database that the flag or the environment variable names, else the default."""
    from agentr_lite.core.config import default_database

    # A shell does not expand the ~ of `--db=~/runs.db`, nor that of a variable.
    return db.expanduser() if db is not None else default_database()


def db_from_command_line(context: click.Context) -> bool:
    """Whether ``-d`` was given to this command itself."""
    return context.get_parameter_source("db") is click.core.ParameterSource.COMMANDLINE


def group_database(context: click.Context, db: Path | None) -> Path:
    """The database of a sub-command: ``-d`` works before and after it.

    Both override the environment variable.

    Args:
        context: of the sub-command; its ``obj`` is the group's ``-d``, if that was given.
        db: of the sub-command.
    """
    if context.obj is not None and not db_from_command_line(context):
        return database_path(context.obj)
    return database_path(db)


def may_be_new(context: click.Context, path: Path) -> bool:
    """Whether a sub-command lists nothing, because nothing has run yet.

    That is so where the default database does not exist. A file that ``-d`` names is another
    matter: where it does not exist, reading it is the same error as in every other command.
    """
    from agentr_lite.store.files import database_exists

    named = context.obj is not None or db_from_command_line(context)
    return not named and not database_exists(path)


def command_line(
    verb: str,
    run_id: str,
    *,
    db: Path | None = None,
    round_index: int | None = None,
    overrides: Sequence[str] = (),
    where: WorkerChoice | None = None,
) -> str:
    """The command that goes on with an interrupted run.

    Args:
        verb: the command.
        run_id: the run.
        db: as it was given; None for the default.
        round_index: the round; None where the command chooses it.
        overrides: ``key=value`` that the run's recipe does not hold.
        where: who does the waves; None: this process.
    """
    words = ["agentr-lite", *verb.split(), run_id]
    words += ["-d", str(db)] if db is not None else []
    words += ["--round", str(round_index)] if round_index is not None else []
    for override in overrides:
        words += ["--set", override]
    words += where.words() if where is not None else []
    return shlex.join(words)


@contextmanager
def usage_errors_kept() -> Generator[None]:
    """Raise an environment's own ``UsageError`` as it was, with its hint and exit code.

    The fault boundary turns everything that an environment raises into a fault. Here a person has
    asked for a split, a task or a setting, and can correct that.
    """
    try:
        yield
    except EnvironmentFault as fault:
        if isinstance(fault.__cause__, UsageError):
            raise fault.__cause__ from None
        raise


def oracle_actions(env: Environment, task: Task | None = None) -> list[str] | None:
    """The oracle's actions for a task, or from the current state; None where there is no oracle.

    Raises:
        EnvironmentFault: the environment's code raised or took too long.
    """
    from agentr_lite.agent.boundary import guarded_actions

    return guarded_actions(env, task)
