"""The loop and its stages as functions; they do what the commands of the same name do.

They narrate on stderr, as the commands do, with a progress bar in terminals and notebooks. Errors
are the exceptions of ``agentr_lite.core.errors``: ``error.hint`` says what to do.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentr_lite.api.results import RunResult, SearchResult, run_result, trees_of
from agentr_lite.console.progress import Progress, silent_progress
from agentr_lite.core.config import default_database
from agentr_lite.core.errors import UsageError
from agentr_lite.runs.choice import Chosen
from agentr_lite.runs.claim import claimed
from agentr_lite.runs.creation import (
    Target,
    begin_run,
    checked_target,
    not_a_recipe,
    resumed_run,
    target_run,
)
from agentr_lite.runs.refused import opened_for_work, removed_if_refused
from agentr_lite.store import Store


def run(
    target: str = "textcraft",
    *,
    recipe: str | None = None,
    model: str | Path | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    env_options: Mapping[str, Any] | None = None,
    db: str | Path | None = None,
    progress: bool = True,
) -> RunResult:
    """The whole loop: evaluate the base, then search, splice, train and evaluate, round by round.

    Args:
        target: an environment, a bundled recipe, or the path of a recipe or of an environment.
        recipe: a recipe to take the settings from. Default: the one of ``target``.
        model: ``starter``, a name, a GGUF file, ``mlx:DIRECTORY``. Default: the recipe's.
        seed: of everything that is drawn. Default: the recipe's.
        settings: recipe keys with full names, e.g. ``{"search.tasks": 20, "rounds": 1}``.
        env_options: options of the environment.
        db: the database; it is made if it is missing. Default: that of the commands.
        progress: whether to narrate; False prints nothing of the stages.

    Returns:
        The finished run.

    Raises:
        AgentrError: what the command would end with. What was finished is kept; ``resume`` goes on.
    """
    from agentr_lite.runs.pipeline import run_pipeline

    path = _database(db)
    chosen = _chosen(recipe, model, seed, settings, env_options)
    checked = checked_target((target,), chosen, path, work="loop")
    checked = checked or not_a_recipe(path, target)
    checked.permitted()
    with opened_for_work(path) as store:
        begun = begin_run(store, checked.recipe)
        with (
            claimed(store, begun.run.id),
            removed_if_refused(store, begun.run.id),
            _progress(progress) as bar,
        ):
            run_pipeline(store, begun.run.id, begun.recipe, progress=bar)
        return _result(store, begun.run.id)


def resume(
    run: str = "latest", *, db: str | Path | None = None, progress: bool = True
) -> RunResult:
    """Go on with a run that was interrupted; a finished one is only read.

    Args:
        run: its id, a unique beginning of it, its name, or ``latest``.
        db: see ``run``.
        progress: see ``run``.

    Raises:
        AgentrError: see ``run``.
    """
    from agentr_lite.runs.pipeline import run_pipeline

    with Store.open(_database(db), create=False) as store:
        target = resumed_run(store, run)
        with claimed(store, target.run.id), _progress(progress) as bar:
            run_pipeline(store, target.run.id, target.recipe, progress=bar)
        return _result(store, target.run.id)


def search(
    target: str,
    *,
    round: int | None = None,
    recipe: str | None = None,
    model: str | Path | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    env_options: Mapping[str, Any] | None = None,
    db: str | Path | None = None,
) -> SearchResult:
    """Grow the search trees of one round.

    Args:
        target: see ``run``; or an existing run, whose next round is searched.
        round: the round. Default: the next one.
        recipe: see ``run``, as are the others.
        model: see ``run``.
        seed: see ``run``.
        settings: see ``run``.
        env_options: see ``run``.
        db: see ``run``.

    Raises:
        AgentrError: see ``run``.
    """
    from agentr_lite.runs.rounds import round_to_search
    from agentr_lite.runs.single_stage import search_round

    chosen = _chosen(recipe, model, seed, settings, env_options)
    with _target(target, chosen, _database(db), work="search") as (store, begun):
        run_id = begun.run.id
        number = round_to_search(store, run_id, round)
        search_round(store, begun, number, redo=False)
        trees = trees_of(store, run_id, number)
        return SearchResult(
            run_id,
            number,
            store.path,
            trees,
            sum(tree.best_reward >= 1 for tree in trees),
            sum(tree.nodes for tree in trees),
        )


def evaluate(
    target: str,
    *,
    round: int | None = None,
    recipe: str | None = None,
    model: str | Path | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    env_options: Mapping[str, Any] | None = None,
    db: str | Path | None = None,
) -> RunResult:
    """Let the model of one round play the held-out tasks.

    Args:
        target: see ``run``: a new run with the untrained model; or an existing run.
        round: the round of an existing run. Default: the last that was trained.
        recipe: see ``run``, as are the others.
        model: see ``run``.
        seed: see ``run``.
        settings: see ``run``; of an existing run, ``eval`` and ``agent`` keys.
        env_options: see ``run``.
        db: see ``run``.

    Returns:
        The run with all its evaluations.

    Raises:
        AgentrError: see ``run``.
    """
    from agentr_lite.runs.single_stage import evaluate_round

    chosen = _chosen(recipe, model, seed, settings, env_options)
    with _target(target, chosen, _database(db), work="eval") as (store, begun):
        evaluate_round(store, begun, round, paired=False, replace=False)
        return _result(store, begun.run.id)


def load_run(db: str | Path | None = None, run: str = "latest") -> RunResult:
    """Read a run; nothing is written.

    Args:
        db: see ``run``.
        run: its id, a unique beginning of it, its name, or ``latest``.

    Raises:
        UsageError: there is no such run.
        StoreError: there is no database, or it cannot be read.
    """
    with Store.open_to_read(_database(db)) as store:
        return _result(store, run)


@contextmanager
def _target(
    target: str, chosen: Chosen, path: Path, *, work: Any
) -> Generator[tuple[Store, Target]]:
    """A new run, or an existing one, held by this process."""
    checked = checked_target((target,), chosen, path, work=work)
    if checked is not None:
        checked.permitted()
    with opened_for_work(path, create=checked is not None) as store:
        changeable = ("eval.", "agent.") if work == "eval" else ()
        begun = target_run(store, (target,), checked, chosen.overrides, changeable=changeable)
        with (
            claimed(store, begun.run.id),
            removed_if_refused(store, begun.run.id, is_new=begun.is_new),
        ):
            yield store, begun


@contextmanager
def _progress(shown: bool) -> Generator[Progress]:
    with Progress() if shown else silent_progress() as bar:
        yield bar


def _result(store: Store, run_id: str) -> RunResult:
    from agentr_lite.report.model.run import gather

    return run_result(gather(store, run_id), store.path)


def _database(db: str | Path | None) -> Path:
    return default_database() if db is None else Path(db).expanduser()


def _chosen(
    recipe: str | None,
    model: str | Path | None,
    seed: int | None,
    settings: Mapping[str, Any] | None,
    env_options: Mapping[str, Any] | None,
) -> Chosen:
    """The settings as the command line would give them.

    Raises:
        UsageError: a value has no JSON form.
    """
    named: dict[str, Any] = dict(settings or {})
    named |= {} if model is None else {"model": str(model)}
    named |= {} if seed is None else {"seed": seed}
    named |= {f"env_options.{key}": value for key, value in (env_options or {}).items()}
    overrides = []
    for key, value in named.items():
        try:
            overrides.append(f"{key}={json.dumps(value, ensure_ascii=False)}")
        except (TypeError, ValueError) as error:
            raise UsageError(f"{key}: {error}") from error
    return Chosen(recipe, tuple(overrides))
