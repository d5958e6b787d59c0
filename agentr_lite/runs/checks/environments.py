"""Checks that a run's environments can be made, have tasks, and know the grammars asked for."""

from __future__ import annotations

from dataclasses import dataclass

from agentr_lite.agent.boundary import (
    guarded_instructions,
    guarded_reset,
    guarded_tasks,
    guarded_valid_actions,
)
from agentr_lite.agent.grammar import TurnGrammar, actions_grammar
from agentr_lite.core.errors import UsageError
from agentr_lite.evaluate.starts import eval_tasks
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.checks.checklist import Checklist
from agentr_lite.runs.environments import RunEnvironment, open_environments
from agentr_lite.runs.stages.tasks import train_tasks

SUBJECT = "environment"


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """How many tasks a run plays in one environment."""

    search: int | None
    """In each round, different ones as long as there are any; None: the run does not search."""
    eval: int | None
    """None: the run does not evaluate."""
    available: int | None
    """Training tasks of the environment; None: the run does not search."""


def check_environments(
    checks: Checklist, recipe: Recipe, *, searches: bool, evaluates: bool
) -> tuple[dict[str, TaskCounts], list[str]]:
    """Open each environment, list its tasks and ask for its instructions.

    Args:
        checks: for the findings.
        recipe: the run's.
        searches: whether training tasks are needed.
        evaluates: whether tasks of ``eval.split`` are needed.

    Returns:
        Numbers of tasks by the environment's name in the recipe, and the grammars of the turns;
        of the environments that are as they should be.
    """
    counts: dict[str, TaskCounts] = {}
    grammars: list[str] = []
    with checks.refusals(SUBJECT), open_environments(recipe) as environments:
        for each in environments:
            name = each.recipe.environment.name
            with checks.refusals(SUBJECT):
                guarded_instructions(each.env, brief=each.recipe.agent.brief)
                count = _count(each, searches=searches, evaluates=evaluates)
                counts[name] = count
                checks.passed(SUBJECT, f"{name}: {_words(count, each.recipe)}")
            with checks.refusals("grammar"):
                grammars.append(_grammar(each))
    return counts, [grammar for grammar in grammars if grammar]


def _grammar(environment: RunEnvironment) -> str:
    """The grammar of the turns, or that of the first turn of a task where each state has its own.

    Raises:
        UsageError: the environment has no grammar, or cannot list its actions.
        EnvironmentFault: the environment's code raised.
    """
    env, setting = environment.env, environment.recipe.agent.grammar
    grammar = TurnGrammar(setting, env)
    if not grammar.by_state:
        return grammar.text
    split = environment.recipe.eval.split
    tasks = guarded_tasks(env, "train") or guarded_tasks(env, split)
    if tasks:
        guarded_reset(env, tasks[0])
        actions = guarded_valid_actions(env)
        if actions is None:
            raise UsageError(
                f"environment '{env.name}' does not list its valid actions",
                hint="Give it `valid_actions`; or set agent.grammar to 'env', to a GBNF file, or to"
                " '' for none.",
            )
        return actions_grammar(actions)
    return ""


def _count(environment: RunEnvironment, *, searches: bool, evaluates: bool) -> TaskCounts:
    settings = environment.recipe.search
    available = len(train_tasks(environment.env)) if searches else None
    played = len(eval_tasks(environment.env, environment.recipe.eval)) if evaluates else None
    search = None if available is None else min(settings.tasks or available, available)
    return TaskCounts(search, played, available)


def _words(counts: TaskCounts, recipe: Recipe) -> str:
    parts = []
    if counts.available is not None:
        parts.append(f"{counts.available} training tasks")
    if counts.eval is not None:
        parts.append(f"{counts.eval} {recipe.eval.split} tasks to evaluate on")
    return ", ".join(parts)
