"""Plays the episodes of an evaluation, and makes rows of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agentr_lite.actors.base import Actor, Sampling
from agentr_lite.agent.boundary import guarded_instructions
from agentr_lite.agent.grammar import TurnGrammar
from agentr_lite.agent.turns import answer_format
from agentr_lite.core.openings import Example
from agentr_lite.core.tasks import Task
from agentr_lite.evaluate.episodes import Episode, Start, run_episodes
from agentr_lite.runs.environments import RunEnvironment
from agentr_lite.store.records import EpisodeStep, EvalItemRow, EvalMode, TaskRow


def play_episodes(
    environment: RunEnvironment,
    actor: Actor,
    mode: EvalMode,
    starts: Sequence[Start],
    examples: tuple[Example, ...],
    *,
    on_finish: Callable[[Episode], None] | None = None,
    on_turn: Callable[[Task, int], None] | None = None,
) -> list[Episode]:
    """Play a group of episodes, from an empty cache.

    Args:
        environment: where.
        actor: who plays.
        mode: how.
        starts: where they begin.
        examples: shown before every task.
        on_finish: see ``run_episodes``.
        on_turn: see ``run_episodes``.
    """
    env, recipe = environment.env, environment.recipe
    actor.reset_cache()
    return run_episodes(
        env,
        actor,
        starts,
        instructions=guarded_instructions(env, brief=recipe.agent.brief),
        examples=examples,
        form=answer_format(recipe.agent.action, env),
        max_steps=recipe.eval.recovery_steps if mode == "recovery" else recipe.eval.max_steps,
        sampling=Sampling(
            temperature=recipe.eval.temperature if mode == "sampled" else 0.0,
            max_tokens=recipe.agent.max_tokens,
        ),
        grammar=TurnGrammar(recipe.agent.grammar, env),
        batch=recipe.eval.batch,
        on_finish=on_finish,
        on_turn=on_turn,
    )


def eval_item(env: str, task_id: int, episode: Episode) -> EvalItemRow:
    """An episode as the store keeps it.

    Args:
        env: what the environment calls itself.
        task_id: the task's id in the store.
        episode: played to its end.
    """
    task = episode.task
    return EvalItemRow(
        task=TaskRow(task_id, env, task.name, task.split, task.goal, task.level),
        sample=episode.sample,
        reward=episode.reward,
        success=episode.success,
        steps=len(episode.played),
        invalid_actions=episode.invalid_actions,
        repeated_actions=episode.repeated_actions,
        reflections=episode.reflections,
        episode=[
            EpisodeStep(step, given=index < episode.prefix_steps)
            for index, step in enumerate(episode.steps)
        ],
        error=episode.error,
        instructions=episode.instructions,
        observation=episode.observation,
    )
