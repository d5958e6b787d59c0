"""The actor that a recipe asks for."""

from __future__ import annotations

from pathlib import Path

from agentr_lite.actors import registry
from agentr_lite.actors.base import Actor
from agentr_lite.actors.settings import ActorSettings
from agentr_lite.recipe.settings import Recipe


def most_live_tokens(recipe: Recipe, *, searches: bool) -> int:
    """Tokens that the conversations of a recipe can hold together while they are in play.

    Args:
        recipe: the run's.
        searches: whether trees are searched, and not only episodes played.
    """
    most = 0
    for own in recipe.by_environment():
        agent, search, context = own.agent, own.search, own.agent.context_tokens
        asked = own.eval.tasks * (1 + own.eval.samples) or own.eval.batch
        most = max(most, context * min(asked, own.eval.batch))
        if searches:
            # Each simulation is an episode, and each of its steps has siblings.
            siblings = search.depth * search.width * agent.max_tokens
            most = max(most, search.wave * search.simulations * (context + siblings))
    return most


def actor_settings(recipe: Recipe, *, searches: bool | None = None) -> ActorSettings:
    """The settings of a recipe's actor, from ``model`` and ``agent``.

    Args:
        recipe: the run's recipe. If any of its environments has a grammar, the back end must be
            able to follow grammars.
        searches: whether the actor searches trees; default: if the recipe has rounds.
    """
    template = recipe.agent.chat_template
    return ActorSettings(
        model=recipe.model,
        context_tokens=recipe.agent.context_tokens,
        chat_template=Path(template).expanduser() if template else None,
        history=recipe.agent.history,
        thinking=recipe.agent.thinking,
        deterministic=recipe.agent.deterministic,
        live_tokens=most_live_tokens(
            recipe, searches=recipe.rounds > 0 if searches is None else searches
        ),
        grammar=any(own.agent.grammar for own in recipe.by_environment()),
    )


def open_actor(recipe: Recipe, *, searches: bool | None = None) -> Actor:
    """Load a recipe's model.

    Args:
        recipe: the run's.
        searches: see ``actor_settings``.

    Raises:
        ModelError: the model is missing, corrupt or unusable, or its back end cannot follow the
            recipe's grammar.
    """
    return registry.open_actor(actor_settings(recipe, searches=searches))
