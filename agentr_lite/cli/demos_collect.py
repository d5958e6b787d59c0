"""``agentr-lite demos make`` and ``demos import``: where demonstrations come from."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentr_lite.cli.common import (
    db_option,
    group_database,
    json_option,
    result_overrides,
    set_option,
)
from agentr_lite.cli.completion import complete_models, complete_new
from agentr_lite.cli.env_options import env_settings
from agentr_lite.core.errors import AgentrError, UsageError
from agentr_lite.runs.choice import Chosen

if TYPE_CHECKING:
    from agentr_lite.imitate.collect import Own
    from agentr_lite.imitate.importing import Refusal
    from agentr_lite.recipe.settings import Recipe
    from agentr_lite.runs.demonstrations import Made
    from agentr_lite.runs.environments import RunEnvironment

_MOST_REASONS = 20
"""Tasks of which a table says why they gave no demonstration."""

_ALPHA = click.option(
    "--alpha",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="Lowest reward of a demonstration.",
)


@click.command("make")
@click.argument("env", metavar="ENV|RECIPE", shell_complete=complete_new)
@click.option("--tasks", type=click.IntRange(0), default=0, help="Tasks to show.  [default: all]")
@click.option(
    "--source",
    type=click.Choice(["solve", "expert"]),
    help="The actions of the environment's oracle, or its expert, who says why.  [default: expert"
    " if there is one]",
)
@click.option(
    "--model",
    help="Another model plays instead, and its successes are kept: a GGUF, a name, mlx:DIRECTORY,"
    " openai:URL#MODEL.",
    shell_complete=complete_models,
)
@click.option(
    "--attempts",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="With --model: the most episodes of a task; the first is greedy, the others are sampled.",
)
@_ALPHA
@set_option("Override a recipe key.")
@click.option("--seed", type=int, help="Shorthand for --set seed=N; it chooses the tasks.")
@env_settings
@db_option
@json_option
@click.pass_context
def make_demos(
    context: click.Context,
    env: str,
    tasks: int,
    source: Own | None,
    model: str | None,
    attempts: int,
    alpha: float,
    overrides: tuple[str, ...],
    seed: int | None,
    settings: dict[str, Any],
    db: Path | None,
    as_json: bool,
) -> None:
    """Make demonstrations of training tasks.

    They are the environment's own, or the successes of another model with --model. Tasks that have
    one of the same source already are left out, so that an interrupted command can be repeated.
    """
    from agentr_lite.console.progress import Progress
    from agentr_lite.runs.demonstrations import (
        chosen_tasks,
        make_own,
        make_with_model,
        own_source,
    )
    from agentr_lite.runs.environments import open_environments
    from agentr_lite.runs.refused import opened_for_work

    if model is not None and source is not None:
        raise UsageError("--source is for the environment's own demonstrations, not for --model")
    recipe = _recipe(env, result_overrides(overrides, model, seed, settings))
    made: list[Made] = []
    with (
        open_environments(recipe) as environments,
        opened_for_work(group_database(context, db)) as store,
        Progress() as progress,
        _model(recipe, wanted=model is not None) as actor,
    ):
        for environment in environments:
            chosen = chosen_tasks(environment, tasks)
            progress.start(f"demonstrations of {environment.name}", len(chosen))
            if actor is not None:
                entry = make_with_model(
                    store,
                    environment,
                    actor,
                    chosen,
                    alpha=alpha,
                    attempts=attempts,
                    on_task=progress.advance,
                )
            else:
                entry = make_own(
                    store,
                    environment,
                    chosen,
                    source=source or own_source(environment),
                    alpha=alpha,
                    on_task=progress.advance,
                )
            progress.finish(f"{entry.added} new")
            made.append(entry)
    _report_made(made, as_json)


@contextmanager
def _model(recipe: Recipe, *, wanted: bool) -> Generator[Any]:
    if not wanted:
        yield None
        return
    from agentr_lite.runs.actors import open_actor

    with closing(open_actor(recipe)) as actor:
        yield actor


def _report_made(made: Sequence[Made], as_json: bool) -> None:
    from agentr_lite.console.streams import emit_json, emit_table

    if as_json:
        emit_json(made)
    else:
        emit_table(
            ["environment", "source", "tasks", "new", "there before", "not kept"],
            [[m.env, m.source, m.tasks, m.added, m.present, len(m.refused)] for m in made],
        )
        _show_reasons([(name, why) for entry in made for name, why in entry.refused.items()])
    if not any(entry.added or entry.present for entry in made):
        raise AgentrError(
            "no task gave a demonstration",
            hint="`agentr-lite demos import` and `agentr-lite play ENV --record` are other ways.",
        )


def _show_reasons(reasons: Sequence[tuple[str, str]]) -> None:
    """The first reasons; there may be hundreds."""
    from agentr_lite.console.streams import say

    for name, why in reasons[:_MOST_REASONS]:
        say(f"not kept: {name}: {why}")
    if len(reasons) > _MOST_REASONS:
        say(f"… {len(reasons) - _MOST_REASONS} more; --json has all of them")


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--env",
    metavar="ENV|RECIPE",
    required=True,
    help="Where they are replayed.",
    shell_complete=complete_new,
)
@click.option("--name", help="Name of the source import:NAME.  [default: the file's]")
@_ALPHA
@env_settings
@db_option
@json_option
@click.pass_context
def import_demos(
    context: click.Context,
    file: Path,
    env: str,
    name: str | None,
    alpha: float,
    settings: dict[str, Any],
    db: Path | None,
    as_json: bool,
) -> None:
    """Import conversations from FILE: what they earn is tried anew.

    FILE holds OpenAI messages or ShareGPT conversations (JSONL or a JSON list), AgentGym's
    AgentTraj, or an export of this program. Each conversation is replayed in the environment; those
    that earn the reward are kept with the environment's own answers. The table says of each other
    conversation why it was not kept.
    """
    from agentr_lite.console.progress import Progress
    from agentr_lite.console.streams import emit_json, emit_table, say
    from agentr_lite.imitate.conversations import read_conversations
    from agentr_lite.imitate.importing import import_conversations
    from agentr_lite.store import Store
    from agentr_lite.store.demonstrations import add_demonstrations

    conversations = read_conversations(file)
    with _environment(env, settings) as environment, Progress() as progress:
        progress.start(f"replaying {file.name}", len(conversations))
        imported = import_conversations(
            environment.env,
            conversations,
            source=f"import:{name or file.name}",
            alpha=alpha,
            on_conversation=progress.advance,
        )
        progress.finish()
    kept, added = len(imported.demonstrations), 0
    if kept:
        with Store.open(group_database(context, db)) as store:
            added = add_demonstrations(store, environment.name, imported.demonstrations)
    counts = {"conversations": len(conversations), "kept": kept, "new": added}
    if as_json:
        emit_json({"env": environment.name, **counts, "refused": imported.refusals})
    else:
        if imported.refusals:
            emit_table(
                ["where", "task", "not kept because"],
                [_refusal(refusal) for refusal in imported.refusals],
            )
        before = f"; {kept - added} of them were there before" if kept > added else ""
        say(f"{kept} of {len(conversations)} conversations are kept{before}.")
    if not kept:
        raise AgentrError(f"no conversation of {file} is a demonstration of {environment.name}")


def _refusal(refusal: Refusal) -> list[str]:
    return [refusal.place, refusal.task, refusal.reason]


def _recipe(target: str, overrides: tuple[str, ...]) -> Recipe:
    """The recipe of an environment: its options and the way of playing are those of a run."""
    from agentr_lite.runs.targets import recipe_for, unknown_target

    recipe = recipe_for((target,), Chosen(None, overrides))
    return unknown_target(target) if recipe is None else recipe


@contextmanager
def _environment(target: str, settings: dict[str, Any]) -> Generator[RunEnvironment]:
    from agentr_lite.runs.environments import open_environments

    recipe = _recipe(target, result_overrides((), None, None, settings))
    if len(recipe.env) > 1:
        raise UsageError(f"{target} has several environments", hint="Name one of them.")
    with open_environments(recipe) as environments:
        yield environments[0]
