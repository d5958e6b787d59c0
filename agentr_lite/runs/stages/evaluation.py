"""One round's evaluation on its way into the store, group by group.

Episodes are played in groups of fixed make-up; a group is committed whole and one that was cut is
played again whole. The batches are then the same with and without an interruption, and so are the
results (a model's logits depend, in the last digits, on what else is in the batch).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentr_lite.actors.base import Actor, Sampling
from agentr_lite.agent.boundary import environment_boundary
from agentr_lite.agent.grammar import turn_grammar
from agentr_lite.core.errors import UsageError
from agentr_lite.evaluate.episodes import Episode, Start, run_episodes
from agentr_lite.evaluate.several import figures_by_env
from agentr_lite.evaluate.starts import eval_starts, eval_tasks, find_eval
from agentr_lite.evaluate.summary import figures_of
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.environments import Part
from agentr_lite.runs.sitting import Sitting
from agentr_lite.store.evals import (
    delete_recovery,
    list_eval_items,
    list_evals,
    open_eval,
    save_eval_items,
    set_eval_summary,
)
from agentr_lite.store.records import EpisodeStep, EvalItemRow, EvalMode, EvalRow, TaskRow
from agentr_lite.store.runs import task_ids

GROUP_BATCHES = 4
"""A group is this many batches: wide enough that its slow last episodes cost little."""


@dataclass(frozen=True, slots=True)
class Group:
    """Episodes that are played and committed together."""

    part: Part
    """Whose tasks these are."""
    starts: Sequence[Start]
    ids: Mapping[str, int]
    """Task name to its id."""


class Evaluation:
    """A round's evaluation on its way into the store."""

    def __init__(
        self,
        sitting: Sitting,
        recipe: Recipe,
        parts: Sequence[Part],
        actor: Actor,
    ) -> None:
        """
        Args:
            sitting: at the round's evaluation.
            recipe: the run's.
            parts: its environments.
            actor: who plays.
        """
        self.sitting = sitting
        self.store, self.run_id, self.round = sitting.store, sitting.run_id, sitting.round
        self.recipe = recipe
        self.parts = parts
        self.several = len(recipe.env) > 1
        self.actor = actor

    def row(self, mode: EvalMode) -> EvalRow | None:
        """The evaluation's row, if it has begun."""
        return find_eval(self.store, self.run_id, self.round, mode, self.recipe.eval.split)

    def settings(self, mode: EvalMode) -> dict[str, Any]:
        """All that one mode's episodes depend on besides the actor and the environment."""
        found = {part.name: _settings(part.recipe, mode) for part in self.parts}
        if not self.several:
            return found[self.parts[0].name]
        return {f"{name}.{key}": v for name, own in found.items() for key, v in own.items()}

    def finished(self, modes: Sequence[EvalMode]) -> dict[str, Any] | None:
        """Figures by mode where all of ``modes`` were played with these very settings."""
        rows = {mode: self.row(mode) for mode in modes}
        found: dict[str, Any] = {}
        for mode, row in rows.items():
            if row is None and mode == "recovery" and not any(self.starts(mode)):
                continue  # The base has not been evaluated, or never failed.
            if row is None or row.summary.get("settings") != self.settings(mode):
                return None
            if not row.whole:
                return None
            found[mode] = dict(row.summary)
        return found

    def refuse_other_settings(self, modes: Sequence[EvalMode]) -> None:
        """Keep what another evaluation of this round and split has found."""
        for mode in modes:
            row = self.row(mode)
            if row is None or not row.whole:
                continue
            old, new = row.summary.get("settings") or {}, self.settings(mode)
            # What only one of them has counts, too.
            changed = [
                f"{k}={str(old.get(k))[:40]}" for k in {**new, **old} if old.get(k) != new.get(k)
            ]
            if changed:
                raise UsageError(
                    f"round {self.round} of run {self.run_id} has {mode} episodes on"
                    f" '{self.recipe.eval.split}' with other settings ({', '.join(changed)})",
                    hint="--force replaces them; another split or a new run keeps both.",
                )

    def starts(self, mode: EvalMode) -> list[list[Start]]:
        """Where each part's episodes begin.

        Raises:
            UsageError: an environment has no tasks in the split.
        """
        found = []
        for part in self.parts:
            tasks = eval_tasks(part.env, part.recipe.eval)
            found.append(
                eval_starts(self.store, self.run_id, part.recipe, tasks, mode, env=part.name)
            )
        return found

    def begin(self, mode: EvalMode, starts: Sequence[Sequence[Start]]) -> Turns:
        """What is missing of one mode, to be played group by group.

        Args:
            mode: how.
            starts: for each part, where its episodes begin.
        """
        eval_id = self._open(mode)
        known = {
            (item.task.id, item.sample): item.success
            for item in list_eval_items(self.store, eval_id, with_episodes=False)
        }
        size = self.recipe.eval.batch * GROUP_BATCHES
        owed: list[Group] = []
        for part, mine in zip(self.parts, starts, strict=True):
            ids = task_ids(self.store, part.name, [start.task for start in mine])
            for group in (mine[i : i + size] for i in range(0, len(mine), size)):
                keys = [(ids[start.task.name], start.sample) for start in group]
                if any(key not in known for key in keys):
                    owed.append(Group(part, group, ids))
                    # The whole group is played again.
                    for key in keys:
                        known.pop(key, None)
        return Turns(self, mode, eval_id, owed, sum(map(len, starts)), sum(known.values()))

    def _open(self, mode: EvalMode) -> int:
        """The evaluation's id; episodes played with other settings are thrown away."""
        with self.store.atomic():
            eval_id = open_eval(self.store, self.run_id, self.round, mode, self.recipe.eval.split)
            row, settings = self.row(mode), self.settings(mode)
            if row is None or row.summary.get("settings") != settings:
                self.store.execute("DELETE FROM eval_items WHERE eval_id = ?", (eval_id,))
                set_eval_summary(self.store, eval_id, {"settings": settings})
                if not self.round and mode == "greedy":
                    # Every round's recovery begins in failures that are no more.
                    delete_recovery(self.store, self.run_id, self.recipe.eval.split)
        return eval_id

    def summarise(self, eval_id: int, mode: EvalMode) -> dict[str, Any]:
        """Figures of a mode that is through, stored; see ``summary.figures_of``.

        Those of the base's own are what other rounds are compared with: where they were evaluated
        before it, their comparison is made good.
        """
        split = self.recipe.eval.split
        base = None
        if self.round:
            base = find_eval(self.store, self.run_id, 0, mode, split, whole=True)
        summary = self._figures(eval_id, base, self.settings(mode))
        if not self.round:
            mine = self.row(mode)
            for row in list_evals(self.store, self.run_id, mode=mode):
                if row.round and row.split == split and row.whole:
                    self._figures(row.id, mine, row.summary["settings"])
        return summary

    def _figures(
        self, eval_id: int, base: EvalRow | None, settings: Mapping[str, Any]
    ) -> dict[str, Any]:
        items = list_eval_items(self.store, eval_id)
        base_items: list[EvalItemRow] | None = None
        if base:
            base_items = list_eval_items(self.store, base.id, with_episodes=False)
        seed = self.recipe.seed
        figures = (
            figures_by_env(items, base_items, [part.name for part in self.parts], seed=seed)
            if self.several
            else figures_of(items, base_items, seed=seed)
        )
        summary = {"settings": dict(settings), **figures}
        set_eval_summary(self.store, eval_id, summary)
        return summary


class Turns:
    """One mode of an evaluation, group by group.

    Attributes:
        owed: the groups that are missing, in order.
        total: episodes, those that are there already included.
        solved: how many so far.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        mode: EvalMode,
        eval_id: int,
        owed: Sequence[Group],
        total: int,
        solved: int,
    ) -> None:
        self.owed = owed
        self.total = total
        self.solved = solved
        self._evaluation = evaluation
        self._mode: EvalMode = mode
        self._eval_id = eval_id

    @property
    def present(self) -> int:
        """Episodes that were there already."""
        return self.total - sum(len(group.starts) for group in self.owed)

    def play(self, group: Group, on_finish: Callable[[], None]) -> None:
        """Play and save one group.

        Args:
            group: one of ``owed``.
            on_finish: called after each episode, ``solved`` counted up.
        """
        of = self._evaluation
        part, settings = group.part, group.part.recipe.eval
        sampled = self._mode == "sampled"
        before = self.solved

        def count(episode: Episode) -> None:
            self.solved += episode.success
            on_finish()

        of.actor.reset_cache()
        try:
            episodes = run_episodes(
                part.env,
                of.actor,
                group.starts,
                instructions=_instructions(part),
                max_steps=(
                    settings.recovery_steps if self._mode == "recovery" else settings.max_steps
                ),
                sampling=Sampling(
                    temperature=settings.temperature if sampled else 0.0,
                    max_tokens=part.recipe.agent.max_tokens,
                    grammar=turn_grammar(part.recipe.agent.grammar, part.env),
                ),
                batch=settings.batch,
                on_finish=count,
            )
        except BaseException:
            self.solved = before
            raise
        with of.sitting.commit():
            items = [_item(part.name, group.ids[e.task.name], e) for e in episodes]
            save_eval_items(of.store, self._eval_id, [(item.task.id, item) for item in items])

    @property
    def several(self) -> bool:
        """Whether the episodes are of several environments."""
        return self._evaluation.several

    def resume(self) -> None:
        """Count time from now on: it was another evaluation's turn."""
        self._evaluation.sitting.resume()

    def finish(self) -> dict[str, Any]:
        """The mode's figures, stored."""
        return self._evaluation.summarise(self._eval_id, self._mode)


def _settings(recipe: Recipe, mode: EvalMode) -> dict[str, Any]:
    """All that one mode's episodes in one environment depend on besides actor and environment."""
    settings, agent = recipe.eval, recipe.agent
    found: dict[str, Any] = {
        "tasks": settings.tasks,
        "batch": settings.batch,
        "seed": recipe.seed,
    }
    found |= {"max_steps": settings.max_steps, "max_tokens": agent.max_tokens}
    found |= {"brief": agent.brief}
    if agent.grammar:
        found |= {"grammar": agent.grammar}
    if mode == "sampled":
        found |= {"samples": settings.samples, "temperature": settings.temperature}
    if mode == "recovery":
        found |= {"prefix": settings.recovery_prefix, "steps": settings.recovery_steps}
    return found


def _instructions(part: Part) -> str:
    with environment_boundary(part.env, "instructions()"):
        return part.env.instructions(brief=part.recipe.agent.brief)


def _item(env: str, task_id: int, episode: Episode) -> EvalItemRow:
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
    )
