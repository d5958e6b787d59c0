"""The episodes of one mode of an evaluation, played and saved group by group.

Groups have a fixed make-up. A group is committed whole, and a group that was cut is played again
whole: the batches, and so the results, are the same with and without an interruption (the last
digits of a model's logits depend on what else is in the batch).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from agentr_lite.actors.base import Actor, LoadedModel
from agentr_lite.core.tasks import Task
from agentr_lite.evaluate.episodes import Episode, Start
from agentr_lite.runs.environments import RunEnvironment
from agentr_lite.runs.examples import run_examples
from agentr_lite.runs.stages.play import eval_item, play_episodes
from agentr_lite.runs.stages.record import StageRecord
from agentr_lite.runs.stages.waves import EpisodeWave, NamedStart, Waves
from agentr_lite.store.evals import list_eval_items, save_eval_items
from agentr_lite.store.records import EvalItemRow, EvalMode
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
        model: who plays.
        missing: the groups that have to be played, in order.
        total: how many episodes there are, the stored ones included.
        solved: how many were solved so far.
    """

    def __init__(
        self,
        record: StageRecord,
        model: LoadedModel,
        mode: EvalMode,
        eval_id: int,
        *,
        starts: Sequence[tuple[RunEnvironment, Sequence[Start]]],
        batch: int,
    ) -> None:
        """Find out what is missing.

        Args:
            record: of the round's evaluation.
            model: who plays, here or elsewhere.
            mode: how.
            eval_id: the evaluation's row.
            starts: each environment with where its episodes begin.
            batch: episodes in lockstep.
        """
        self.record = record
        self.model = model
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

        examples = run_examples(self.record.store, self.record.run_id, group.environment)
        try:
            episodes = play_episodes(
                group.environment,
                self._own_actor(),
                self._mode,
                group.starts,
                examples,
                on_finish=count,
                on_turn=on_turn,
            )
        except BaseException:
            self.solved = solved_before
            raise
        name = group.environment.name
        self._save([eval_item(name, group.task_ids[each.task.name], each) for each in episodes])

    def wave(self, group: EpisodeGroup) -> EpisodeWave:
        """A group of ``missing`` as a wave that is played elsewhere."""
        return EpisodeWave(
            group.environment.name,
            self._mode,
            tuple(map(NamedStart.of, group.starts)),
            run_examples(self.record.store, self.record.run_id, group.environment),
        )

    def save_wave(self, group: EpisodeGroup, rows: Sequence[EvalItemRow]) -> None:
        """Save what was played elsewhere.

        Args:
            group: of ``missing``.
            rows: of its ``wave``.
        """
        self._save(
            [replace(row, task=replace(row.task, id=group.task_ids[row.task.name])) for row in rows]
        )
        self.solved += sum(row.success for row in rows)

    def _save(self, items: Sequence[EvalItemRow]) -> None:
        with self.record.commit():
            save_eval_items(
                self.record.store, self._eval_id, [(item.task.id, item) for item in items]
            )

    def _own_actor(self) -> Actor:
        if not isinstance(self.model, Actor):
            raise ValueError("these episodes are played elsewhere")
        return self.model

    @property
    def waves(self) -> Waves:
        """The model that is loaded elsewhere.

        Raises:
            ValueError: it is loaded here.
        """
        if not isinstance(self.model, Waves):
            raise ValueError("these episodes are played in this process")
        return self.model
