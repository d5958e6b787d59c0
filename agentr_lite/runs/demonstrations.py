"""Demonstrations of a recipe's environments: their own, or another model's successes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from agentr_lite.actors.base import Actor, Sampling
from agentr_lite.agent.boundary import guarded_instructions
from agentr_lite.agent.grammar import TurnGrammar
from agentr_lite.agent.turns import answer_format
from agentr_lite.core.errors import UsageError
from agentr_lite.core.openings import Example
from agentr_lite.core.seeds import stream_seed
from agentr_lite.core.tasks import Task
from agentr_lite.evaluate.episodes import Episode, Start, run_episodes
from agentr_lite.imitate.collect import (
    Own,
    has_expert,
    no_oracle,
    own_demonstration,
    verify_turns,
)
from agentr_lite.imitate.examples import choose_examples
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.environments import RunEnvironment
from agentr_lite.runs.stages.tasks import train_tasks
from agentr_lite.store import Store
from agentr_lite.store.demonstrations import add_demonstrations, list_demonstrations

_GROUP_BATCHES = 4
"""Batches of episodes that are played before what they gave is stored."""


@dataclass(slots=True)
class Made:
    """What ``make_own`` or ``make_with_model`` did for one environment."""

    env: str
    source: str
    tasks: int
    """Tasks that were to be demonstrated."""
    present: int = 0
    """Of these, tasks with a demonstration of this source from before."""
    added: int = 0
    """New demonstrations."""
    refused: dict[str, str] = field(default_factory=dict)
    """Task to the reason why it gave none."""


def model_source(model: str) -> str:
    """``model:NAME`` for a model of a recipe: a file's name, or what a server calls it."""
    name = PurePath(model.rpartition("#")[2] or model).name
    return f"model:{name or model}"


def chosen_tasks(environment: RunEnvironment, count: int) -> list[Task]:
    """Training tasks to demonstrate, in an order that the recipe's seed gives.

    Args:
        environment: whose tasks.
        count: how many; 0 = all.

    Raises:
        UsageError: there are none.
    """
    import numpy as np

    tasks = train_tasks(environment.env)
    seed = stream_seed(environment.recipe.seed, "demonstrations", "order")
    order = np.random.default_rng(seed).permutation(len(tasks))
    return [tasks[int(index)] for index in order[: count or len(tasks)]]


def own_source(environment: RunEnvironment) -> Own:
    """The better source of an environment: its expert, or else its oracle."""
    return "expert" if has_expert(environment.env) else "solve"


def make_own(
    store: Store,
    environment: RunEnvironment,
    tasks: Sequence[Task],
    *,
    source: Own,
    alpha: float,
    on_task: Callable[[], None],
) -> Made:
    """Store an environment's own demonstrations; each is stored as soon as it is made.

    Args:
        store: the database.
        environment: who demonstrates.
        tasks: training tasks; those that have a demonstration of this source are left out.
        source: its expert or its oracle.
        alpha: the lowest reward that counts.
        on_task: called after each task.

    Raises:
        UsageError: the environment has no oracle, or ``source`` is ``expert`` and it has none.
    """
    if source == "expert" and not has_expert(environment.env):
        raise UsageError(
            f"{environment.name} has no expert",
            hint="`--source solve` takes the actions of its oracle.",
        )
    made, missing = _stored(store, environment, tasks, source)
    for task in missing:
        verified = own_demonstration(environment.env, task, source=source, alpha=alpha)
        if verified.reason == no_oracle(environment.env):
            raise UsageError(
                verified.reason,
                hint="Give it `solve`; or use `demos make --model`, `demos import` or"
                " `play --record`.",
            )
        if verified.demonstration is None:
            made.refused[task.name] = verified.reason
        else:
            made.added += add_demonstrations(store, environment.name, [verified.demonstration])
        on_task()
    return made


def make_with_model(
    store: Store,
    environment: RunEnvironment,
    actor: Actor,
    tasks: Sequence[Task],
    *,
    alpha: float,
    attempts: int,
    on_task: Callable[[], None],
) -> Made:
    """Play training tasks with a model and store its successes.

    The first attempt is greedy. The others are drawn at the recipe's ``eval.temperature``, for the
    tasks that are not yet solved.

    Args:
        store: the database.
        environment: with the recipe that says how episodes are played.
        actor: the model.
        tasks: training tasks; those that have a demonstration of this model are left out.
        alpha: the lowest reward that counts.
        attempts: the most episodes of a task.
        on_task: called after each task of the last attempt, and for each that is solved earlier.
    """
    source = model_source(environment.recipe.model)
    examples: tuple[Example, ...] = ()
    if environment.recipe.agent.examples:
        chosen = choose_examples(
            store,
            environment.env,
            environment.recipe,
            save=lambda shown: add_demonstrations(store, environment.name, [shown]),
        )
        examples = tuple(example for _, example in chosen)
    # A model that is shown a solution does not solve the task.
    shown = {example.task for example in examples}
    others = [task for task in tasks if task.name not in shown]
    made, missing = _stored(store, environment, others, source)
    size = environment.recipe.eval.batch * _GROUP_BATCHES
    for start in range(0, len(missing), size):
        open_tasks = missing[start : start + size]
        for attempt in range(attempts):
            actor.reset_cache()
            unsolved: list[Task] = []
            for episode in _episodes(environment, actor, open_tasks, attempt, examples):
                verified = verify_turns(
                    environment.env,
                    episode.task,
                    [step.text for step in episode.steps],
                    source=source,
                    alpha=alpha,
                    choice=environment.recipe.agent.action,
                )
                if verified.demonstration is None:
                    unsolved.append(episode.task)
                    made.refused[episode.task.name] = episode.error or verified.reason
                    continue
                made.refused.pop(episode.task.name, None)
                made.added += add_demonstrations(store, environment.name, [verified.demonstration])
                on_task()
            open_tasks = unsolved
        for _ in open_tasks:
            on_task()
    return made


def _stored(
    store: Store, environment: RunEnvironment, tasks: Sequence[Task], source: str
) -> tuple[Made, list[Task]]:
    rows = list_demonstrations(store, environment.name, source)
    present = {row.task.name for row in rows if row.source == source}
    missing = [task for task in tasks if task.name not in present]
    made = Made(environment.name, source, len(tasks), present=len(tasks) - len(missing))
    return made, missing


def _episodes(
    environment: RunEnvironment,
    actor: Actor,
    tasks: Sequence[Task],
    attempt: int,
    examples: tuple[Example, ...],
) -> Iterator[Episode]:
    env, recipe = environment.env, environment.recipe
    if not tasks:
        return
    instructions = guarded_instructions(env, brief=recipe.agent.brief)
    yield from run_episodes(
        env,
        actor,
        [Start(task, _episode_seed(recipe, task, attempt), attempt) for task in tasks],
        instructions=instructions,
        examples=examples,
        form=answer_format(recipe.agent.action, env),
        max_steps=recipe.eval.max_steps,
        sampling=Sampling(
            temperature=recipe.eval.temperature if attempt else 0.0,
            max_tokens=recipe.agent.max_tokens,
        ),
        grammar=TurnGrammar(recipe.agent.grammar, env),
        batch=recipe.eval.batch,
    )


def _episode_seed(recipe: Recipe, task: Task, attempt: int) -> int:
    return stream_seed(recipe.seed, "demonstrations", task.name, attempt)
