"""Invented speeds in place of a probe, which loads a model and plays for seconds."""

from __future__ import annotations

from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.estimate.speeds import Game, PlaySpeed, Speeds, TrainingSpeed

PLAY = PlaySpeed(
    width=4,
    answers=40,
    prompt_tokens_s=1000.0,
    answer_tokens_s=100.0,
    prompt_tokens=50.0,
    answer_tokens=20.0,
    cut_share=0.0,
    env_s=0.05,
)
"""An answer takes 0.05 s of reading, 0.2 s of writing and 0.05 s of the environment: 0.3 s."""


def game(solution_steps: float | None = 5.0) -> Game:
    """A game with invented speeds."""
    return Game(PLAY, PLAY, 400.0, 100.0, solution_steps)


def measure(recipe: Recipe, *, trains: bool) -> Speeds:
    """In place of ``probe.measure``."""
    training = TrainingSpeed(500.0, "an invented step", 2.0) if trains else None
    return Speeds(1.5, 6.0, {name: game() for name in recipe.env_names}, training)
