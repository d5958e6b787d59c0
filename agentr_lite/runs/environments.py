"""The environments of a run, opened, each with the recipe that holds for it.

A single environment draws from the run's own seed. Several draw from a stream of random numbers
each, so that what a round gives in one of them does not depend on which others there are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from agentr_lite.core.errors import UsageError
from agentr_lite.core.seeds import stream_seed
from agentr_lite.envs import registry
from agentr_lite.envs.base import Environment
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.closing import closed_at_end


@dataclass(frozen=True, slots=True)
class RunEnvironment:
    """One environment of a run."""

    env: Environment
    recipe: Recipe
    """For this environment alone: its settings, its share of the tasks, its seed."""

    @property
    def name(self) -> str:
        """What the environment calls itself; the store's tasks carry this name."""
        return self.env.name


def is_for_several(recipe: Recipe) -> bool:
    """Whether a run of ``recipe`` keeps figures for each environment and a seed for each."""
    return len(recipe.env) > 1


@contextmanager
def open_environments(recipe: Recipe) -> Generator[list[RunEnvironment]]:
    """A recipe's environments in the order of their names, closed at the end of the block.

    Raises:
        UsageError: no such environment, an option that it does not have, or two environments that
            call themselves the same.
        EnvironmentFault: an environment cannot be made.
    """
    with ExitStack() as stack:
        opened: dict[str, RunEnvironment] = {}
        for recipe_of_env in recipe.by_environment():
            settings = recipe_of_env.environment
            name = settings.name
            env = stack.enter_context(closed_at_end(registry.make_env(name, settings.options)))
            twin = next((key for key, other in opened.items() if other.name == env.name), None)
            if twin is not None:
                raise UsageError(
                    f"'{twin}' and '{name}' both call themselves '{env.name}'",
                    hint="Their tasks could not be told apart; give each its own run.",
                )
            opened[name] = run_environment(recipe, recipe_of_env, env)
        yield list(opened.values())


def run_environment(recipe: Recipe, recipe_of_env: Recipe, env: Environment) -> RunEnvironment:
    """An open environment with the seed that it has in a run.

    Args:
        recipe: the run's.
        recipe_of_env: the same for this environment alone.
        env: the environment.
    """
    if is_for_several(recipe):
        seed = stream_seed(recipe.seed, "environment", env.name)
        recipe_of_env = dataclasses.replace(recipe_of_env, seed=seed)
    return RunEnvironment(env, recipe_of_env)


def by_name(environments: Iterable[RunEnvironment]) -> dict[str, RunEnvironment]:
    """Environments by what they call themselves."""
    return {environment.name: environment for environment in environments}
