"""The environments of a run, opened, each with the recipe that holds for it.

A run on one environment has one part. Parts of several draw from streams of random numbers of
their own, so that what one of them finds in a round does not depend on which others there are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from agentr_lite.core.errors import UsageError
from agentr_lite.core.seeds import stream_seed
from agentr_lite.envs import registry
from agentr_lite.envs.base import Environment
from agentr_lite.recipe.settings import Recipe

Environments = Environment | Mapping[str, Environment]
"""A run's only environment, or its several ones by the names that the recipe gives them."""


@dataclass(frozen=True, slots=True)
class Part:
    """One environment of a run."""

    env: Environment
    recipe: Recipe
    """Of this environment alone: its own settings, share of the tasks and seed."""

    @property
    def name(self) -> str:
        """What the environment calls itself, and its tasks in the store."""
        return self.env.name


@contextmanager
def open_environments(recipe: Recipe) -> Generator[Environments]:
    """A recipe's environments, closed at the end of the block.

    Raises:
        UsageError: no such environment, an option that it does not have, or two environments that
            call themselves the same.
        EnvironmentFault: one cannot be made.
    """
    with ExitStack() as stack:
        opened: dict[str, Environment] = {}
        for environment in recipe.env:
            name = environment.name
            env = stack.enter_context(closing(registry.make_env(name, environment.options)))
            twin = next((key for key, other in opened.items() if other.name == env.name), None)
            if twin is not None:
                raise UsageError(
                    f"'{twin}' and '{name}' both call themselves '{env.name}'",
                    hint="Their tasks could not be told apart; give each a run of its own.",
                )
            opened[name] = env
        yield next(iter(opened.values())) if len(recipe.env) == 1 else opened


def parts_of(recipe: Recipe, env: Environments) -> list[Part]:
    """The parts of a run, by name.

    Args:
        recipe: the run's.
        env: its environments, as ``open_environments`` gives them.
    """
    if isinstance(env, Environment):
        return [Part(env, recipe)]
    found = []
    for own in recipe.by_environment():
        opened = env[own.env_label]
        seed = stream_seed(recipe.seed, "environment", opened.name)
        found.append(Part(opened, dataclasses.replace(own, seed=seed)))
    return found


def by_name(parts: Sequence[Part]) -> dict[str, Part]:
    """Parts by what their environments call themselves, as the store's tasks have it."""
    return {part.name: part for part in parts}
