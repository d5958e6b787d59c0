"""What all trees of a round share."""

from __future__ import annotations

from dataclasses import dataclass

from agentr_lite.actors.base import Sampling
from agentr_lite.agent.boundary import guarded_instructions
from agentr_lite.agent.grammar import TurnGrammar
from agentr_lite.agent.turns import AnswerFormat, answer_format
from agentr_lite.core.openings import Example
from agentr_lite.envs.base import Environment
from agentr_lite.recipe.groups import SearchSettings
from agentr_lite.recipe.settings import Recipe


@dataclass(frozen=True, slots=True)
class SearchContext:
    """Environment, prompt and settings of a round's searches."""

    env: Environment
    """One instance serves all trees: every step begins with ``restore``."""
    instructions: str
    """The system prompt."""
    examples: tuple[Example, ...]
    """Shown before the task."""
    settings: SearchSettings
    sampling: Sampling
    """Without a grammar: a node's state has it."""
    grammar: TurnGrammar
    """Of the agent's turns."""
    seed: int
    """The run's seed."""
    round_index: int
    """From 1."""
    form: AnswerFormat
    """How actions are read from answers."""


def search_context(
    recipe: Recipe, env: Environment, round_index: int, examples: tuple[Example, ...] = ()
) -> SearchContext:
    """The context that a recipe asks for.

    Args:
        recipe: the run's for this environment.
        env: where to search.
        round_index: from 1.
        examples: shown before every task.

    Raises:
        EnvironmentFault: the environment has no instructions.
    """
    instructions = guarded_instructions(env, brief=recipe.agent.brief)
    settings = recipe.search
    sampling = Sampling(
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        min_p=settings.min_p,
        max_tokens=recipe.agent.max_tokens,
    )
    form = answer_format(recipe.agent.action, env)
    grammar = TurnGrammar(recipe.agent.grammar, env)
    return SearchContext(
        env, instructions, examples, settings, sampling, grammar, recipe.seed, round_index, form
    )
