"""The hidden state after each step of a stored trajectory, computed by taking the steps again.

The database keeps what the agent saw, not what the environment held: an inventory or a page is a
function of the actions, so it is computed when a reader asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agentr_lite.agent.boundary import guarded_reset, guarded_state, guarded_tasks
from agentr_lite.agent.step import take_step
from agentr_lite.agent.turns import Choice, answer_format
from agentr_lite.core.errors import AgentrError
from agentr_lite.envs.base import Environment
from agentr_lite.envs.names import env_slug, parse_env_name


@dataclass(frozen=True, slots=True)
class Origin:
    """The episode of a trajectory: all that is needed to take it again, besides its turns."""

    env: str
    env_options: Mapping[str, Any]
    split: str
    task: str
    """The task's name."""
    choice: Choice = "first"
    """Which action of an answer counts, as the run's recipe says."""


def stored_origin(recipe: Mapping[str, Any], env: str) -> tuple[str, Mapping[str, Any]]:
    """(name, options) by which a task's environment can be made again.

    Args:
        recipe: as a run stores it.
        env: what the task's environment calls itself. Among several, it is the one of that name. An
            environment from a file or an address calls itself something else: then it is the only
            such environment, or the one whose short form that is.
    """
    name, settings = _stored_settings(recipe, env)
    return name, settings.get("options") or {}


def stored_episode(recipe: Mapping[str, Any], env: str, split: str, task: str) -> Origin:
    """The episode of a stored trajectory.

    Args:
        recipe: as a run stores it.
        env: what the task's environment calls itself.
        split: the task's.
        task: its name.
    """
    name, settings = _stored_settings(recipe, env)
    options = settings.get("options") or {}
    return Origin(name, options, split, task, stored_choice(recipe, env))


def stored_choice(recipe: Mapping[str, Any], env: str) -> Choice:
    """``agent.action`` of an environment in a stored recipe, which may be older than the key."""
    _, settings = _stored_settings(recipe, env)
    agent = {**(recipe.get("agent") or {}), **(settings.get("agent") or {})}
    choice: Choice = agent.get("action", "first")
    return choice


def _stored_settings(recipe: Mapping[str, Any], env: str) -> tuple[str, Mapping[str, Any]]:
    settings = {entry["name"]: entry for entry in recipe.get("env") or ()}
    if len(settings) == 1:
        return next(iter(settings.items()))
    name = env
    if env not in settings:
        others = [other for other in settings if not parse_env_name(other).is_plain]
        alike = [other for other in others if env_slug(other) == env]
        name = next(iter(others if len(others) == 1 else alike), env)
    return name, settings.get(name) or {}


@dataclass(frozen=True, slots=True)
class States:
    """An environment's states along a trajectory."""

    texts: tuple[str, ...] = ()
    """After reset, after the first step, …; ends early where there was a problem. A text is empty
    where the environment has nothing to say."""
    problem: str = ""
    """Why the states end early; empty where they are complete."""


def replay_states(env: Environment, origin: Origin, turns: Iterable[tuple[str, str]]) -> States:
    """Take a trajectory's steps again and ask for the state after each.

    The states end at an answer that differs from the stored one, because what follows would be
    another episode. That happens where the environment, its data or its version have changed.

    Args:
        env: the environment of ``origin``; its episode is replaced.
        origin: where the trajectory is from.
        turns: (assistant turn, stored answer) of each step.
    """
    texts: list[str] = []
    form = answer_format(origin.choice, env)
    try:
        tasks = guarded_tasks(env, origin.split)
        task = next((t for t in tasks if t.name == origin.task), None)
        if task is None:
            return States(problem=f"{env.name} no longer has the task '{origin.task}'")
        guarded_reset(env, task)
        texts.append(guarded_state(env))
        for number, (text, answer) in enumerate(turns, 1):
            if take_step(env, text, form=form).observation != answer:
                problem = f"step {number} is answered differently now: the environment has changed"
                return States(tuple(texts), problem)
            texts.append(guarded_state(env))
    except AgentrError as error:
        return States(tuple(texts), error.message)
    return States(tuple(texts))
