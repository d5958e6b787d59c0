"""The episodes of one mode of an evaluation, played and saved group by group.

Groups have a fixed make-up. A group is committed whole, and a group that was cut is played again
whole: the batches, and so the results, are the same with and without an interruption (the last
digits of a model's logits depend on what else is in the batch).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agentr_lite.actors.base import Actor, Sampling
from agentr_lite.agent.boundary import guarded_instructions
from agentr_lite.agent.grammar import TurnGrammar
from agentr_lite.agent.turns import answer_format
from agentr_lite.core.tasks import Task
from agentr_lite.evaluate.episodes import Episode, Start, run_episodes
from agentr_lite.runs.environments import RunEnvironment
from agentr_lite.runs.examples import run_examples
from agentr_lite.runs.stages.record import StageRecord
from agentr_lite.store.evals import list_eval_items, save_eval_items
from agentr_lite.store.records import EpisodeStep, EvalItemRow, EvalMode, TaskRow
from agentr_lite.store.runs import task_ids

GROUP_BATCHES = 4
"""Batches in a group: wide enough that its slow last episodes cost little."""


@dataclass(frozen=True, slots=True)
class EpisodeGroup:
    """Episodes of one environment that are played and committed together."""

    environment: RunEnvironment
    starts: Sequence[Start]
    task_ids: Mapping[str, int]
    """Task name to its id in the store."""


class ModeEpisodes:
    """The episodes of one mode of one round's evaluation.

    Attributes:
        missing: the groups that have to be played, in order.
        total: how many episodes there are, the stored ones included.
        solved: how many were solved so far.
    """

    def __init__(
        self,
        record: StageRecord,
        actor: Actor,
        mode: EvalMode,
        eval_id: int,
        *,
        starts: Sequence[tuple[RunEnvironment, Sequence[Start]]],
        batch: int,
    ) -> None:
        """Find out what is missing.

        Args:
            record: of the round's evaluation.
            actor: who plays.
            mode: how.
            eval_id: the evaluation's row.
            starts: each environment with where its episodes begin.
            batch: episodes in lockstep.
        """
        self.record = record
        self._actor = actor
        self._mode: EvalMode = mode
        self._eval_id = eval_id
        solved = {
            (item.task.id, item.sample): item.success
            for item in list_eval_items(record.store, eval_id, with_episodes=False)
        }
        size = batch * GROUP_BATCHES
        self.missing: list[EpisodeGroup] = []
        for environment, own_starts in starts:
            ids = task_ids(record.store, environment.name, [start.task for start in own_starts])
            for group in (own_starts[i : i + size] for i in range(0, len(own_starts), size)):
                keys = [(ids[start.task.name], start.sample) for start in group]
                if any(key not in solved for key in keys):
                    self.missing.append(EpisodeGroup(environment, group, ids))
                    # The whole group is played again.
                    for key in keys:
                        solved.pop(key, None)
        self.total = sum(len(own_starts) for _, own_starts in starts)
        self.solved = sum(solved.values())

    @property
    def present(self) -> int:
        """Episodes that were stored already."""
        return self.total - sum(len(group.starts) for group in self.missing)

    def play(
        self,
        group: EpisodeGroup,
        on_finish: Callable[[], None],
        on_turn: Callable[[Task, int], None] | None = None,
    ) -> None:
        """Play and save one group.

        Args:
            group: of ``missing``.
            on_finish: called after each episode, when ``solved`` is counted up.
            on_turn: called before each turn with a task that is played, and its step's number.
        """
        solved_before = self.solved

        def count(episode: Episode) -> None:
            self.solved += episode.success
            on_finish()

        self._actor.reset_cache()
        try:
            episodes = self._run(group, count, on_turn)
        except BaseException:
            self.solved = solved_before
            raise
        with self.record.commit():
            items = [
                eval_item(group.environment.name, group.task_ids[episode.task.name], episode)
                for episode in episodes
            ]
            save_eval_items(
                self.record.store, self._eval_id, [(item.task.id, item) for item in items]
            )

    def _run(
        self,
        group: EpisodeGroup,
        on_finish: Callable[[Episode], None],
        on_turn: Callable[[Task, int], None] | None,
    ) -> list[Episode]:
        env, recipe = group.environment.env, group.environment.recipe
        instructions = guarded_instructions(env, brief=recipe.agent.brief)
        recovers = self._mode == "recovery"
        return run_episodes(
            env,
            self._actor,
            group.starts,
            instructions=instructions,
            examples=run_examples(self.record.store, self.record.run_id, group.environment),
            form=answer_format(recipe.agent.action, env),
            max_steps=recipe.eval.recovery_steps if recovers else recipe.eval.max_steps,
            sampling=Sampling(
                temperature=recipe.eval.temperature if self._mode == "sampled" else 0.0,
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
