"""The actor that a recipe asks for."""

from __future__ import annotations

from pathlib import Path

from agentr_lite.actors import registry
from agentr_lite.actors.base import Actor
from agentr_lite.actors.settings import ActorSettings
from agentr_lite.recipe.settings import Recipe


def actor_settings(recipe: Recipe) -> ActorSettings:
    """The settings of a recipe's actor, from ``model`` and ``agent``.

    Args:
        recipe: the run's recipe. If any of its environments has a grammar, the back end must be
            able to follow grammars.
    """
    template = recipe.agent.chat_template
    return ActorSettings(
        model=recipe.model,
        context_tokens=recipe.agent.context_tokens,
        chat_template=Path(template).expanduser() if template else None,
        history=recipe.agent.history,
        thinking=recipe.agent.thinking,
        deterministic=recipe.agent.deterministic,
        grammar=any(own.agent.grammar for own in recipe.by_environment()),
    )


def open_actor(recipe: Recipe) -> Actor:
    """Load a recipe's model.

    Raises:
        ModelError: the model is missing, corrupt or unusable, or its back end cannot follow the
            recipe's grammar.
    """
    return registry.open_actor(actor_settings(recipe))
