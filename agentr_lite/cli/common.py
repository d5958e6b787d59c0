"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

F = TypeVar("F", bound=Callable[..., Any])


def db_option(function: F) -> F:
    """``-d/--db``: the run database."""
    return click.option(
        "-d",
        "--db",
        # What the path is, is for the store to say: one exit code for every unusable database.
        type=click.Path(path_type=Path),
        metavar="FILE",
        default=None,
        envvar="AGENTR_LITE_DB",
        help="Run database.  [default: runs.db in AGENTR_LITE_HOME or the XDG data directory]",
    )(function)


def json_option(function: F) -> F:
    """``--json``: data as JSON on stdout, errors as JSON too."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def recipe_options(function: F) -> F:
    """``--recipe``, ``--set``, ``--model``, ``--seed``: everything that changes a result."""
    for option in (
        click.option("--seed", type=int, default=None, help="Shorthand for --set seed=N."),
        click.option("--model", default=None, help="Shorthand for --set model=PATH (a GGUF)."),
        click.option(
            "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a recipe key."
        ),
        click.option(
            "--recipe", default=None, help="Bundled recipe or YAML file.  [default: as ENV]"
        ),
    ):
        function = option(function)
    return function


def result_overrides(
    overrides: Sequence[str], model: str | None, seed: int | None
) -> tuple[str, ...]:
    """``--set``, ``--model`` and ``--seed`` as one list of ``key=value``."""
    import json

    found = list(overrides)
    # Quoted: YAML would cut a path at " #" and take "12" for a number.
    found += [f"model={json.dumps(model, ensure_ascii=False)}"] if model is not None else []
    found += [f"seed={seed}"] if seed is not None else []
    return tuple(found)


def database_path(db: Path | None) -> Path:
    """The database that a flag, the environment or the default names."""
    from agentr_lite.config import default_database

    return db if db is not None else default_database()
